"""Every declared resource, and what a person sees of a kind of record through any of them."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection, models
from django.db.models import Q

from shared_apps.core.api.compiled import compile_query
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
    if len(keys) == 1 and (not sights or any(not seen.kinds for _, seen in sights)):
        (key,) = keys
        found = _by_key(model, key)
        return {} if found is None else {key: found}
    rows = model._default_manager.filter(pk__in=keys)
    if sights and all(seen.kinds for _, seen in sights):
        within = Q()
        for resource, seen in sights:
            within |= Q(pk__in=resource.reader().narrow(rows, seen).values("pk"))
        rows = rows.filter(within)
    return {record.pk: record for record in rows}


def _by_key(model: type[models.Model], key: UUID) -> models.Model | None:
    """One record by its key, by a query that is compiled once: what a single write refers to."""
    columns = model._meta.concrete_fields

    def build(values: Sequence[Any]) -> models.QuerySet:
        return model._default_manager.filter(pk=values[0]).order_by()

    if any(column.get_db_converters(connection) for column in columns):
        return build([key]).first()
    query = compile_query(("by key", model), build, [key])
    if query is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute(*query)
        row = cursor.fetchone()
    return None if row is None else model.from_db("default", [column.attname for column in columns], row)
