"""The columns of a resource as a table has them: what kind of value each holds, and how a reference is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from django.contrib.postgres.fields import ArrayField
from django.db import models

from shared_apps.core.api.including import resource_of
from shared_apps.core.permissions import Action, Principal

if TYPE_CHECKING:
    from shared_apps.core.api.resources import ResourceViewSet


class Kind(Enum):
    """What a column's cells hold."""

    TEXT = "text"
    ID = "id"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    INSTANT = "instant"
    JSON = "json"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `path` leads from the model to what is written; `key` is the natural key of a reference's target."""

    name: str
    field: models.Field
    kind: Kind
    path: str
    key: models.Field | None = None


def columns_of(
    resource: "type[ResourceViewSet]", names: Sequence[str], principal: Principal | None = None
) -> tuple[Column, ...]:
    """The named columns. A reference is written by the target's natural key when it has one of a single column, and
    `principal` (None: anybody) may view such records; else by its id."""
    return tuple(_column(resource.queryset.model._meta.get_field(name), principal) for name in names)


def _column(field: models.Field, principal: Principal | None) -> Column:
    if isinstance(field, models.ForeignKey):
        target = resource_of(field.related_model)
        if target is not None and len(target.key) == 1 and _may_know(target, principal):
            key = target.queryset.model._meta.get_field(target.key[0])
            return Column(field.name, field, Kind.REFERENCE, f"{field.name}__{key.name}", key)
        return Column(field.name, field, Kind.ID, field.attname)
    return Column(field.name, field, _kind(field), field.attname)


def _may_know(target: "type[ResourceViewSet]", principal: Principal | None) -> bool:
    return principal is None or principal.may(target.permission.code(Action.VIEW))


def _kind(field: models.Field) -> Kind:
    match field:
        case models.UUIDField():
            return Kind.ID
        case models.BooleanField():
            return Kind.BOOLEAN
        case models.IntegerField():
            return Kind.INTEGER
        case models.DecimalField() | models.FloatField():
            return Kind.NUMBER
        case models.DateTimeField():
            return Kind.INSTANT
        case models.DateField():
            return Kind.DATE
        case models.JSONField() | ArrayField():
            return Kind.JSON
        case _:
            return Kind.TEXT
