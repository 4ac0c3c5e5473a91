"""The addresses of a resource's tables: `.../export/`, `.../import/` and `.../import/template/`."""

import io
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import orjson
from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.http import content_disposition_header
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from shared_apps.core.api.bodies import binary
from shared_apps.core.api.etags import VARY
from shared_apps.core.api.querystring import bad, pairs
from shared_apps.core.api.views import PlatformView
from shared_apps.core.errors import Unavailable
from shared_apps.core.permissions import Action
from shared_apps.core.registry import TableDesk, registry
from shared_apps.core.tables.cells import DATE_FORMATS
from shared_apps.core.tables.exporting import MOST_AT_ONCE, Export, name_of, parameters_of, read_export
from shared_apps.core.tables.formats import CONTENT_TYPES, CSV, XLSX
from shared_apps.core.tables.importing import ALL_OR_NOTHING, MODES
from shared_apps.core.tables.mapping import MATCHES
from shared_apps.core.tables.templates import write_template

if TYPE_CHECKING:
    from shared_apps.core.api.resources import ResourceViewSet

EXAMPLE_JOB = "0199a1d0-7c1e-7b51-9c3e-4c3b1f0e9a12"


class StartedJob(serializers.Serializer):
    """A worker takes it from here; Location says where to follow it."""

    job = serializers.UUIDField()

    class Meta:
        ref_name = "EventlogStartedJob"


class TableView(PlatformView):
    """Base of the three; `resource` is set on a class for each resource."""

    resource: "ClassVar[type[ResourceViewSet]]"


class ExportView(TableView):
    """All rows of a list as a file."""

    def get(self, request: Request) -> HttpResponseBase:
        export = read_export(self.resource, request.META.get("QUERY_STRING", ""), self.principal)
        headers = {
            "Content-Disposition": str(content_disposition_header(True, export.name)),
            "Cache-Control": "no-store",
            "Vary": VARY,
        }
        content_type = CONTENT_TYPES[export.form]
        if request.method == "HEAD":
            return HttpResponse(content_type=content_type, headers=headers)
        if export.count(MOST_AT_ONCE + 1) > MOST_AT_ONCE:
            return started(self._hand_over(request, export))
        # A file is sent from the spool: the body asks the database nothing, so it needs no institution.
        return FileResponse(export.spool(), content_type=content_type, headers=headers)

    def _hand_over(self, request: Request, export: Export) -> UUID:
        query = request.META.get("QUERY_STRING", "")
        return desk().start_export(
            resource=name_of(self.resource), query=query, form=export.form, principal=self.principal
        )


class ImportView(TableView):
    """A table whose rows become records."""

    parser_classes = [MultiPartParser]

    def post(self, request: Request) -> HttpResponse:
        self.resource.see(self.principal, Action.IMPORT)
        return desk().start_import(resource=name_of(self.resource), request=request, principal=self.principal)


class TemplateView(TableView):
    """The empty table of an import."""

    parameters = ("format",)

    def get(self, request: Request) -> HttpResponseBase:
        given = pairs(request.META.get("QUERY_STRING", ""))
        form = dict(given).get("format", CSV)
        if form not in (CSV, XLSX):
            raise bad("format", "format is csv or xlsx.", "bad_format")
        out = io.BytesIO()
        write_template(out, self.resource, form)
        plural = self.resource.permission.value.plural
        disposition = str(content_disposition_header(True, f"{plural} template.{form}"))
        return HttpResponse(
            out.getvalue(),
            content_type=CONTENT_TYPES[form],
            headers={"Content-Disposition": disposition, "Cache-Control": "no-store"},
        )


class TableUploadBody(serializers.Serializer):
    """A table and how to read it."""

    file = serializers.FileField(help_text="CSV (separated by comma, semicolon or tab) or XLSX.")
    dry_run = serializers.BooleanField(default=False, help_text="Say what would be done, and do nothing.")
    mode = serializers.ChoiceField(
        choices=MODES, default=ALL_OR_NOTHING, help_text="What happens to the good rows when others are refused."
    )
    match = serializers.ChoiceField(
        choices=MATCHES,
        required=False,
        help_text="Which rows change a record that is there already: those with its natural key, with its id, or none. "
        "key unless told, where the records have one; else id.",
    )
    mapping = serializers.CharField(
        required=False, help_text='JSON object, column to field; "" passes a column over. By name unless told.'
    )
    date_format = serializers.ChoiceField(
        choices=tuple(DATE_FORMATS), default="YYYY-MM-DD", help_text="How texts write dates; ISO dates always hold."
    )
    sheet = serializers.CharField(required=False, help_text="Which sheet, when several have content.")

    class Meta:
        ref_name = "FilesTableUpload"


def desk() -> TableDesk:
    """Who takes what a worker does. Raises Unavailable where no room keeps files."""
    if registry.table_desk is None:
        raise Unavailable("Nothing here keeps files.")
    return registry.table_desk


def started(job: UUID) -> HttpResponse:
    """202, with the place of the job."""
    body = orjson.dumps({"job": job})
    place = {"Location": f"/api/v1/jobs/{job}/"}
    return HttpResponse(body, status=202, content_type="application/json", headers=place)


def job_answer(description: str) -> OpenApiResponse:
    example = OpenApiExample("Answer", value={"job": EXAMPLE_JOB}, response_only=True)
    return OpenApiResponse(StartedJob, description=description, examples=[example])


def table_routes(resource: "type[ResourceViewSet]", prefix: str, name: str) -> list[URLPattern]:
    """The patterns of a resource's tables. They come before that of a record, which takes any word for an id."""
    routes = [path("export/", _export_view(resource, prefix).as_view(), name=f"{name}-export")]
    if resource.importable:
        template = _template_view(resource, prefix).as_view()
        routes += [
            path("import/", _import_view(resource, prefix).as_view(), name=f"{name}-import"),
            path("import/template/", template, name=f"{name}-import-template"),
        ]
    return routes


def _named(prefix: str, verb: str) -> str:
    return f"{prefix}{verb}".strip("/").replace("/", "_").replace("-", "_")


def _export_view(resource: "type[ResourceViewSet]", prefix: str) -> type[ExportView]:
    from shared_apps.core.api.schema import list_parameters  # the schema describes resources, which have these views

    plural = resource.permission.value.plural
    known = parameters_of(resource)
    choice = OpenApiParameter("format", str, enum=[CSV, XLSX], description="csv unless told.")
    described = extend_schema(
        operation_id=_named(prefix, "export"),
        summary=f"Export {plural}",
        description=(
            "All rows that the list would show with these parameters, as a file: one column for each field, references "
            "by the other record's number or code where it has one. CSV is UTF-8 with a byte order mark; a text that a "
            "spreadsheet would take for a formula gets an apostrophe before it, which an import takes off.\n\n"
            f"More than {MOST_AT_ONCE:,} rows are written by a worker: 202, and the job's `result` names the file.\n\n"
            f"Needs the permission `{resource.export_code()}`; holds what lies within the scope that it was granted in."
        ),
        parameters=[choice, *(one for one in list_parameters(resource) if one.name in known)],
        responses={
            (200, "text/csv"): binary("The table as CSV.", f"{','.join(resource.all_fields[:3])}\r\n"),
            (200, CONTENT_TYPES[XLSX]): binary("The table as XLSX.", "PK"),
            202: job_answer("A worker writes the table; follow the job at Location."),
        },
    )
    members: dict[str, Any] = {
        "resource": resource,
        "permission": resource.export_code(),
        "parameters": known,
        "__doc__": ExportView.__doc__,
    }
    return extend_schema_view(get=described)(type(f"{resource.__name__}Export", (ExportView,), members))


def _import_view(resource: "type[ResourceViewSet]", prefix: str) -> type[ImportView]:
    from shared_apps.core.api.schema import IDEMPOTENCY_KEY  # as for the export

    plural, code = resource.permission.value.plural, resource.permission.code(Action.IMPORT)
    key = " and ".join(resource.key) if resource.key else "none; match by id"
    described = extend_schema(
        operation_id=_named(prefix, "import"),
        summary=f"Import {plural}",
        description=(
            "A table whose rows are added, or change the record that they are about. A worker does it in one "
            "transaction: follow the job at Location. Its `result` holds `counts` (rows, created, changed, unchanged, "
            "refused), `preview` (the first 20 rows as stored), `errors` (row, column, pointer, detail, code; the "
            "first 1,000), `warnings`, and `error_file`: all refused rows with what is wrong, as CSV.\n\n"
            "A dry run succeeds whatever it finds. `all_or_nothing` fails with any refused row; `valid_rows_only` "
            f"leaves those out. Natural key: {key}. An empty cell clears an optional field.\n\n"
            f"Needs the permission `{code}`, and for each row the one that writing it alone needs."
        ),
        parameters=[IDEMPOTENCY_KEY],
        request={"multipart/form-data": TableUploadBody},
        responses={202: job_answer("A worker takes it from here.")},
    )
    members: dict[str, Any] = {"resource": resource, "permission": code, "__doc__": ImportView.__doc__}
    return extend_schema_view(post=described)(type(f"{resource.__name__}Import", (ImportView,), members))


def _template_view(resource: "type[ResourceViewSet]", prefix: str) -> type[TemplateView]:
    code = resource.permission.code(Action.IMPORT)
    described = extend_schema(
        operation_id=_named(prefix, "import/template"),
        summary=f"Download an empty table of {resource.permission.value.plural}",
        description=f"The columns of an import, and what each wants.\n\nNeeds the permission `{code}`.",
        parameters=[OpenApiParameter("format", str, enum=[CSV, XLSX], description="csv unless told.")],
        responses={
            (200, "text/csv"): binary("The table as CSV.", f"{','.join(resource.all_fields[:3])}\r\n"),
            (200, CONTENT_TYPES[XLSX]): binary("The table as XLSX.", "PK"),
        },
    )
    members: dict[str, Any] = {"resource": resource, "permission": code, "__doc__": TemplateView.__doc__}
    return extend_schema_view(get=described)(type(f"{resource.__name__}Template", (TemplateView,), members))
