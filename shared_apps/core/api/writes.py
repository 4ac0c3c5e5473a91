"""The writes of a resource: one transaction each, in which the row is found within scope, locked, and read again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

import orjson
from django.db import models
from django.http import HttpResponse
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.viewsets import GenericViewSet

from shared_apps.core.api.declarations import Verb
from shared_apps.core.api.etags import matches, row_tag
from shared_apps.core.api.idempotency import once
from shared_apps.core.api.parsing import Draft, RowParser
from shared_apps.core.api.permissions import SIGNED_IN, Open
from shared_apps.core.api.querystring import pairs, parse_key, refuse_unknown
from shared_apps.core.api.reading import Reader, Sight
from shared_apps.core.api.served import sees_record
from shared_apps.core.errors import Forbidden, Invalid, NotFound, PreconditionFailed
from shared_apps.core.models import STAMPS
from shared_apps.core.permissions import Action, PermissionCatalogue, Principal
from shared_apps.core.storing import discard, store

METHODS = {"create": Action.ADD, "replace": Action.CHANGE, "change": Action.CHANGE, "remove_record": Action.DELETE}


class Writes(GenericViewSet):
    """What ResourceViewSet does to POST, PUT, PATCH and DELETE."""

    permission: ClassVar[PermissionCatalogue]
    exposed: ClassVar[frozenset[Action]]
    verbs: ClassVar[dict[str, Verb]]
    verb_name: str | None = None

    @classmethod
    def reader(cls) -> Reader:
        raise TypeError("Writes is a part of ResourceViewSet.")

    @classmethod
    def see(cls, principal: Principal, action: Action) -> Sight:
        raise TypeError("Writes is a part of ResourceViewSet.")

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """A write takes no parameters: one that is not there must not be taken for heeded (?dry_run=true)."""
        super().initial(request, *args, **kwargs)
        refuse_unknown(pairs(request.META.get("QUERY_STRING", "")), ())

    def needed_permission(self) -> Open | str:
        if self.action == "bulk":
            return SIGNED_IN  # each of its operations asks for its own
        if self.verb_name:
            return self.permission.code(self.verbs[self.verb_name].action)
        action = METHODS.get(self.action or "")
        if action is None:
            raise MethodNotAllowed(self.request.method or "")
        return self.permission.code(action)

    @property
    def principal(self) -> Principal:
        return self.request.user

    # One record -----------------------------------------------------------------------------------------------

    def create(self, request: Request) -> HttpResponse:
        def work() -> HttpResponse:
            record = self.make(**self._values(partial=False))
            body = self._read_again(record.pk, Action.ADD)
            return _answer(body, status=201, Location=f"{request.path}{record.pk}/")

        return self._once(work)

    def replace(self, request: Request, id: str) -> HttpResponse:
        return self._once(lambda: self._change(id, partial=False))

    def change(self, request: Request, id: str) -> HttpResponse:
        return self._once(lambda: self._change(id, partial=True))

    def _change(self, key: str, *, partial: bool) -> HttpResponse:
        record = self.locked(key, Action.CHANGE)
        self._demand_match(record, Action.CHANGE)
        values = self._values(partial=partial, record=record)
        if values:
            self.update(record, **values)
        return _answer(self._read_again(record.pk, Action.CHANGE))

    def remove_record(self, request: Request, id: str) -> HttpResponse:
        def work() -> HttpResponse:
            record = self.locked(id, Action.DELETE)
            self._demand_match(record, Action.DELETE)
            self.remove(record)
            return HttpResponse(status=204)

        return self._once(work)

    def perform_verb(self, request: Request, id: str) -> HttpResponse:
        declared = self.verbs[str(self.verb_name)]

        def work() -> HttpResponse:
            record = self.locked(id, declared.action)
            self._demand_match(record, declared.action)
            values: dict[str, Any] = {}
            if declared.body is not None:
                body = declared.body(data=_object(request.data))
                body.is_valid(raise_exception=True)
                values = self._within_sight(dict(body.validated_data))
            done = getattr(self, declared.name)(record, **values)
            key = done.pk if isinstance(done, models.Model) else record.pk
            return _answer(self._read_again(key, declared.action))

        return self._once(work)

    def bulk(self, request: Request) -> HttpResponse:
        """Many records in one request; see `bulk`."""
        from shared_apps.core.api.bulk import perform  # it works on resources, which are made of this class

        return self._once(lambda: perform(self, _object(request.data)))

    # What a resource may do its own way -----------------------------------------------------------------------

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

    # Steps ----------------------------------------------------------------------------------------------------

    def _once(self, work: Callable[[], HttpResponse]) -> HttpResponse:
        """One transaction; with an Idempotency-Key, once."""
        return once(self.request._request, self.principal.user_id, work)

    def locked(self, key: str, action: Action) -> models.Model:
        """The record within the scope that the action was granted in, locked. Raises NotFound."""
        found = self.locked_many([parse_key(key)], action)
        if not found:
            raise NotFound()
        return found[0]

    def locked_many(self, keys: list[UUID], action: Action) -> list[models.Model]:
        """Those of the records that are within the scope that the action was granted in, locked."""
        return self.lock_rows({action: keys})

    def lock_rows(self, asked: Mapping[Action, Sequence[UUID]]) -> list[models.Model]:
        """Those of the records that are within scope, each of its own action's, locked in the order of their ids by one
        statement, so that two writers of the same rows never wait for each other."""
        model = self.queryset.model
        wanted = models.Q()
        for action, keys in asked.items():
            seen = self.see(self.principal, action)
            mine = models.Q(pk__in=keys)
            if seen.kinds or seen.nothing:
                mine &= models.Q(pk__in=self.reader().narrow(model._default_manager.all(), seen).values("pk"))
            wanted |= mine
        return list(self.queryset.select_for_update(of=("self",)).filter(wanted).order_by("pk"))

    def _demand_match(self, record: models.Model, action: Action) -> None:
        """Under the row's lock: what the writer holds (If-Match) must be what stands. Raises PreconditionFailed."""
        held = self.request.META.get("HTTP_IF_MATCH")
        if held is not None:
            self.demand_tag(held, self._read_again(record.pk, action))

    @staticmethod
    def demand_tag(held: str, current: bytes) -> None:
        """Raises PreconditionFailed, with the record as it stands, for an If-Match that it does not match."""
        tag = row_tag(current)
        if not matches(held, tag):
            raise PreconditionFailed(
                "The record has changed since it was read; look at `current` and send the change again.",
                headers={"ETag": tag},
                more={"current": orjson.Fragment(current)},
            )

    def _values(self, *, partial: bool, record: models.Model | None = None) -> dict[str, Any]:
        parser = RowParser.of(type(self))
        draft = parser.parse(_object(self.request.data), partial=partial)
        if record is not None and not partial:
            parser.complete(draft)
        parser.resolve([draft], self.principal)
        if draft.fixed:
            current = None if record is None else self._read_again(record.pk, Action.CHANGE)
            refuse_fixed(draft, current)
        draft.demand_good()
        return draft.values

    def _within_sight(self, values: dict[str, Any]) -> dict[str, Any]:
        """A verb's values, if the writer may see every record that they refer to; else it is not there for them."""
        for name, value in values.items():
            if isinstance(value, models.Model) and not sees_record(self.principal, value):
                noun = value._meta.verbose_name
                raise Invalid.at(f"/{name}", f"There is no {noun} with this id here.", code="does_not_exist")
        return values

    def _read_again(self, key: UUID, action: Action) -> bytes:
        """The row as it now stands; a write that moved it out of the writer's scope is refused and rolled back."""
        body = self.reader().one(self.see(self.principal, action), key, whole=True)
        if body is None:
            raise Forbidden("This would place the record outside of your scope.", code="outside_scope")
        return body


def refuse_fixed(draft: Draft, current: bytes | None) -> None:
    """A value sent for a field that is only shown is refused, unless it is what stands: a record that was read may be
    sent back whole. The two time stamps are nobody's to say, and of no consequence."""
    stands = orjson.loads(current) if current is not None else {}
    for name, value in draft.fixed.items():
        if name not in STAMPS and value != stands.get(name):
            draft.refuse(name, "This field is only shown; leave it out, or send it as it was read.", "read_only")


def _answer(body: bytes, *, status: int = 200, **headers: str) -> HttpResponse:
    return HttpResponse(
        body, status=status, content_type="application/json", headers={"ETag": row_tag(body), **headers}
    )


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Invalid("The body must be a JSON object.", code="bad_body")
    return data
