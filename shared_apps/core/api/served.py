"""Every declared resource, and what a person sees of a kind of record through any of them."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import connection, models
from django.db.models import Q

from shared_apps.core.api.compiled import Build, compile_query
from shared_apps.core.api.reading import Sight, sight
from shared_apps.core.models import STAMPS
from shared_apps.core.permissions import Action, Principal

if TYPE_CHECKING:
    from shared_apps.core.api.resources import ResourceViewSet

resources: list[type["ResourceViewSet"]] = []
Reference = tuple[type[models.Model], UUID]
Sights = list[tuple[type["ResourceViewSet"], Sight]]


def sees_record(principal: Principal, record: models.Model) -> bool:
    """Whether the record lies within what the principal sees of its kind."""
    return visible_each(principal, [(type(record), record.pk)]) != [None]


def visible_each(principal: Principal, references: Sequence[Reference]) -> list[models.Model | None]:
    """What a single write refers to, None for what the principal does not see: one query for all whose kind they see
    whole."""
    at_once = [(model, key) for model, key in references if _columns(model) and _sees_whole(_sights(principal, model))]
    found = dict(zip(at_once, _by_key(at_once), strict=True)) if at_once else {}
    return [
        found[model, key] if (model, key) in found else visible(principal, model, {key}).get(key)
        for model, key in references
    ]


def visible(principal: Principal, model: type[models.Model], keys: Collection[UUID]) -> dict[UUID, models.Model]:
    """Of the records with these keys, those that the principal sees through any resource: one query."""
    rows = model._default_manager.filter(pk__in=keys)
    sights = _sights(principal, model)
    if not _sees_whole(sights):
        within = Q()
        for resource, seen in sights:
            within |= Q(pk__in=resource.reader().narrow(rows, seen).values("pk"))
        rows = rows.filter(within)
    return {record.pk: record for record in rows}


def _sights(principal: Principal, model: type[models.Model]) -> Sights:
    sights = [
        (resource, sight(principal, reaches, resource.scopes))
        for resource in resources
        if resource.queryset.model is model and (reaches := principal.reaches(resource.permission.code(Action.VIEW)))
    ]
    return [(resource, seen) for resource, seen in sights if not seen.nothing]


def _sees_whole(sights: Sights) -> bool:
    """Who sees nothing of the kind (an office that files students and has no list of campuses) is held by the scope of
    the row that refers to it alone."""
    return not sights or any(not seen.kinds for _, seen in sights)


def _by_key(references: Sequence[Reference]) -> list[models.Model | None]:
    """Records of several kinds side by side in one row; the query for each kind is compiled once."""
    joined, values = "SELECT * FROM (SELECT 1) AS one", []
    for place, (model, key) in enumerate(references):
        compiled = compile_query(("by key", model), _one_of(model), [key])
        assert compiled is not None
        joined += f" LEFT JOIN ({compiled[0]}) AS record_{place} ON true"
        values += compiled[1]
    with connection.cursor() as cursor:
        cursor.execute(joined, values)
        row = cursor.fetchone()
    found: list[models.Model | None] = []
    start = 1
    for model, _ in references:
        names = _columns(model)
        part, start = row[start : start + len(names)], start + len(names)
        there = any(value is not None for value in part)
        found.append(model.from_db("default", names, part) if there else None)
    return found


def _one_of(model: type[models.Model]) -> Build:
    return lambda values: model._default_manager.filter(pk=values[0]).only(*_columns(model)).order_by()


def _columns(model: type[models.Model]) -> list[str]:
    """Without the stamps, which cost as much to read as all else; none of a model whose values the ORM converts."""
    known = _columns_of.get(model)
    if known is None:
        columns = [column for column in model._meta.concrete_fields if column.name not in STAMPS]
        plain = not any(column.get_db_converters(connection) for column in columns)
        known = _columns_of[model] = [column.attname for column in columns] if plain else []
    return known


_columns_of: dict[type[models.Model], list[str]] = {}
