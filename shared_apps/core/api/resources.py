"""A resource is a declaration; everything common comes from here."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from django.db import models
from django.http import HttpRequest, HttpResponse
from django.urls import URLResolver, include, path
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api.declarations import Filter, Verb
from shared_apps.core.api.deprecation import Deprecation, announced
from shared_apps.core.api.etags import row_tag, shaped_tag, tagged
from shared_apps.core.api.including import included
from shared_apps.core.api.permissions import missing
from shared_apps.core.api.querystring import ListGrammar, parse_key
from shared_apps.core.api.reading import Reader, Scopes, Sight, sight
from shared_apps.core.api.served import resources
from shared_apps.core.api.writes import Writes
from shared_apps.core.api.writing import record_serializer
from shared_apps.core.errors import NotFound, Unauthenticated
from shared_apps.core.permissions import CRUD, Action, PermissionCatalogue, Principal
from shared_apps.core.registry import registry


class ResourceViewSet(Writes):
    """Base of every resource. A subclass declares; docs/adding-a-resource.md says what.

    Reads take the short way (`reading`): no serializer, no model instance. Writes go through REST framework, the
    model's own rules and one transaction, in which the row is read again within the caller's scope.
    """

    queryset: models.QuerySet
    permission: ClassVar[PermissionCatalogue]
    scopes: ClassVar[Scopes]
    fields: ClassVar[tuple[str, ...]]
    read_only: ClassVar[tuple[str, ...]] = ()
    filters: ClassVar[dict[str, Filter]] = {}
    search: ClassVar[tuple[str, ...]] = ()
    includes: ClassVar[tuple[str, ...]] = ()
    ordering: ClassVar[tuple[str, ...]] = ("id",)
    orderable: ClassVar[tuple[str, ...]] = ()
    actions: ClassVar[str] = CRUD
    key: ClassVar[tuple[str, ...]] = ()
    importable: ClassVar[bool] = False
    example: ClassVar[dict[str, Any]] = {}
    deprecated: ClassVar[Deprecation | None] = None

    room: ClassVar[str]
    verbs: ClassVar[dict[str, Verb]]
    all_fields: ClassVar[tuple[str, ...]]
    exposed: ClassVar[frozenset[Action]]
    serializer_class: ClassVar[Any]
    lookup_field = "pk"
    filter_backends: ClassVar[list[Any]] = []
    pagination_class = None
    routed: ClassVar[bool] = False
    address: ClassVar[str] = ""  # below /api/v1/, such as school/students/
    _reader: ClassVar[Reader | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        needed = ("queryset", "permission", "scopes", "fields")
        missing = [name for name in needed if getattr(cls, name, None) is None]
        if missing:
            raise TypeError(f"{cls.__name__} declares no {', '.join(missing)}; a resource fails closed.")
        model = cls.queryset.model
        cls.room = model._meta.app_label
        columns = {field.name for field in model._meta.concrete_fields}
        stamps = tuple(name for name in ("created_at", "updated_at") if name in columns and name not in cls.fields)
        cls.all_fields = ("id", *(name for name in cls.fields if name != "id"), *stamps)
        cls.exposed = frozenset(Action(action) for action in cls.actions.split())
        if Action.VIEW not in cls.exposed:
            raise TypeError(
                f"{cls.__name__} does not expose view; every resource is read, and every write is answered."
            )
        cls.verbs = {
            name: getattr(cls, name).verb
            for name in dir(cls)
            if isinstance(getattr(getattr(cls, name), "verb", None), Verb)
        }
        name = f"{cls.room.capitalize()}{model.__name__}"
        fixed = (*(name for name in ("id", "created_at", "updated_at") if name in cls.all_fields), *cls.read_only)
        cls.serializer_class = record_serializer(name, model, cls.all_fields, fixed)
        cls._reader = None
        resources.append(cls)

    # What the declaration means -------------------------------------------------------------------------------

    @classmethod
    def enforced(cls) -> set[str]:
        """The codes of the catalogue that this resource asks for."""
        actions = cls.exposed | {verb.action for verb in cls.verbs.values()}
        codes = {cls.permission.code(action) for action in actions} | {cls.export_code()}
        return codes | {cls.permission.code(Action.IMPORT)} if cls.importable else codes

    @classmethod
    def export_code(cls) -> str:
        """The permission that an export needs: to view, where the catalogue knows no export (a person's own rows)."""
        return cls.permission.code(Action.EXPORT if Action.EXPORT in cls.permission.actions else Action.VIEW)

    @classmethod
    def reader(cls) -> Reader:
        """Made at the first read: the database's quoting and the model registry must be ready."""
        if cls._reader is None:
            cls._reader = Reader(
                name=f"{cls.room}.{cls.__name__}",
                queryset=cls.queryset,
                fields=cls.all_fields,
                scopes=cls.scopes,
                search=cls.search,
                grammar=ListGrammar(
                    cls.queryset.model,
                    fields=cls.all_fields,
                    includes=cls.includes,
                    filters=cls.filters,
                    searchable=bool(cls.search),
                    ordering=cls.ordering,
                    orderable=cls.orderable,
                ),
            )
        return cls._reader

    @classmethod
    def see(cls, principal: Principal, action: Action) -> Sight:
        """How far the principal may do `action` here. Raises Forbidden when no role of theirs holds it."""
        reaches = principal.reaches(cls.permission.code(action))
        if not reaches:
            raise missing(cls.permission.code(action))
        return sight(principal, reaches, cls.scopes)

    # Routes ---------------------------------------------------------------------------------------------------

    @classmethod
    def routes(cls, prefix: str) -> URLResolver:
        """The URL patterns of the resource under `prefix`, which ends with a slash: one comparison passes them by."""
        cls.routed, cls.address = True, prefix
        name = f"{cls.room}-{cls.queryset.model._meta.model_name}"
        collection = {"get": "list"} | ({"post": "create"} if Action.ADD in cls.exposed else {})
        record = {"get": "retrieve"}
        if Action.CHANGE in cls.exposed:
            record |= {"put": "replace", "patch": "change"}
        if Action.DELETE in cls.exposed:
            record["delete"] = "remove_record"
        written = cls.exposed & {Action.ADD, Action.CHANGE, Action.DELETE}
        from shared_apps.core.tables.views import table_routes  # the tables' views describe themselves by the schema

        patterns = [
            *table_routes(cls, prefix, name),
            *(pattern for more in registry.record_routes for pattern in more(cls, prefix, name)),
            path("", cls._with_short_reads(collection, cls.read_many), name=f"{name}-list"),
            *([path("bulk/", cls.as_view({"post": "bulk"}), name=f"{name}-bulk")] if written else []),
            path("<id>/", cls._with_short_reads(record, cls.read_one), name=f"{name}-detail"),
        ]
        for pattern in patterns:
            pattern.callback = announced(pattern.callback, cls.deprecated)
        for verb_name, verb in cls.verbs.items():
            view = cls.as_view({"post": "perform_verb"}, verb_name=verb_name, name=verb.summary)
            announcing = announced(view, verb.deprecated or cls.deprecated)
            patterns.append(path(f"<id>/{verb.path}/", announcing, name=f"{name}-{verb.path}"))
        return path(prefix, include(patterns))

    @classmethod
    def _with_short_reads(cls, actions: dict[str, str], read: Callable[..., HttpResponse]) -> Callable[..., Any]:
        """REST framework's view, passed by for GET and HEAD."""
        long_way = cls.as_view(actions)

        def view(request: HttpRequest, **kwargs: Any) -> Any:
            if request.method in ("GET", "HEAD"):
                return read(request, **kwargs)
            return long_way(request, **kwargs)

        view.__dict__.update(long_way.__dict__)
        view.csrf_exempt = True  # type: ignore[attr-defined]
        return view

    # Reads ----------------------------------------------------------------------------------------------------

    @classmethod
    def read_many(cls, request: HttpRequest) -> HttpResponse:
        principal = _principal(request)
        seen = cls.see(principal, Action.VIEW)
        reader = cls.reader()
        asked = reader.grammar.read(request.META.get("QUERY_STRING", ""))
        names = asked.shape.include
        include = partial(included, cls.queryset.model, names, principal) if names else None
        body = reader.many(seen, asked, request, include)
        return tagged(request, _json(body), row_tag(body))

    @classmethod
    def read_one(cls, request: HttpRequest, id: str) -> HttpResponse:
        principal = _principal(request)
        seen = cls.see(principal, Action.VIEW)
        reader = cls.reader()
        shape = reader.grammar.read_shape(request.META.get("QUERY_STRING", ""))
        key = parse_key(id)
        if shape.whole:
            body = reader.one(seen, key)
            if body is None:
                raise NotFound()
            return tagged(request, _json(body), row_tag(body))
        found = reader.one_shaped(seen, key, shape)
        if found is None:
            raise NotFound()
        whole, body, mark = found
        if shape.include:
            body = b'%b,"included":%b}' % (body[:-1], included(cls.queryset.model, shape.include, principal, [mark]))
        return tagged(request, _json(body), shaped_tag(whole, body))

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method != "OPTIONS":
            super().initial(request, *args, **kwargs)

    def options(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """The methods of the address, for anyone: the OPTIONS of REST framework would describe the columns."""
        return HttpResponse(status=204, headers={"Allow": ", ".join(self.allowed_methods)})

    def list(self, request: Request) -> Response:
        """Named for the schema; GET is answered by `read_many` before it gets here."""
        raise MethodNotAllowed(request.method or "")

    def retrieve(self, request: Request, id: str) -> Response:
        """As for `list`; GET is answered by `read_one`."""
        raise MethodNotAllowed(request.method or "")


def _json(body: bytes) -> HttpResponse:
    return HttpResponse(body, content_type="application/json")


def _principal(request: HttpRequest) -> Principal:
    if registry.authenticator is None:
        raise RuntimeError("No authenticator is registered; is tenant_apps.accounts installed?")
    principal = registry.authenticator(request)
    if principal is None:
        raise Unauthenticated("Send an access token: Authorization: Bearer <token>.")
    return principal
