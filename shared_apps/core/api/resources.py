"""A resource is a declaration; everything common comes from here."""

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from django.db import models, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from rest_framework.exceptions import ErrorDetail, MethodNotAllowed, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from shared_apps.core.api.declarations import Filter, Verb
from shared_apps.core.api.permissions import Open
from shared_apps.core.api.querystring import ListGrammar, pairs, refuse_unknown
from shared_apps.core.api.reading import Reader, Scopes, Sight, sight
from shared_apps.core.api.writing import discard, record_serializer, store
from shared_apps.core.errors import Forbidden, Invalid, NotFound, Unauthenticated
from shared_apps.core.permissions import CRUD, Action, PermissionCatalogue, Principal
from shared_apps.core.registry import registry

resources: list[type["ResourceViewSet"]] = []
METHODS = {"create": Action.ADD, "replace": Action.CHANGE, "change": Action.CHANGE, "remove_record": Action.DELETE}


class ResourceViewSet(GenericViewSet):
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
    ordering: ClassVar[tuple[str, ...]] = ("id",)
    orderable: ClassVar[tuple[str, ...]] = ()
    actions: ClassVar[str] = CRUD
    example: ClassVar[dict[str, Any]] = {}

    room: ClassVar[str]
    verbs: ClassVar[dict[str, Verb]]
    all_fields: ClassVar[tuple[str, ...]]
    exposed: ClassVar[frozenset[Action]]
    serializer_class: ClassVar[Any]
    lookup_field = "pk"
    filter_backends: ClassVar[list[Any]] = []
    pagination_class = None
    _reader: ClassVar[Reader | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        needed = ("queryset", "permission", "scopes", "fields")
        missing = [name for name in needed if getattr(cls, name, None) is None]
        if missing:
            raise TypeError(f"{cls.__name__} declares no {', '.join(missing)}; a resource fails closed.")
        model = cls.queryset.model
        cls.room = model._meta.app_label
        stamps = tuple(name for name in ("created_at", "updated_at") if name not in cls.fields)
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
        fixed = ("id", "created_at", "updated_at", *cls.read_only)
        cls.serializer_class = record_serializer(name, model, cls.all_fields, fixed)
        cls._reader = None
        resources.append(cls)

    # What the declaration means -------------------------------------------------------------------------------

    @classmethod
    def enforced(cls) -> set[str]:
        """The codes of the catalogue that this resource asks for."""
        actions = cls.exposed | {verb.action for verb in cls.verbs.values()}
        return {cls.permission.code(action) for action in actions}

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
            raise Forbidden(f"Your roles do not include {cls.permission.code(action)}.", code="permission_missing")
        return sight(principal, reaches, cls.scopes)

    # Routes ---------------------------------------------------------------------------------------------------

    @classmethod
    def routes(cls, prefix: str) -> list[URLPattern]:
        """The URL patterns of the resource under `prefix` (which ends with a slash or is empty)."""
        name = f"{cls.room}-{cls.queryset.model._meta.model_name}"
        collection = {"get": "list"} | ({"post": "create"} if Action.ADD in cls.exposed else {})
        record = {"get": "retrieve"}
        if Action.CHANGE in cls.exposed:
            record |= {"put": "replace", "patch": "change"}
        if Action.DELETE in cls.exposed:
            record["delete"] = "remove_record"
        patterns = [
            path(prefix, cls._with_short_reads(collection, cls.read_many), name=f"{name}-list"),
            path(f"{prefix}<id>/", cls._with_short_reads(record, cls.read_one), name=f"{name}-detail"),
        ]
        for verb_name, verb in cls.verbs.items():
            view = cls.as_view({"post": "perform_verb"}, verb_name=verb_name, name=verb.summary)
            patterns.append(path(f"{prefix}<id>/{verb.path}/", view, name=f"{name}-{verb.path}"))
        return patterns

    verb_name: str | None = None

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
        seen = cls.see(_principal(request), Action.VIEW)
        reader = cls.reader()
        body = reader.many(seen, reader.grammar.read(request.META.get("QUERY_STRING", "")), request)
        return HttpResponse(body, content_type="application/json")

    @classmethod
    def read_one(cls, request: HttpRequest, id: str) -> HttpResponse:
        seen = cls.see(_principal(request), Action.VIEW)
        refuse_unknown(pairs(request.META.get("QUERY_STRING", "")), ())
        body = cls.reader().one(seen, parse_key(id))
        if body is None:
            raise NotFound()
        return HttpResponse(body, content_type="application/json")

    def list(self, request: Request) -> Response:
        """Named for the schema; GET is answered by `read_many` before it gets here."""
        raise MethodNotAllowed(request.method or "")

    def retrieve(self, request: Request, id: str) -> Response:
        """As for `list`; GET is answered by `read_one`."""
        raise MethodNotAllowed(request.method or "")

    # Writes ---------------------------------------------------------------------------------------------------

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """A write takes no parameters: one that is not there must not be taken for heeded (?dry_run=true)."""
        super().initial(request, *args, **kwargs)
        refuse_unknown(pairs(request.META.get("QUERY_STRING", "")), ())

    def needed_permission(self) -> Open | str:
        if self.verb_name:
            return self.permission.code(self.verbs[self.verb_name].action)
        action = METHODS.get(self.action or "")
        if action is None:
            raise MethodNotAllowed(self.request.method or "")
        return self.permission.code(action)

    @property
    def principal(self) -> Principal:
        return self.request.user

    def create(self, request: Request) -> HttpResponse:
        values = self._values(partial=False)
        with transaction.atomic():
            record = self.make(**values)
            body = self._read_again(record.pk, Action.ADD)
        return HttpResponse(
            body, status=201, content_type="application/json", headers={"Location": f"{request.path}{record.pk}/"}
        )

    def replace(self, request: Request, id: str) -> HttpResponse:
        return self._change(id, partial=False)

    def change(self, request: Request, id: str) -> HttpResponse:
        return self._change(id, partial=True)

    def _change(self, key: str, *, partial: bool) -> HttpResponse:
        with transaction.atomic():
            record = self.locked(key, Action.CHANGE)
            values = self._values(partial=partial)
            if values:
                self.update(record, **values)
            body = self._read_again(record.pk, Action.CHANGE)
        return HttpResponse(body, content_type="application/json")

    def remove_record(self, request: Request, id: str) -> HttpResponse:
        with transaction.atomic():
            self.remove(self.locked(id, Action.DELETE))
        return HttpResponse(status=204)

    def perform_verb(self, request: Request, id: str) -> HttpResponse:
        declared = self.verbs[str(self.verb_name)]
        with transaction.atomic():
            record = self.locked(id, declared.action)
            values: dict[str, Any] = {}
            if declared.body is not None:
                body = declared.body(data=_object(request.data))
                body.is_valid(raise_exception=True)
                values = self._within_sight(dict(body.validated_data))
            done = getattr(self, declared.name)(record, **values)
            key = done.pk if isinstance(done, models.Model) else record.pk
            return HttpResponse(self._read_again(key, declared.action), content_type="application/json")

    def make(self, **values: Any) -> models.Model:
        """Make a record from checked values. A resource whose creation is a verb overrides it to call a service."""
        record = self.queryset.model(**values)
        store(record)
        return record

    def update(self, record: models.Model, **values: Any) -> None:
        """Change a locked record."""
        for name, value in values.items():
            setattr(record, name, value)
        store(record, changed=list(values))

    def remove(self, record: models.Model) -> None:
        """Delete a locked record."""
        discard(record)

    def locked(self, key: str, action: Action) -> models.Model:
        """The record within the scope that the action was granted in, locked. Raises NotFound."""
        seen = self.see(self.principal, action)
        within = self.reader().narrow(self.queryset.model._default_manager.all(), seen).values("pk")
        found = self.queryset.select_for_update(of=("self",)).filter(pk=parse_key(key), pk__in=within).first()
        if found is None:
            raise NotFound()
        return found

    def _values(self, *, partial: bool) -> dict[str, Any]:
        serializer = self.get_serializer(data=_object(self.request.data), partial=partial)
        serializer.is_valid(raise_exception=True)
        return self._within_sight(dict(serializer.validated_data))

    def _within_sight(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values, if the writer may see every record that they refer to; else it is not there for them."""
        for name, value in values.items():
            if isinstance(value, models.Model) and not _sees(self.principal, value):
                detail = ErrorDetail(f'Invalid pk "{value.pk}" - object does not exist.', "does_not_exist")
                raise ValidationError({name: [detail]})
        return values

    def _read_again(self, key: UUID, action: Action) -> bytes:
        """The row as it now stands; a write that moved it out of the writer's scope is refused and rolled back."""
        body = self.reader().one(self.see(self.principal, action), key, whole=True)
        if body is None:
            raise Forbidden("This would place the record outside of your scope.", code="outside_scope")
        return body


def _sees(principal: Principal, record: models.Model) -> bool:
    """Whether the record lies within what the principal sees of its kind.

    Who sees nothing of the kind (an office that files students and has no list of campuses) is held by the scope of the
    row that refers to it alone.
    """
    sights = [
        (resource, sight(principal, reaches, resource.scopes))
        for resource in resources
        if resource.queryset.model is type(record)
        and (reaches := principal.reaches(resource.permission.code(Action.VIEW)))
    ]
    sights = [(resource, seen) for resource, seen in sights if not seen.nothing]
    if not sights or any(not seen.kinds for _, seen in sights):
        return True
    everything = type(record)._default_manager.filter(pk=record.pk)
    return any(resource.reader().narrow(everything, seen).exists() for resource, seen in sights)


def _principal(request: HttpRequest) -> Principal:
    if registry.authenticator is None:
        raise RuntimeError("No authenticator is registered; is tenant_apps.accounts installed?")
    principal = registry.authenticator(request)
    if principal is None:
        raise Unauthenticated("Send an access token: Authorization: Bearer <token>.")
    return principal


def parse_key(key: str) -> UUID:
    """A record's id. Raises Invalid for text that is no UUID."""
    try:
        if len(key) == 36:
            return UUID(key)
    except ValueError:
        pass
    raise Invalid(f"{key[:60]!r} is not an id; ids are UUIDs.", code="bad_id")


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Invalid("The body must be a JSON object.", code="bad_body")
    return data
