"""Deleting an institution: asked for by one operator, confirmed by another, cancelled by any."""

from typing import Any

from django.http import HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import Body, described
from shared_apps.core.context import platform
from shared_apps.core.errors import NotFound
from shared_apps.tenants.api.desk import ID, WRITE, Desk, find
from shared_apps.tenants.api.institutions import PlatformReason
from shared_apps.tenants.deleting import cancel_deletion, confirm_deletion, request_deletion
from shared_apps.tenants.models import Deletion
from shared_apps.tenants.permissions import TenantsPermission

ASKED: dict[str, Any] = {
    "reason": "Contract ended",
    "requested_at": "2026-09-01T08:00:00+00:00",
    "requested_by": "anna@example.org",
    "confirmed_at": None,
    "confirmed_by": "",
    "due_at": None,
    "cancelled_at": None,
    "cancelled_by": "",
    "finished_at": None,
}
CONFIRMED = {
    **ASKED,
    "confirmed_at": "2026-09-01T09:00:00+00:00",
    "confirmed_by": "bert@example.org",
    "due_at": "2026-10-01T09:00:00+00:00",
}


class PlatformDeletion(serializers.Serializer):
    """The wish to delete an institution; carried out after `due_at`, which another operator's confirmation sets."""

    reason = serializers.CharField()
    requested_at = serializers.DateTimeField()
    requested_by = serializers.CharField()
    confirmed_at = serializers.DateTimeField(allow_null=True)
    confirmed_by = serializers.CharField(allow_blank=True)
    due_at = serializers.DateTimeField(allow_null=True)
    cancelled_at = serializers.DateTimeField(allow_null=True)
    cancelled_by = serializers.CharField(allow_blank=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class PlatformCancellation(Body):
    reason = serializers.CharField(max_length=300, default="", allow_blank=True)


def shown(asked: Deletion) -> dict[str, Any]:
    names = ("reason", "confirmed_at", "due_at", "cancelled_at", "finished_at")
    return {
        **{name: getattr(asked, name) for name in names},
        "requested_at": asked.created_at,
        "requested_by": asked.requested_by_name,
        "confirmed_by": asked.confirmed_by_name,
        "cancelled_by": asked.cancelled_by_name,
    }


class DeletionView(Desk):
    """The newest wish to delete the institution."""

    permission = TenantsPermission.INSTITUTION.code("view")
    permission_by_method = {"POST": TenantsPermission.INSTITUTION.code("delete")}

    @described(
        "Read how an institution's deletion stands",
        answer=PlatformDeletion,
        value=CONFIRMED,
        operation_id="platform_deletion_retrieve",
        parameters=[ID],
    )
    def get(self, request: Request, id: str) -> Response:
        with platform():
            asked = find(id).deletions.first()
            if asked is None:
                raise NotFound("Nobody has asked for its deletion.", code="no_deletion")
            return Response(shown(asked))

    @described(
        "Ask for an archived institution's deletion",
        body=PlatformReason,
        sent={"reason": "Contract ended"},
        answer=PlatformDeletion,
        value=ASKED,
        status=201,
        operation_id="platform_deletion_request",
        parameters=WRITE,
    )
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.once(lambda: shown(request_deletion(tenant=find(id), **PlatformReason.read(request))), status=201)


class ConfirmDeletionView(Desk):
    """Confirm what another operator asked for. After 30 days the institution is deleted."""

    permission = TenantsPermission.INSTITUTION.code("approve")

    @described(
        "Confirm an institution's deletion",
        answer=PlatformDeletion,
        value=CONFIRMED,
        operation_id="platform_deletion_confirm",
        parameters=WRITE,
    )
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.once(lambda: shown(confirm_deletion(tenant=find(id))))


class CancelDeletionView(Desk):
    """Take the wish back, until it is being carried out; the institution stays archived."""

    permission = TenantsPermission.INSTITUTION.code("delete")

    @described(
        "Cancel an institution's deletion",
        body=PlatformCancellation,
        sent={"reason": "They have paid"},
        answer=PlatformDeletion,
        value={**CONFIRMED, "cancelled_at": "2026-09-02T08:00:00+00:00", "cancelled_by": "carla@example.org"},
        operation_id="platform_deletion_cancel",
        parameters=WRITE,
    )
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.once(lambda: shown(cancel_deletion(tenant=find(id), **PlatformCancellation.read(request))))


routes = [
    path("institutions/<id>/deletion/", DeletionView.as_view(), name="platform-deletion"),
    path("institutions/<id>/deletion/confirm/", ConfirmDeletionView.as_view(), name="platform-deletion-confirm"),
    path("institutions/<id>/deletion/cancel/", CancelDeletionView.as_view(), name="platform-deletion-cancel"),
]
