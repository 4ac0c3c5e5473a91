"""Roster exports: ask for one; a worker writes it, and the job names the file."""

from datetime import datetime

import orjson
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request

from shared_apps.core.api import Body, described
from shared_apps.core.api.idempotency import once
from shared_apps.core.api.schema import IDEMPOTENCY_KEY
from shared_apps.core.permissions import Action
from tenant_apps.interop import services
from tenant_apps.interop.api.roster_imports import RosterImportView
from tenant_apps.interop.permissions import InteropPermission
from tenant_apps.interop.roster.packing import VERSIONS


class RosterExport(Body):
    version = serializers.ChoiceField(choices=VERSIONS, default="1.2", help_text="Of OneRoster.")
    since = serializers.DateTimeField(
        allow_null=True,
        default=None,
        help_text="Only what was written or deleted from then on, as a delta; `as_of` of an earlier export's result.",
    )

    def validate_since(self, value: datetime | None) -> datetime | None:
        if value is not None and value > timezone.now():
            raise serializers.ValidationError("Nothing has changed yet since a time to come.", "in_future")
        return value

    class Meta:
        ref_name = "InteropRosterExport"


class StartedExport(serializers.Serializer):
    """A worker takes it from here; Location says where to follow it."""

    job = serializers.UUIDField()

    class Meta:
        ref_name = "InteropStartedExport"


class RosterExportsView(RosterImportView):
    """Rosters for other systems."""

    permission = InteropPermission.ROSTER.code(Action.EXPORT)

    @described(
        "Export the roster",
        body=RosterExport,
        sent={"version": "1.2", "since": None},
        answer=StartedExport,
        value={"job": "0199a1d0-7c1e-7b51-9c3e-4c3b1f0e9a12"},
        status=202,
        operation_id="interop_roster_exports_create",
        parameters=[IDEMPOTENCY_KEY],
        description=(
            "A OneRoster CSV zip of what the institution holds, or with `since` a delta of what has changed. Follow "
            "the job at Location: its `result` holds `file`, the address of the zip, `counts`, the rows of each file, "
            "and `as_of`, from which on the next delta continues. A bulk package of version 1.2 that is imported into "
            "an empty institution is exported from there as the same bytes.\n\n"
            "Needs the permission `interop.export_rosterimport` for the whole institution."
        ),
    )
    def post(self, request: Request) -> HttpResponse:
        def work() -> HttpResponse:
            asked = RosterExport.read(request)
            job = services.start_roster_export(**asked, requested_by=self.principal.user_id)
            return HttpResponse(
                orjson.dumps({"job": str(job.pk)}),
                status=202,
                content_type="application/json",
                headers={"Location": f"/api/v1/jobs/{job.pk}/"},
            )

        return once(request._request, self.principal.user_id, work)


urlpatterns = [path("roster-exports/", RosterExportsView.as_view(), name="interop-rosterexport-list")]
