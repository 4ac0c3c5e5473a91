"""Every declared resource, and what a person sees of a kind of record through any of them."""

from typing import TYPE_CHECKING

from django.db import models

from shared_apps.core.api.reading import sight
from shared_apps.core.permissions import Action, Principal

if TYPE_CHECKING:
    from shared_apps.core.api.resources import ResourceViewSet

resources: list[type["ResourceViewSet"]] = []


def sees_record(principal: Principal, record: models.Model) -> bool:
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
