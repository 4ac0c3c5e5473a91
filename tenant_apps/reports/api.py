"""/api/v1/reports/: runs of reports, their files, and the schedules."""

from typing import Any, ClassVar

from django.db import models
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema

from shared_apps.core.api import EXACT, RANGE, Own, PlatformView, ResourceViewSet
from shared_apps.core.api.bodies import binary, refused
from shared_apps.core.api.querystring import parse_key
from shared_apps.core.errors import Forbidden, Gone, NotFound
from shared_apps.core.permissions import Scope
from tenant_apps.files.serving import NoSuchPart, answer
from tenant_apps.reports import services
from tenant_apps.reports.models import ReportArtifact, ReportRun, ReportSchedule, SavedView
from tenant_apps.reports.permissions import ReportsPermission


class ReportScheduleViewSet(ResourceViewSet):
    """Reports that are made every night, at the institution's own time."""

    queryset = ReportSchedule.objects.all()
    permission = ReportsPermission.SCHEDULE
    scopes: ClassVar[dict[Scope, object]] = {}
    fields = ("report", "at", "role", "active")
    filters = {"report": EXACT, "active": EXACT}
    actions = "view"
    example = {"report": "enrolment", "at": "02:00:00", "active": True}


class ReportRunViewSet(ResourceViewSet):
    """Runs of reports. People see those that they asked for; who reaches the whole institution sees all.

    Write one to ask for a report: it counts what you may see. Its state is that of its `job`.
    """

    queryset = ReportRun.objects.all()
    permission = ReportsPermission.RUN
    scopes = Own("requested_by", supervised=True)
    fields = ("report", "on", "schedule", "local_date", "requested_by", "job")
    read_only = ("schedule", "local_date", "requested_by", "job")
    filters = {"report": EXACT, "on": RANGE, "schedule": EXACT, "created_at": RANGE}
    ordering = ("-created_at",)
    orderable = ("created_at", "on")
    actions = "view add"
    example = {"report": "enrolment", "on": "2026-11-20", "schedule": None, "local_date": None}

    def make(self, **values: Any) -> ReportRun:
        return services.request_run(report=values["report"], on=values.get("on"), principal=self.principal)


class ReportArtifactViewSet(ResourceViewSet):
    """Files that runs have made; download/ below each is the file."""

    queryset = ReportArtifact.objects.all()
    permission = ReportsPermission.ARTIFACT
    scopes = Own("run__requested_by", supervised=True)
    fields = ("run", "format")
    filters = {"run": EXACT, "format": EXACT}
    actions = "view"
    example = {"format": "pdf"}


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
    """The file of an artifact, for who may see it now."""

    permission = ReportsPermission.ARTIFACT.code("view")

    @extend_schema(
        operation_id="reports_artifacts_download",
        summary="Download a file of a report",
        description="Answers Range with one part. What you may not see is 404.",
        parameters=[
            OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The artifact's id."),
            OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="bytes=0-1023: this part only."),
        ],
        responses={
            (200, "application/octet-stream"): binary("The file.", "campus,section\r\n"),
            (206, "application/octet-stream"): binary("The part asked for.", "campus"),
            (410, "application/problem+json"): refused(Gone("The file is no longer kept; make it anew.")),
            (416, "application/problem+json"): refused(NoSuchPart("The file has 1,024 bytes.")),
        },
    )
    def get(self, request: HttpRequest, id: str) -> HttpResponseBase:
        found = ReportArtifact.objects.select_related("file").filter(pk=parse_key(id))
        reaches = self.principal.reaches(self.permission)
        if not any(reach.scope is Scope.INSTITUTION for reach in reaches):
            found = found.filter(run__requested_by_id=self.principal.user_id)
        artifact = found.first()
        if artifact is None:
            raise NotFound()
        return answer(artifact.file, request)


routes = {
    "schedules": ReportScheduleViewSet,
    "runs": ReportRunViewSet,
    "artifacts": ReportArtifactViewSet,
    "saved-views": SavedViewViewSet,
}
urlpatterns = [path("artifacts/<id>/download/", DownloadView.as_view(), name="reports-artifact-download")]
