"""Addresses that every watched resource has: `.../{id}/history/`, and where it can be deleted `.../deleted/` and
`.../{id}/restore/`."""

from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django.db import models
from django.http import HttpResponse
from django.urls import URLPattern, path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import PlatformView, ResourceViewSet
from shared_apps.core.api.etags import row_tag
from shared_apps.core.api.idempotency import once
from shared_apps.core.api.querystring import bad, pairs, parse_key
from shared_apps.core.api.reading import Sight
from shared_apps.core.errors import Forbidden, Invalid, NotFound
from shared_apps.core.permissions import Action
from tenant_apps.audit import past
from tenant_apps.audit.coverage import EXEMPT
from tenant_apps.audit.past import Past
from tenant_apps.audit.permissions import AuditPermission

PAGE_SIZE, MOST_PAGE_SIZE = 50, 200
EXAMPLE_ID = "019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f"
KEY = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The record's id.")
PAGING = [
    OpenApiParameter("cursor", OpenApiTypes.UUID, description="Where the next page begins; take it from `next`."),
    OpenApiParameter(
        "page_size", OpenApiTypes.INT, description=f"From 1 to {MOST_PAGE_SIZE}; {PAGE_SIZE} unless told."
    ),
]


class AuditActor(serializers.Serializer):
    """Who acted, under the name of that time."""

    kind = serializers.CharField()
    id = serializers.UUIDField(allow_null=True)
    name = serializers.CharField()


class AuditChange(serializers.Serializer):
    """A field that the entry is about."""

    field = serializers.CharField()
    label = serializers.CharField()
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)


class AuditPast(serializers.Serializer):
    """One entry of a record's history."""

    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    operation = serializers.CharField()
    actor = AuditActor()
    request_id = serializers.CharField()
    erased = serializers.BooleanField()
    changes = AuditChange(many=True)


class AuditHistory(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = AuditPast(many=True)


class AuditDeletion(serializers.Serializer):
    """A record that is gone and can be brought back by its id."""

    id = serializers.UUIDField()
    label = serializers.CharField()
    deleted_at = serializers.DateTimeField()
    deleted_by = AuditActor()


class AuditDeletions(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = AuditDeletion(many=True)


ACTOR = {"kind": "person", "id": EXAMPLE_ID, "name": "principal@greenwood.test"}
HISTORY = {
    "next": None,
    "previous": None,
    "results": [
        {
            "id": EXAMPLE_ID,
            "at": "2026-09-01T08:00:00.123456Z",
            "operation": "change",
            "actor": ACTOR,
            "request_id": "5f0b1c0e6a51",
            "erased": False,
            "changes": [{"field": "name", "label": "name", "before": "North", "after": "South"}],
        }
    ],
}
DELETIONS = {
    "next": None,
    "previous": None,
    "results": [{"id": EXAMPLE_ID, "label": "North", "deleted_at": "2026-09-01T08:00:00.123456Z", "deleted_by": ACTOR}],
}


class PastView(PlatformView):
    """Base of the three; `resource` is set on a class for each resource."""

    resource: ClassVar[type[ResourceViewSet]]

    @property
    def model(self) -> type[models.Model]:
        return self.resource.queryset.model

    def page(self, request: Request) -> tuple[UUID | None, int]:
        """Where the page begins and how many rows it has. Raises Invalid."""
        values = dict(pairs(request.META.get("QUERY_STRING", "")))
        size = values.get("page_size", str(PAGE_SIZE))
        if not (size.isascii() and size.isdigit() and len(size) < 4 and 1 <= int(size) <= MOST_PAGE_SIZE):
            detail = f"page_size is a whole number from 1 to {MOST_PAGE_SIZE}."
            raise bad("page_size", detail, "bad_page_size")
        if "cursor" not in values:
            return None, int(size)
        try:
            return parse_key(values["cursor"]), int(size)
        except Invalid:
            detail = "This cursor does not fit this list; start again without it."
            raise bad("cursor", detail, "bad_cursor") from None

    def answer(self, request: Request, found: list[Past], size: int, shown: Any) -> Response:
        """The page's rows; `found` has one more when there is a next page."""
        forward = None
        if len(found) > size:
            query = urlencode({"cursor": str(found[size - 1].id), "page_size": size})
            forward = f"{request.build_absolute_uri(request.path)}?{query}"
        return Response({"next": forward, "previous": None, "results": [shown(one) for one in found[:size]]})


class HistoryView(PastView):
    """What happened to a record, newest first."""

    parameters = ("cursor", "page_size")

    def get(self, request: Request, id: str) -> Response:
        key = parse_key(id)
        seen = self.resource.see(self.principal, Action.VIEW)
        before, size = self.page(request)
        stands = self.resource.reader().one(seen, key, whole=True) is not None
        # The scope of a row that is gone cannot be asked any more: only who sees everything sees what it was.
        if not stands and not sees_everything(seen):
            raise NotFound()
        found = past.history(self.model, key, before=before, most=size + 1)
        if not (found or stands):
            raise NotFound()
        return self.answer(request, found, size, self._shown)

    def _shown(self, one: Past) -> dict[str, Any]:
        fields = (self.model._meta.get_field(name) for name in self.resource.all_fields)
        return {
            "id": one.id,
            "at": one.at,
            "operation": one.operation,
            "actor": actor_of(one),
            "request_id": one.request_id,
            "erased": one.erased_at is not None,
            "changes": [
                {
                    "field": field.name,
                    "label": str(field.verbose_name),
                    "before": _value(field, one.before.get(field.column)),
                    "after": _value(field, one.after.get(field.column)),
                }
                for field in fields
                if field.column in one.before or field.column in one.after
            ],
        }


class DeletedView(PastView):
    """The records of this kind that are gone."""

    parameters = ("cursor", "page_size")

    def get(self, request: Request) -> Response:
        demand_everything(self.resource.see(self.principal, Action.DELETE))
        before, size = self.page(request)
        found = past.deleted(self.model, before=before, most=size + 1)
        return self.answer(request, found, size, self._shown)

    def _shown(self, one: Past) -> dict[str, Any]:
        words = [one.before.get(name) for name in self.resource.search if "__" not in name]
        label = " ".join(str(word) for word in words if word)
        return {"id": one.key, "label": label or one.key, "deleted_at": one.at, "deleted_by": actor_of(one)}


class RestoreView(PastView):
    """The way back of a deleted record."""

    def post(self, request: Request, id: str) -> HttpResponse:
        key = parse_key(id)
        demand_everything(self.resource.see(self.principal, Action.DELETE))
        seen = self.resource.see(self.principal, Action.ADD)

        def work() -> HttpResponse:
            past.restore(self.model, key)
            body = self.resource.reader().one(seen, key, whole=True)
            if body is None:
                raise Forbidden("This would place the record outside of your scope.", code="outside_scope")
            return HttpResponse(body, content_type="application/json", headers={"ETag": row_tag(body)})

        return once(request._request, self.principal.user_id, work)


def sees_everything(seen: Sight) -> bool:
    return not seen.kinds and not seen.nothing


def demand_everything(seen: Sight) -> None:
    """Raises Forbidden for a role that reaches a part: of a row that is gone nobody can say whose part it was."""
    if not sees_everything(seen):
        raise Forbidden("Deleted records are shown to roles that reach the whole institution.", code="outside_scope")


def actor_of(one: Past) -> dict[str, Any]:
    return {"kind": one.actor_kind, "id": one.actor_id, "name": one.actor_name}


def _value(field: models.Field, value: Any) -> Any:
    """A column's value as the API writes it: decimals as text."""
    if isinstance(field, models.DecimalField):
        return None if value is None else str(value)
    return float(value) if isinstance(value, Decimal) else value


def past_routes(resource: type[ResourceViewSet], prefix: str, name: str) -> list[URLPattern]:
    """The patterns of one resource; none when its table is not watched."""
    if resource.queryset.model._meta.db_table in EXEMPT:
        return []
    made = [path("<id>/history/", _history(resource, prefix).as_view(), name=f"{name}-history")]
    if Action.DELETE in resource.exposed and Action.ADD in resource.permission.actions:
        made += [
            path("deleted/", _deleted(resource, prefix).as_view(), name=f"{name}-deleted"),
            path("<id>/restore/", _restore(resource, prefix).as_view(), name=f"{name}-restore"),
        ]
    return made


def _made(base: type[PastView], resource: type[ResourceViewSet], permission: str, **methods: Any) -> type[PastView]:
    members = {"resource": resource, "permission": permission, "__doc__": base.__doc__}
    name = f"{resource.__name__}{base.__name__.removesuffix('View')}"
    return extend_schema_view(**methods)(type(name, (base,), members))


def _operation(prefix: str, verb: str) -> str:
    return f"{prefix}{verb}".strip("/").replace("/", "_").replace("-", "_")


def _answer(serializer: Any, value: Any, description: str) -> dict[int, OpenApiResponse]:
    example = OpenApiExample("Answer", value=value, response_only=True)
    return {200: OpenApiResponse(serializer, description=description, examples=[example])}


def _history(resource: type[ResourceViewSet], prefix: str) -> type[PastView]:
    code = AuditPermission.ENTRY.code(Action.VIEW)
    described = extend_schema(
        operation_id=_operation(prefix, "history"),
        summary=f"History of one of the {resource.queryset.model._meta.verbose_name_plural}",
        description=(
            "Who changed which of the record's fields, newest first, under the names of that time. A change lists the "
            "fields that differ. Also of a deleted record, for roles that reach the whole institution.\n\n"
            f"Needs the permissions `{code}` and `{resource.permission.code(Action.VIEW)}`; the record must lie within "
            "the scope of the latter."
        ),
        parameters=[KEY, *PAGING],
        responses=_answer(AuditHistory, HISTORY, "The entries of the record."),
    )
    return _made(HistoryView, resource, code, get=described)


def _deleted(resource: type[ResourceViewSet], prefix: str) -> type[PastView]:
    plural, code = resource.queryset.model._meta.verbose_name_plural, resource.permission.code(Action.DELETE)
    described = extend_schema(
        operation_id=_operation(prefix, "deleted"),
        summary=f"Deleted {plural}",
        description=(
            "What was deleted and is still gone, the last first, and by whom.\n\n"
            f"Needs the permission `{code}` for the whole institution."
        ),
        parameters=PAGING,
        responses=_answer(AuditDeletions, DELETIONS, "The deleted records."),
    )
    return _made(DeletedView, resource, code, get=described)


def _restore(resource: type[ResourceViewSet], prefix: str) -> type[PastView]:
    # Here, since the schema describes resources, which have these views.
    from shared_apps.core.api.schema import IDEMPOTENCY_KEY, record_example

    plural, code = resource.queryset.model._meta.verbose_name_plural, resource.permission.code(Action.DELETE)
    described = extend_schema(
        operation_id=_operation(prefix, "restore"),
        summary=f"Restore one of the {plural}",
        description=(
            "Puts a deleted record back as it was, with the records that its deletion took along. 409 says what is in "
            "the way: its number was given to another, what it belonged to is gone, a rule has changed.\n\n"
            f"Needs the permissions `{code}`, for the whole institution, and `{resource.permission.code(Action.ADD)}`."
        ),
        parameters=[KEY, IDEMPOTENCY_KEY],
        request=None,
        responses=_answer(resource.serializer_class, record_example(resource), "The record as it stands again."),
    )
    return _made(RestoreView, resource, code, post=described)
