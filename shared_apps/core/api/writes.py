"""The writes of a resource: one transaction each, in which the row is found within scope, locked, and read again."""

from typing import Any, ClassVar
from uuid import UUID

from django.db import models, transaction
from django.http import HttpResponse
from rest_framework.exceptions import ErrorDetail, MethodNotAllowed, ValidationError
from rest_framework.request import Request
from rest_framework.viewsets import GenericViewSet

from shared_apps.core.api.declarations import Verb
from shared_apps.core.api.permissions import Open
from shared_apps.core.api.querystring import pairs, parse_key, refuse_unknown
from shared_apps.core.api.reading import Reader, Sight
from shared_apps.core.api.served import sees_record
from shared_apps.core.api.writing import discard, store
from shared_apps.core.errors import Forbidden, Invalid, NotFound
from shared_apps.core.permissions import Action, PermissionCatalogue, Principal

METHODS = {"create": Action.ADD, "replace": Action.CHANGE, "change": Action.CHANGE, "remove_record": Action.DELETE}


class Writes(GenericViewSet):
    """What ResourceViewSet does to POST, PUT, PATCH and DELETE."""

    permission: ClassVar[PermissionCatalogue]
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
            if isinstance(value, models.Model) and not sees_record(self.principal, value):
                detail = ErrorDetail(f'Invalid pk "{value.pk}" - object does not exist.', "does_not_exist")
                raise ValidationError({name: [detail]})
        return values

    def _read_again(self, key: UUID, action: Action) -> bytes:
        """The row as it now stands; a write that moved it out of the writer's scope is refused and rolled back."""
        body = self.reader().one(self.see(self.principal, action), key, whole=True)
        if body is None:
            raise Forbidden("This would place the record outside of your scope.", code="outside_scope")
        return body


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Invalid("The body must be a JSON object.", code="bad_body")
    return data
