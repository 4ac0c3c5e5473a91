"""Every declared resource, and what a person sees of a kind of record through any of them."""

from collections.abc import Collection
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import models
from django.db.models import Q

from shared_apps.core.api.reading import sight
from shared_apps.core.permissions import Action, Principal

if TYPE_CHECKING:
    from shared_apps.core.api.resources import ResourceViewSet

resources: list[type["ResourceViewSet"]] = []


def sees_record(principal: Principal, record: models.Model) -> bool:
    """Whether the record lies within what the principal sees of its kind."""
    return bool(visible(principal, type(record), {record.pk}))


def visible(principal: Principal, model: type[models.Model], keys: Collection[UUID]) -> dict[UUID, models.Model]:
    """Of the records with these keys, those that the principal sees through any resource: one query.

    Who sees nothing of the kind (an office that files students and has no list of campuses) is held by the scope of the
    row that refers to it alone.
    """
    sights = [
        (resource, sight(principal, reaches, resource.scopes))
        for resource in resources
        if resource.queryset.model is model and (reaches := principal.reaches(resource.permission.code(Action.VIEW)))
    ]
    sights = [(resource, seen) for resource, seen in sights if not seen.nothing]
    rows = model._default_manager.filter(pk__in=keys)
    if sights and all(seen.kinds for _, seen in sights):
        within = Q()
        for resource, seen in sights:
            within |= Q(pk__in=resource.reader().narrow(rows, seen).values("pk"))
        rows = rows.filter(within)
    return {record.pk: record for record in rows}
