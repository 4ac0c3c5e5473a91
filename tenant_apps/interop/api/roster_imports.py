"""Roster imports: upload one, follow it, look at earlier ones."""

from typing import Any
from urllib.parse import urlencode

import orjson
from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import EXACT, RANGE, PlatformView
from shared_apps.core.api.idempotency import once
from shared_apps.core.api.querystring import Cursor, ListGrammar, ListRequest, parse_key
from shared_apps.core.api.schema import IDEMPOTENCY_KEY
from shared_apps.core.errors import Forbidden, NotFound
from shared_apps.core.ids import uuid7
from shared_apps.core.permissions import Action, Scope
from tenant_apps.interop import services
from tenant_apps.interop.api.bodies import EXAMPLE, RosterImportAnswer, RosterImportPage, RosterUploadBody
from tenant_apps.interop.api.uploads import RosterUpload, receive
from tenant_apps.interop.models import RosterImport
from tenant_apps.interop.permissions import InteropPermission

NEWEST_FIRST = ("-created_at", "-id")
GRAMMAR = ListGrammar(
    RosterImport,
    filters={"dry_run": EXACT, "created_at": RANGE},
    searchable=False,
    ordering=NEWEST_FIRST,
    orderable=(),
)
GRAMMAR.known = tuple(name for name in GRAMMAR.known if name not in ("page", "ordering"))


def shown(record: RosterImport, *, findings: bool = True) -> dict[str, Any]:
    """A roster import as the API answers it."""
    job = record.job
    body: dict[str, Any] = {
        "id": record.pk,
        "job": job.pk,
        "state": job.state,
        "progress": job.progress,
        "step": job.step,
        "file_name": record.file_name,
        "size": record.size,
        "sha256": record.sha256,
        "dry_run": record.dry_run,
        "close_missing": record.close_missing,
        "counts": record.counts,
        "error_count": record.error_count,
        "warning_count": record.warning_count,
        "requested_by": record.requested_by_id,
        "created_at": record.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }
    if findings:
        # A job that failed for another reason than the roster (its worker was lost) says so itself.
        body["causes"] = record.causes
        body["errors"] = record.findings_of("error") or [_finding(error) for error in job.errors]
        body["warnings"] = record.findings_of("warning")
    return body


def _finding(error: dict[str, Any]) -> dict[str, Any]:
    return {name: error.get(name) for name in ("file", "line", "column", "code", "detail")}


class RosterImportView(PlatformView):
    """What both addresses have in common: who may come."""

    permission = InteropPermission.ROSTER.code(Action.VIEW)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # A roster is the whole institution's: who holds the permission for a campus or a section does not reach it.
        needed = self.needed_permission()
        reaches = self.principal.reaches(str(needed))
        if not any(reach.scope is Scope.INSTITUTION for reach in reaches):
            raise Forbidden("A roster concerns the whole institution, and your role does not.", code="outside_scope")


class RosterImportsView(RosterImportView):
    """All roster imports of the institution."""

    permission_by_method = {"POST": InteropPermission.ROSTER.code(Action.IMPORT)}
    parameters = GRAMMAR.known
    parser_classes = [MultiPartParser]

    @extend_schema(
        operation_id="interop_roster_imports_create",
        summary="Upload a roster",
        description=(
            "A OneRoster CSV zip, version 1.2 or 1.1, bulk or delta. A worker checks it and, unless `dry_run` is true, "
            "imports it in one transaction: follow `state` and `progress` at Location, or wait for the notification "
            "`roster.imported`, `roster.checked` or `roster.failed`. An import with errors fails and changes nothing; "
            "a dry run succeeds and lists them.\n\n"
            "Needs the permission `interop.import_rosterimport` for the whole institution."
        ),
        parameters=[IDEMPOTENCY_KEY],
        request={"multipart/form-data": RosterUploadBody},
        responses={
            202: OpenApiResponse(
                RosterImportAnswer,
                description="A worker takes it from here.",
                examples=[
                    OpenApiExample(
                        "Example",
                        value={
                            **EXAMPLE,
                            "state": "pending",
                            "progress": 0,
                            "step": "",
                            "counts": {},
                            "error_count": 0,
                            "causes": [],
                            "errors": [],
                            "started_at": None,
                            "finished_at": None,
                        },
                        response_only=True,
                    )
                ],
            )
        },
    )
    def post(self, request: Request) -> HttpResponse:
        services.sweep_uploads()
        import_id = uuid7()
        upload = RosterUpload(import_id, settings.ROSTER_UPLOAD_MAX_BYTES)
        options = receive(request, upload)

        def work() -> HttpResponse:
            record = services.start_roster_import(
                import_id=import_id,
                upload=upload.path,
                file_name=upload.name,
                size=upload.size,
                sha256=upload.sha256,
                requested_by=self.principal.user_id,
                dry_run=options["dry_run"],
                close_missing=options["close_missing"],
            )
            return HttpResponse(
                orjson.dumps(shown(record)),
                status=202,
                content_type="application/json",
                headers={"Location": f"{request.path}{record.pk}/"},
            )

        content = f"{upload.sha256} {options!r}".encode()
        try:
            answer = once(request._request, self.principal.user_id, work, content=content)
        except BaseException:
            upload.discard()
            raise
        if "Idempotency-Replayed" in answer:
            upload.discard()
        return answer

    @extend_schema(
        operation_id="interop_roster_imports_list",
        summary="List roster imports",
        description="Newest first, without findings.\n\nNeeds the permission `interop.view_rosterimport`.",
        parameters=[
            OpenApiParameter("cursor", str, description="Where the next or previous page begins."),
            OpenApiParameter("page_size", int, description="Rows on a page, from 1 to 200; 50 unless told."),
            OpenApiParameter("count", bool, description="true: also count all rows."),
            *(OpenApiParameter(name, str, description="Filter.") for name in GRAMMAR.lookups),
        ],
        responses={
            200: OpenApiResponse(
                RosterImportPage,
                description="Roster imports, newest first.",
                examples=[
                    OpenApiExample(
                        "Example",
                        value={
                            "next": None,
                            "previous": None,
                            "results": [
                                {k: v for k, v in EXAMPLE.items() if k not in ("causes", "errors", "warnings")}
                            ],
                        },
                        response_only=True,
                    )
                ],
            )
        },
    )
    def get(self, request: Request) -> Response:
        asked = GRAMMAR.read(request.META.get("QUERY_STRING", ""))
        rows = RosterImport.objects.filter(**{lookup.path: value for lookup, value in asked.filters})
        body = _page(rows, asked, request)
        return Response(body)


class OneRosterImportView(RosterImportView):
    """One roster import."""

    @extend_schema(
        operation_id="interop_roster_imports_retrieve",
        summary="Read one of the roster imports",
        description="With what was found in it.\n\nNeeds the permission `interop.view_rosterimport`.",
        parameters=[OpenApiParameter("id", str, OpenApiParameter.PATH, description="The import's id.")],
        responses={
            200: OpenApiResponse(
                RosterImportAnswer,
                description="The import as it now stands.",
                examples=[OpenApiExample("Example", value=EXAMPLE, response_only=True)],
            )
        },
    )
    def get(self, request: Request, id: str) -> Response:
        record = RosterImport.objects.select_related("job").filter(pk=parse_key(id)).first()
        if record is None:
            raise NotFound()
        return Response(shown(record))


def _page(rows: QuerySet[RosterImport], asked: ListRequest, request: Request) -> dict[str, Any]:
    """{"next", "previous", "results"} and, when asked, "count"."""
    cursor = asked.cursor
    backwards = cursor is not None and cursor.backwards
    found = rows.select_related("job").defer("findings").order_by(*NEWEST_FIRST)
    if cursor is not None:
        created_at, row_id = cursor.values
        beyond = "gt" if backwards else "lt"
        found = found.filter(
            Q(**{f"created_at__{beyond}": created_at}) | Q(created_at=created_at, **{f"id__{beyond}": row_id})
        )
    if backwards:
        found = found.order_by("created_at", "id")
    page = list(found[: asked.page_size + 1])
    more = len(page) > asked.page_size
    del page[asked.page_size :]
    if backwards:
        page.reverse()

    def link(record: RosterImport, back: bool) -> str:
        mark = Cursor(back, (record.created_at, record.pk)).encode(asked.place)
        return request.build_absolute_uri(f"{request.path}?{urlencode([*asked.pairs, ('cursor', mark)])}")

    body: dict[str, Any] = {
        "next": link(page[-1], False) if page and (more or backwards) else None,
        "previous": link(page[0], True) if page and (more if backwards else cursor is not None) else None,
    }
    if asked.count:
        body["count"] = rows.count()
    return body | {"results": [shown(record, findings=False) for record in page]}


urlpatterns = [
    path("roster-imports/", RosterImportsView.as_view(), name="interop-rosterimport-list"),
    path("roster-imports/<id>/", OneRosterImportView.as_view(), name="interop-rosterimport-detail"),
]
