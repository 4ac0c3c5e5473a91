"""Roster exports: ask for one; a worker writes it, and the job names the file."""

import orjson
from django.http import HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request

from shared_apps.core.api import Body, described
from shared_apps.core.api.idempotency import once
from shared_apps.core.api.schema import IDEMPOTENCY_KEY
from shared_apps.core.permissions import Action
from tenant_apps.interop import services
from tenant_apps.interop.api.roster_imports import RosterImportView
from tenant_apps.interop.permissions import InteropPermission


class RosterExport(Body):
    version = serializers.ChoiceField(choices=("1.2",), default="1.2", help_text="Of OneRoster.")

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
        sent={"version": "1.2"},
        answer=StartedExport,
        value={"job": "0199a1d0-7c1e-7b51-9c3e-4c3b1f0e9a12"},
        status=202,
        operation_id="interop_roster_exports_create",
        parameters=[IDEMPOTENCY_KEY],
        description=(
            "A OneRoster CSV 1.2 zip (bulk) of what the institution holds. Follow the job at Location: its `result` "
            "holds `file`, the address of the zip, and `counts`, the rows of each file. Imported into an empty "
            "institution, it is exported from there as the same bytes.\n\n"
            "Needs the permission `interop.export_rosterimport` for the whole institution."
        ),
    )
    def post(self, request: Request) -> HttpResponse:
        def work() -> HttpResponse:
            RosterExport.read(request)
            job = services.start_roster_export(requested_by=self.principal.user_id)
            return HttpResponse(
                orjson.dumps({"job": str(job.pk)}),
                status=202,
                content_type="application/json",
                headers={"Location": f"/api/v1/jobs/{job.pk}/"},
            )

        return once(request._request, self.principal.user_id, work)


urlpatterns = [path("roster-exports/", RosterExportsView.as_view(), name="interop-rosterexport-list")]
