"""Related records beside the rows that refer to them: `?include=campus`.

A record comes along as its own resource shows it and only if the viewer sees it there; one query for each relation.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import models

from shared_apps.core.api.reading import Mark, sight
from shared_apps.core.api.served import resources
from shared_apps.core.permissions import Action, Principal

if TYPE_CHECKING:
    from shared_apps.core.api.resources import ResourceViewSet


def resource_of(model: type[models.Model]) -> "type[ResourceViewSet] | None":
    """The resource that stands for the model: the first declared one that has an address."""
    return next((one for one in resources if one.routed and one.queryset.model is model), None)


def included(model: type[models.Model], names: Sequence[str], principal: Principal, marks: Sequence[Mark]) -> bytes:
    """`{"campus": {"<id>": {...}}}`: what the marks refer to by each relation, as far as the principal sees it."""
    return b"{%b}" % b",".join(b'"%b":{%b}' % (name.encode(), _shown(model, name, principal, marks)) for name in names)


def _shown(model: type[models.Model], name: str, principal: Principal, marks: Sequence[Mark]) -> bytes:
    target = resource_of(model._meta.get_field(name).related_model)
    reaches = principal.reaches(target.permission.code(Action.VIEW)) if target is not None else ()
    if target is None or not reaches:
        return b""
    keys = {UUID(mark[name]) for mark in marks if mark[name] is not None}
    found = target.reader().several(sight(principal, reaches, target.scopes), sorted(keys))
    return ",".join(f'"{key}":{row}' for key, row in found.items()).encode()
