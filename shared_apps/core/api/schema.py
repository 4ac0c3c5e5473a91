"""OpenAPI 3.1 from the declarations: parameters, bodies, answers, an example and the problem answers of each operation.

Component names carry the room (`SchoolStudent`): two rooms' `Session` would otherwise merge into one.
"""

import re
from datetime import date, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from shared_apps.core.api.deprecation import Deprecation
from shared_apps.core.api.querystring import MOST_PAGE_SIZE, MOST_PAGES, PAGE_SIZE
from shared_apps.core.api.resources import ResourceViewSet

IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The ETag of the answer that the client holds; 304 says that it still stands.",
)
ETAG = {"schema": {"type": "string"}, "description": "The answer's tag, for If-None-Match and a record's If-Match."}
NOT_MODIFIED = {
    "description": "The answer that the client holds still stands; no body.",
    "headers": {"ETag": ETAG},
}
EXAMPLE_ID = "019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f"
KIND_TEXT = {
    "exact": "Equal to the value.",
    "in": "One of the values, separated by commas.",
    "gte": "At or after the value.",
    "lte": "At or before the value.",
    "gt": "After the value.",
    "lt": "Before the value.",
    "icontains": "Contains the text, whatever its case.",
    "istartswith": "Begins with the text, whatever its case.",
    "isnull": "true: has no value; false: has one.",
}
OTHER_ID = "019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e70"
IF_MATCH = OpenApiParameter(
    "If-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The ETag that was read: if the record has changed since, the answer is 412 and nothing is written.",
)
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="A key of your choice: sent again within 24 hours, the request is answered as the first time and not"
    " done again.",
)
PAGING = {
    "page": OpenApiParameter("page", OpenApiTypes.INT, description=f"A page by number, from 1 to {MOST_PAGES}."),
    "page_size": OpenApiParameter(
        "page_size",
        OpenApiTypes.INT,
        description=f"Rows on a page, from 1 to {MOST_PAGE_SIZE}; {PAGE_SIZE} unless told.",
    ),
}
BULK_TEXT = (
    "Up to 1,000 rows in one transaction; `atomic: false` writes the good ones and reports the others. Each operation"
    " needs its own permission, and each row lies within the scope that it was granted in, before and after."
)
VERBS = {
    "list": "List",
    "retrieve": "Read",
    "create": "Add",
    "replace": "Replace",
    "change": "Change",
    "remove_record": "Delete",
    "bulk": "Create, change and delete",
}


class Schema(AutoSchema):
    """Describes resources from their declaration, other views from their `extend_schema`."""

    view: Any

    @property
    def _resource(self) -> ResourceViewSet | None:
        return self.view if isinstance(self.view, ResourceViewSet) else None

    def get_tags(self) -> list[str]:
        inside, _, rest = self.path.partition("/api/v1/")
        return [rest.split("/")[0] if not inside else "auth"]

    def get_operation_id(self) -> str:
        resource = self._resource
        if resource is None:
            return re.sub(r"[\W_]+", "_", super().get_operation_id()).strip("_")
        parts = [p for p in self.path.removeprefix("/api/v1/").strip("/").split("/") if not p.startswith("{")]
        action = resource.action if resource.verb_name is None else None
        return "_".join([*parts, action.removesuffix("_record")] if action else parts).replace("-", "_")

    def get_serializer_name(self, serializer: serializers.Serializer, direction: Any) -> str:
        name, resource = super().get_serializer_name(serializer, direction), self._resource
        room = resource.room.capitalize() if resource is not None else ""
        return name if name.startswith(room) else f"{room}{name}"

    @property
    def _deprecation(self) -> Deprecation | None:
        resource = self._resource
        verb = resource.verbs[resource.verb_name] if resource is not None and resource.verb_name else None
        return (verb and verb.deprecated) or getattr(self.view, "deprecated", None)

    def is_deprecated(self) -> bool:
        return self._deprecation is not None or super().is_deprecated()

    def get_summary(self) -> str | None:
        resource = self._resource
        if resource is None:
            return super().get_summary()
        if resource.verb_name:
            return resource.verbs[resource.verb_name].summary
        plural = resource.permission.value.plural
        many = resource.action in ("list", "bulk")
        noun = plural if many else f"one of the {plural}"
        return f"{VERBS[resource.action]} {noun}"

    def get_description(self) -> str:
        resource = self._resource
        deprecation = self._deprecation
        notice = f"\n\n{deprecation.text}" if deprecation is not None else ""
        if resource is None:
            return f"{super().get_description()}{notice}"
        text = (type(resource).__doc__ or "").strip()
        if resource.action == "bulk":
            return f"{text}\n\n{BULK_TEXT}{notice}"
        needed = (
            resource.permission.code("view")
            if resource.action in ("list", "retrieve")
            else resource.needed_permission()
        )
        reach = f"Needs the permission `{needed}`; shows what lies within the scope that it was granted in."
        return f"{text}\n\n{reach}{notice}"

    def get_override_parameters(self) -> list[Any]:
        resource = self._resource
        if resource is None:
            taken = getattr(self.view, "parameters", ()) if self.method == "GET" else ()
            return [PAGING[name] for name in taken if name in PAGING]
        if "{id}" in self.path:
            key = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The record's id.")
            return [
                key,
                *(_shape_parameters(resource) if resource.action == "retrieve" else (IF_MATCH, IDEMPOTENCY_KEY)),
            ]
        return list_parameters(resource) if resource.action == "list" else [IDEMPOTENCY_KEY]

    def get_filter_backends(self) -> list[Any]:
        return []

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False if self._resource is not None else super()._is_list_view(serializer)

    def get_request_serializer(self) -> Any:
        resource = self._resource
        if resource is None:
            return super().get_request_serializer()
        if resource.verb_name:
            return resource.verbs[resource.verb_name].body
        if resource.action == "bulk":
            return _bulk_request(resource)
        return resource.serializer_class if resource.action in ("create", "replace", "change") else None

    def get_response_serializers(self) -> Any:
        resource = self._resource
        if resource is None:
            return super().get_response_serializers()
        name = resource.serializer_class.__name__.removesuffix("Serializer")
        example = record_example(resource)
        match resource.action:
            case "list":
                envelope = inline_serializer(
                    f"{name}List",
                    {
                        "next": serializers.URLField(allow_null=True),
                        "previous": serializers.URLField(allow_null=True),
                        "count": serializers.IntegerField(required=False, help_text="Only with ?count=true."),
                        "results": resource.serializer_class(many=True),
                        **_included(resource),
                    },
                )
                value = {"next": None, "previous": None, "results": [example]}
                return {200: _answer(envelope, value, "The rows within your scope.")}
            case "remove_record":
                return {204: OpenApiResponse(description="Deleted.")}
            case "bulk":
                return {200: _answer(_bulk_answer(resource), _bulk_example(example), "A result for each row.")}
            case "create":
                return {201: _answer(resource.serializer_class, example, "Added.")}
            case _:
                return {200: _answer(resource.serializer_class, example, "The record as it now stands.")}

    def get_examples(self) -> list[OpenApiExample]:
        resource = self._resource
        body = resource.verbs[resource.verb_name].body if resource is not None and resource.verb_name else None
        if body is not None:
            value = {name: _body_value(field) for name, field in body().fields.items() if not field.read_only}
        elif resource is not None and resource.action in ("create", "replace", "change"):
            fixed = set(resource.serializer_class.Meta.read_only_fields)
            value = {name: v for name, v in record_example(resource).items() if name not in fixed}
        elif resource is not None and resource.action == "bulk":
            fixed = set(resource.serializer_class.Meta.read_only_fields)
            row = {name: v for name, v in record_example(resource).items() if name not in fixed}
            value = {"create": [row], "update": [{"id": EXAMPLE_ID, **row}], "delete": [OTHER_ID], "atomic": True}
        else:
            return super().get_examples()
        return [OpenApiExample("Example", value=value, request_only=True)]


def _bulk_request(resource: ResourceViewSet) -> Any:
    name = resource.serializer_class.__name__.removesuffix("Serializer")
    return inline_serializer(
        f"{name}Bulk",
        {
            "create": resource.serializer_class(many=True, required=False),
            "update": serializers.ListField(
                child=serializers.DictField(),
                required=False,
                help_text="`id`, the fields to change, and `if_match` (an ETag) where wanted.",
            ),
            "delete": serializers.ListField(child=serializers.UUIDField(), required=False),
            "atomic": serializers.BooleanField(default=True, help_text="false: write the good rows, report the bad."),
        },
    )


def _bulk_answer(resource: ResourceViewSet) -> Any:
    name = resource.serializer_class.__name__.removesuffix("Serializer")
    counts = {count: serializers.IntegerField() for count in ("created", "changed", "deleted", "refused")}
    result = inline_serializer(
        f"{name}BulkResult",
        {
            "operation": serializers.ChoiceField(choices=["create", "update", "delete"]),
            "index": serializers.IntegerField(help_text="The row's place in its list, from 0."),
            "status": serializers.IntegerField(help_text="What the row alone would have been answered with."),
            "id": serializers.UUIDField(required=False),
            "record": resource.serializer_class(required=False),
            "errors": serializers.ListField(child=serializers.DictField(), required=False),
        },
        many=True,
    )
    return inline_serializer(f"{name}BulkAnswer", {**counts, "results": result})


def _bulk_example(record: dict[str, Any]) -> dict[str, Any]:
    results = [{"operation": "create", "index": 0, "status": 201, "id": record["id"], "record": record}]
    return {"created": 1, "changed": 0, "deleted": 0, "refused": 0, "results": results}


def _answer(serializer: Any, value: Any, description: str) -> OpenApiResponse:
    example = OpenApiExample("Example", value=value, response_only=True)
    return OpenApiResponse(serializer, description=description, examples=[example])


def list_parameters(resource: "ResourceViewSet | type[ResourceViewSet]") -> list[OpenApiParameter]:
    grammar = resource.reader().grammar
    texts = {
        "search": "Words that must all be found in "
        + ", ".join(resource.search)
        + ". Accents, apostrophes and hyphens do not matter; a word of four letters or more also finds what resembles"
        + " it, one or two letters the words that begin with them. The best matches come first unless `ordering` is"
        + " given.",
        "ordering": "Columns to order by, separated by commas, - for falling: " + ", ".join(grammar.orderable) + ".",
        "cursor": "Where the next or previous page begins; take it from `next` or `previous`.",
        "page": f"A page by number, from 1 to {MOST_PAGES}, instead of a cursor.",
        "page_size": f"Rows on a page, from 1 to {MOST_PAGE_SIZE}; {PAGE_SIZE} unless told.",
        "count": "true: also count all rows.",
        **_shape_texts(resource),
    }
    kinds = {"page": OpenApiTypes.INT, "page_size": OpenApiTypes.INT, "count": OpenApiTypes.BOOL}
    found = [
        OpenApiParameter(name, kinds.get(name, OpenApiTypes.STR), description=texts[name])
        for name in grammar.known
        if name in texts
    ]
    for lookup in grammar.lookups.values():
        kind = OpenApiTypes.BOOL if lookup.kind == "isnull" else _type(lookup.field, lookup.kind)
        found.append(OpenApiParameter(lookup.name, kind, description=KIND_TEXT[lookup.kind]))
    return [*found, IF_NONE_MATCH]


def _shape_texts(resource: "ResourceViewSet | type[ResourceViewSet]") -> dict[str, str]:
    return {
        "fields": "Only these columns, separated by commas, in declared order; `id` is always shown.",
        "include": "Related records to answer in `included`, by relation and id, as far as you may see them: "
        + ", ".join(resource.includes)
        + ".",
    }


def _shape_parameters(resource: ResourceViewSet) -> list[OpenApiParameter]:
    known, texts = type(resource).reader().grammar.known_of_record, _shape_texts(resource)
    shape = [OpenApiParameter(name, OpenApiTypes.STR, description=texts[name]) for name in known]
    return [*shape, IF_NONE_MATCH]


def _included(resource: ResourceViewSet) -> dict[str, serializers.Field]:
    """The member `included` of a list, when the resource declares any."""
    if not resource.includes:
        return {}
    records = serializers.DictField(child=serializers.DictField())
    return {"included": serializers.DictField(child=records, required=False, help_text="Only with ?include=.")}


def _type(field: models.Field, kind: str) -> Any:
    if kind == "in":
        return OpenApiTypes.STR
    match field:
        case models.ForeignKey() | models.UUIDField():
            return OpenApiTypes.UUID
        case models.DateTimeField():
            return OpenApiTypes.DATETIME
        case models.DateField():
            return OpenApiTypes.DATE
        case models.BooleanField():
            return OpenApiTypes.BOOL
        case models.IntegerField():
            return OpenApiTypes.INT
        case _:
            return OpenApiTypes.STR


def record_example(resource: ResourceViewSet | type[ResourceViewSet]) -> dict[str, Any]:
    """A record as the API shows it, from the declaration's own example where it has one."""
    model = resource.queryset.model
    said = resource.example
    return {name: said[name] if name in said else _value(model._meta.get_field(name)) for name in resource.all_fields}


def _value(field: Any) -> Any:
    if field.flatchoices:
        return field.flatchoices[0][0]
    # What ends is open, or does so after it has begun: one day for all is what the tables refuse.
    name = str(field.name)
    ends = name.startswith(("ends_", "left_")) or name.endswith("_until")
    match field:
        case models.ForeignKey() if field.null and field.editable:
            return None  # an id that is made up would be refused where none is needed
        case models.ForeignKey() | models.UUIDField():
            return EXAMPLE_ID
        case models.DateField() if ends and field.null:
            return None
        case models.DateField() if ends:
            return date(2027, 7, 1).isoformat()
        case models.DateTimeField():
            return datetime(2026, 9, 1, 8, 0).isoformat() + "+00:00"
        case models.DateField():
            return date(2026, 9, 1).isoformat()
        case models.BooleanField():
            return True
        case models.IntegerField():
            return 1
        case models.EmailField():
            return "amelie@lumiere.test"
        case models.DecimalField():
            return "12.50"
        case models.JSONField():
            return {}
        case _:
            return _text(field)


def _text(field: Any) -> str | None:
    """A text that the column's own rules accept; a code of two letters has a rule that no word keeps."""
    if field.null:
        return None
    if isinstance(field.default, str) and field.default:
        return str(field.default)
    try:
        field.run_validators("Text")
    except ValidationError:
        return ""
    return "Text"


def _body_value(field: serializers.Field) -> Any:
    match field:
        case serializers.ChoiceField():
            return next(iter(field.choices))
        case serializers.PrimaryKeyRelatedField() | serializers.UUIDField():
            return EXAMPLE_ID
        case serializers.DateTimeField():
            return "2026-09-01T08:00:00+00:00"
        case serializers.DateField():
            return "2026-09-01"
        case serializers.BooleanField():
            return True
        case serializers.IntegerField():
            return field.min_value or 1
        case serializers.EmailField():
            return "amelie@lumiere.test"
        case serializers.DecimalField():
            return "12.50"
        case serializers.ListField():
            return []
        case _:
            return "Text"


PROBLEM = {
    "type": "object",
    "description": "A refusal (RFC 9457): what, where and how to mend it.",
    "required": ["type", "title", "status", "detail", "code", "request_id", "errors"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail", "code"],
                "properties": {name: {"type": "string"} for name in ("pointer", "detail", "code")},
            },
        },
    },
}
REFUSALS = {
    "400": ("invalid", "Bad request", "A value, a parameter or the body is refused; `errors` says where."),
    "401": ("unauthenticated", "Sign in first", "No valid access token."),
    "402": ("quota_exceeded", "Limit of the plan reached", "The institution's plan does not allow more of it."),
    "403": ("permission_missing", "Not allowed", "No role of yours includes the permission."),
    "404": ("not_found", "Not found", "No such record within your scope."),
    "405": ("method_not_allowed", "Method not allowed", "This address does not know the method."),
    "406": ("not_acceptable", "Not acceptable", "Only JSON is served."),
    "409": ("conflict", "Conflict", "Another record is in the way."),
    "412": ("precondition_failed", "Precondition failed", "The record has changed since; `current` is what stands."),
    "413": ("too_large", "Too large", "The body is larger than this address accepts."),
    "415": ("unsupported_media_type", "Unsupported media type", "Send application/json."),
    "422": ("idempotency_key_reused", "Cannot be processed", "The Idempotency-Key was used for another request."),
    "429": ("rate_limited", "Too many requests", "The limit is used up; Retry-After says for how long."),
    "503": ("unavailable", "Unavailable for the moment", "Try again; Retry-After says when."),
    "504": ("took_too_long", "Took too long", "A database statement took longer than the institution's may."),
}
WITH_BODY = ("402", "409", "413", "415")
BY_HEADER = {"412": "If-Match", "422": "Idempotency-Key"}


def _let_anything_be_null(schema: Any) -> None:
    """drf-spectacular writes a JSON column that may be null as one of {} and null; null is both, so never one."""
    if isinstance(schema, dict):
        if schema.get("oneOf") == [{}, {"type": "null"}]:
            del schema["oneOf"]
        for inner in schema.values():
            _let_anything_be_null(inner)


def add_problems(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """drf-spectacular's last hook: every operation documents its refusals."""
    _let_anything_be_null(result.setdefault("components", {}).setdefault("schemas", {}))
    result["components"]["schemas"]["Problem"] = PROBLEM
    for path, methods in result["paths"].items():
        for method, operation in methods.items():
            if method == "get":
                operation["responses"].setdefault("304", NOT_MODIFIED)
                operation["responses"].get("200", {}).setdefault("headers", {"ETag": ETAG})
            headers = {parameter["name"] for parameter in operation.get("parameters", ())}
            for status, (code, title, detail) in REFUSALS.items():
                if BY_HEADER.get(status, "") not in {"", *headers}:
                    continue
                if (status in WITH_BODY and method == "get") or (status == "404" and "{" not in path):
                    continue
                body = {
                    "type": f"/problems/{code}", "title": title, "status": int(status), "detail": detail, "code": code,
                    "request_id": "5f0c1d7f8a2b4c6d", "errors": [],
                }  # fmt: skip
                content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": body}
                answer = {"description": detail, "content": {"application/problem+json": content}}
                operation["responses"].setdefault(status, answer)
    return result
