"""/api/v1/reports/: what can be reported, when it is, for whom; runs and their files; saved views."""

from typing import Any, ClassVar

from django.db import models
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema

from shared_apps.core.api import EVERYONE, EXACT, RANGE, Own, PlatformView, ResourceViewSet
from shared_apps.core.api.bodies import binary, refused
from shared_apps.core.api.querystring import parse_key
from shared_apps.core.api.schema import EXAMPLE_ID
from shared_apps.core.errors import Forbidden, Gone, NotFound
from shared_apps.core.permissions import Scope
from tenant_apps.files.serving import NoSuchPart, answer
from tenant_apps.reports import services
from tenant_apps.reports.models import (
    ReportArtifact,
    ReportDefinition,
    ReportRun,
    ReportSchedule,
    ReportSubscription,
    SavedView,
)
from tenant_apps.reports.permissions import ReportsPermission
from tenant_apps.reports.reach import sees


class ReportDefinitionViewSet(ResourceViewSet):
    """Reports that the platform can make: their formats, and what a person needs beside the right to run reports."""

    queryset = ReportDefinition.objects.all()
    permission = ReportsPermission.DEFINITION
    scopes = EVERYONE
    fields = ("code", "name", "permissions", "formats")
    filters = {"code": EXACT}
    ordering = ("code",)
    actions = "view"
    example = {
        "code": "enrolment",
        "name": "Enrolment by grade level and section",
        "permissions": ["academics.view_enrolment", "school.view_student"],
        "formats": ["csv", "pdf"],
    }


class ReportScheduleViewSet(ResourceViewSet):
    """Reports that are made by themselves, at the institution's own time, on the weekdays named (1 is Monday).

    A scheduled report shows the whole institution; its subscriptions say who is told. One that has run is made
    inactive, not deleted.
    """

    queryset = ReportSchedule.objects.all()
    permission = ReportsPermission.SCHEDULE
    scopes: ClassVar[dict[Scope, object]] = {}
    fields = ("definition", "weekdays", "at", "formats", "active")
    includes = ("definition",)
    filters = {"definition": EXACT, "active": EXACT}
    example = {"weekdays": [1, 2, 3, 4, 5], "at": "02:00:00", "formats": ["pdf"], "active": True}


class ReportSubscriptionViewSet(ResourceViewSet):
    """Who is told of a schedule's runs: a person, or the holders of a role. Told is only who may see it all."""

    queryset = ReportSubscription.objects.all()
    permission = ReportsPermission.SUBSCRIPTION
    scopes = Own("user", supervised=True)
    fields = ("schedule", "role", "user")
    includes = ("schedule", "role", "user")
    filters = {"schedule": EXACT, "role": EXACT, "user": EXACT}
    actions = "view add delete"
    example = {"role": EXAMPLE_ID, "user": None}


class ReportRunViewSet(ResourceViewSet):
    """Runs of reports. People see those that they asked for; who reaches the whole institution sees all.

    Write one to ask for a report: it counts what you may see; `campuses` says what it was narrowed to, null is the
    whole institution. Its state is that of its `job`. Its files are kept until `expires_at`; the run stays.
    """

    queryset = ReportRun.objects.all()
    permission = ReportsPermission.RUN
    scopes = Own("requested_by", supervised=True)
    fields = (
        "definition", "on", "formats", "schedule", "local_date", "requested_by", "campuses", "job", "started_at",
        "finished_at", "expires_at",
    )  # fmt: skip
    read_only = (
        "schedule", "local_date", "requested_by", "campuses", "job", "started_at", "finished_at", "expires_at",
    )  # fmt: skip
    includes = ("definition", "schedule")
    filters = {"definition": EXACT, "on": RANGE, "schedule": EXACT, "created_at": RANGE}
    ordering = ("-created_at",)
    orderable = ("created_at", "on")
    actions = "view add"
    example = {
        "on": "2026-11-20",
        "formats": ["csv", "pdf"],
        "schedule": None,
        "local_date": None,
        "campuses": None,
        "started_at": "2026-11-20T14:05:00+00:00",
        "finished_at": "2026-11-20T14:05:01+00:00",
        "expires_at": "2027-02-18T14:05:01+00:00",
    }

    def make(self, **values: Any) -> ReportRun:
        return services.request_run(principal=self.principal, **values)


class ReportArtifactViewSet(ResourceViewSet):
    """Files that runs have made; download/ below each is the file, until its run's `expires_at`."""

    queryset = ReportArtifact.objects.all()
    permission = ReportsPermission.ARTIFACT
    scopes = Own("run__requested_by", supervised=True)
    fields = ("run", "format", "size", "sha256")
    includes = ("run",)
    filters = {"run": EXACT, "format": EXACT}
    actions = "view"
    example = {
        "format": "pdf",
        "size": 24310,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    }


class SavedViewViewSet(ResourceViewSet):
    """Lists that people come back to: a resource and its parameters, checked when they are saved.

    `url` is the list. Everybody sees their own and the shared ones, and changes their own.
    """

    queryset = SavedView.objects.all()
    permission = ReportsPermission.SAVED_VIEW
    scopes = Own("owner", shared="shared")
    fields = ("resource", "name", "query", "shared", "url", "owner")
    read_only = ("url", "owner")
    filters = {"resource": EXACT, "shared": EXACT}
    search = ("name",)
    ordering = ("name",)
    example = {
        "resource": "school/students",
        "name": "New this year",
        "query": "joined_on__gte=2026-08-01&ordering=family_name",
        "url": "/api/v1/school/students/?joined_on__gte=2026-08-01&ordering=family_name",
    }

    def make(self, **values: Any) -> SavedView:
        return services.save_view(view=SavedView(owner_id=self.principal.user_id), values=values, by=self.principal)

    def update(self, record: models.Model, **values: Any) -> None:
        assert isinstance(record, SavedView)
        self._demand_own(record)
        services.save_view(view=record, values=values, by=self.principal)

    def remove(self, record: models.Model) -> None:
        assert isinstance(record, SavedView)
        self._demand_own(record)
        super().remove(record)

    def _demand_own(self, view: SavedView) -> None:
        if view.owner_id != self.principal.user_id:
            raise Forbidden("Somebody shares this view with you; save one of your own.", code="not_yours")


class DownloadView(PlatformView):
    """The file of an artifact, for who may see now all that it shows."""

    permission = ReportsPermission.ARTIFACT.code("view")

    @extend_schema(
        operation_id="reports_artifacts_download",
        summary="Download a file of a report",
        description="Answers Range with one part. What you may not see (any more) is 404, what is no longer kept 410.",
        parameters=[
            OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The artifact's id."),
            OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="bytes=0-1023: this part only."),
        ],
        responses={
            (200, "application/octet-stream"): binary("The file.", "campus,section\r\n"),
            (206, "application/octet-stream"): binary("The part asked for.", "campus"),
            (410, "application/problem+json"): refused(Gone("The file is no longer kept; ask for the report again.")),
            (416, "application/problem+json"): refused(NoSuchPart("The file has 1,024 bytes.")),
        },
    )
    def get(self, request: HttpRequest, id: str) -> HttpResponseBase:
        found = ReportArtifact.objects.select_related("file", "run__definition").filter(pk=parse_key(id)).first()
        if found is None or not sees(self.principal, found.run):
            raise NotFound()
        if found.file is None:
            raise Gone("The file is no longer kept; ask for the report again.", code="file_expired")
        return answer(found.file, request)


routes = {
    "definitions": ReportDefinitionViewSet,
    "schedules": ReportScheduleViewSet,
    "subscriptions": ReportSubscriptionViewSet,
    "runs": ReportRunViewSet,
    "artifacts": ReportArtifactViewSet,
    "saved-views": SavedViewViewSet,
}
urlpatterns = [path("artifacts/<id>/download/", DownloadView.as_view(), name="reports-artifact-download")]
