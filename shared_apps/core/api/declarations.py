"""The words that a resource is declared with."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rest_framework.serializers import Serializer

from shared_apps.core.api.deprecation import Deprecation
from shared_apps.core.permissions import Action


class Filter(Enum):
    """How a column may be filtered by query parameters."""

    EXACT = ("exact", "in")
    RANGE = ("exact", "gte", "lte", "gt", "lt")
    CONTAINS = ("exact", "icontains", "istartswith")


EXACT, RANGE, CONTAINS = Filter.EXACT, Filter.RANGE, Filter.CONTAINS


class Narrowing(Enum):
    """Values of `scopes` that are not a path."""

    EVERYONE = "everyone"
    REGISTERED = "registered"


EVERYONE = Narrowing.EVERYONE
"""Whoever holds the permission, in whatever scope, sees every row: reference data."""
REGISTERED = Narrowing.REGISTERED
"""A room has registered how this scope narrows the model (`registry.scope`)."""


@dataclass(frozen=True, slots=True)
class Own:
    """Value of `scopes`: the rows that are the signed-in person's by `path`, whatever their role reaches.

    `supervised`: who reaches the whole institution sees everybody's. `shared`: a column that lets everybody see a row.
    """

    path: str
    supervised: bool = False
    shared: str = ""


@dataclass(frozen=True, slots=True)
class Verb:
    """A named change of one record: POST .../{id}/<path>/."""

    name: str
    path: str
    action: Action
    body: type[Serializer] | None
    summary: str
    deprecated: Deprecation | None = None


def verb(
    *, action: str, body: type[Serializer] | None = None, deprecated: Deprecation | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a method of a resource as a verb. It receives the locked record and the body's values.

    The answer is the record as it then stands, or, when the method returns another record of the model, that one.
    """

    def declare(method: Callable[..., Any]) -> Callable[..., Any]:
        name = method.__name__
        summary = (method.__doc__ or name.replace("_", " ").capitalize()).strip().splitlines()[0]
        method.verb = Verb(name, name.replace("_", "-"), Action(action), body, summary, deprecated)  # type: ignore[attr-defined]
        return method

    return declare
