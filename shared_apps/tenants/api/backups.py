"""Backups of an institution: list, make, restore, and take a restore back; and of the platform's own tables: list and
make. All but the lists are jobs."""

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import described
from shared_apps.core.api.querystring import parse_key
from shared_apps.core.api.schema import IDEMPOTENCY_KEY
from shared_apps.core.errors import Conflict, NotFound
from shared_apps.tenants.api.desk import ID, WRITE, Desk, described_job, find
from shared_apps.tenants.lifecycle import demand_live, demand_no_deletion
from shared_apps.tenants.models import Backup, KeptSchema, Tenant
from shared_apps.tenants.permissions import TenantsPermission

BACKUP = OpenApiParameter("backup", UUID, OpenApiParameter.PATH, description="The backup's id.")
EXAMPLE = {
    "id": "019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e70",
    "made_at": "2026-09-01T08:00:00+00:00",
    "size": 1048576,
    "verdict": "restored",
    "verified_at": "2026-09-01T09:52:10+00:00",
}


class PlatformBackup(serializers.Serializer):
    """An encrypted backup; `size` in bytes. `verdict` is what the last look at it found: `intact` (as it was written),
    `restored` (and a restore came out as it says), `bad`, or empty before the first."""

    id = serializers.UUIDField()
    made_at = serializers.DateTimeField()
    size = serializers.IntegerField()
    verdict = serializers.ChoiceField(choices=Backup.Verdict.choices, allow_blank=True)
    verified_at = serializers.DateTimeField(allow_null=True)


class PlatformBackups(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = PlatformBackup(many=True)


def row(made: Backup) -> dict[str, Any]:
    return {name: getattr(made, name) for name in EXAMPLE}


def live(id: str) -> Tenant:
    tenant = find(id)
    demand_live(tenant)
    return tenant


class BackupsView(Desk):
    """The backups of an institution, the newest first."""

    permission = TenantsPermission.BACKUP.code("view")
    permission_by_method = {"POST": TenantsPermission.BACKUP.code("add")}
    parameters = ("page", "page_size")

    @described(
        "List an institution's backups",
        answer=PlatformBackups,
        value={"next": None, "previous": None, "results": [EXAMPLE]},
        operation_id="platform_backups_list",
        parameters=[ID],
    )
    def get(self, request: Request, id: str) -> Response:
        return self.page(lambda: find(id).backups.all(), row)

    @described_job(
        "Make a backup",
        operation_id="platform_backups_create",
        parameters=WRITE,
        description="The institution goes on working. The job's `result` holds `backup` and `size`.",
    )
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.start("tenants.backup", lambda: {"institution": str(live(id).pk)})


class OwnBackupsView(Desk):
    """The backups of the platform's own tables, the newest first."""

    permission = TenantsPermission.BACKUP.code("view")
    permission_by_method = {"POST": TenantsPermission.BACKUP.code("add")}
    parameters = ("page", "page_size")

    @described(
        "List the platform's own backups",
        answer=PlatformBackups,
        value={"next": None, "previous": None, "results": [EXAMPLE]},
        operation_id="platform_own_backups_list",
        description="Institutions, hosts, plans, history: what stands in no institution. They are restored by "
        "`manage.py tenant recover`, into an empty database.",
    )
    def get(self, request: Request) -> Response:
        return self.page(lambda: Backup.objects.filter(tenant=None), row)

    @described_job(
        "Make a backup of the platform's own tables",
        operation_id="platform_own_backups_create",
        parameters=[IDEMPOTENCY_KEY],
        description="The job's `result` holds `backup` and `size`.",
    )
    def post(self, request: Request) -> HttpResponse:
        return self.start("tenants.backup", dict)


class RestoreView(Desk):
    """Make the institution what it was when the backup was written."""

    permission = TenantsPermission.BACKUP.code("change")

    @described_job(
        "Restore a backup",
        operation_id="platform_backups_restore",
        parameters=[*WRITE, BACKUP],
        description=(
            "Everybody works on until the restored schema is whole and checked; then everybody signs in again. What "
            "stood before is kept for 14 days, and `undo-restore` goes back to it."
        ),
    )
    def post(self, request: Request, id: str, backup: str) -> HttpResponse:
        def parameters() -> dict[str, Any]:
            tenant = live(id)
            demand_no_deletion(tenant)
            found = tenant.backups.filter(pk=parse_key(backup)).first()
            if found is None:
                raise NotFound("The institution has no such backup.")
            return {"institution": str(tenant.pk), "backup": str(found.pk)}

        return self.start("tenants.restore", parameters)


class UndoRestoreView(Desk):
    """Go back to what the last restore put aside."""

    permission = TenantsPermission.BACKUP.code("change")

    @described_job("Undo a restore", operation_id="platform_backups_undo_restore", parameters=WRITE)
    def post(self, request: Request, id: str) -> HttpResponse:
        def parameters() -> dict[str, Any]:
            tenant = live(id)
            demand_no_deletion(tenant)
            if not KeptSchema.objects.filter(tenant=tenant).exclude(reason="restoring").exists():
                raise Conflict("No schema is kept of this institution; there is nothing to undo.", code="nothing_kept")
            return {"institution": str(tenant.pk)}

        return self.start("tenants.undo_restore", parameters)


routes = [
    path("backups/", OwnBackupsView.as_view(), name="platform-own-backups"),
    path("institutions/<id>/backups/", BackupsView.as_view(), name="platform-backups"),
    path("institutions/<id>/backups/<backup>/restore/", RestoreView.as_view(), name="platform-restore"),
    path("institutions/<id>/undo-restore/", UndoRestoreView.as_view(), name="platform-undo-restore"),
]
