"""Which column of a sent table is which field of the resource, and which row is which record."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import models

from shared_apps.core.errors import Invalid
from shared_apps.core.tables.columns import Column, Kind, columns_of

if TYPE_CHECKING:
    from shared_apps.core.api.resources import ResourceViewSet

KEY, ID, NONE = "key", "id", "none"
MATCHES = (KEY, ID, NONE)
SHOWN = frozenset({"id", "created_at", "updated_at"})


@dataclass(frozen=True, slots=True)
class Bound:
    """A column of the table that is a field."""

    place: int
    header: str
    column: Column


@dataclass(frozen=True, slots=True)
class Binding:
    """The columns of a table: those that are fields, where the id is, and what is to be said of the others."""

    bound: tuple[Bound, ...]
    id_place: int | None
    warnings: list[dict[str, Any]]

    def header_of(self, field: str) -> str:
        """The table's own name of a field's column; the field's where the table has none."""
        return next((one.header for one in self.bound if one.column.name == field), field)


def writable(resource: "type[ResourceViewSet]") -> tuple[str, ...]:
    """The fields that an import writes."""
    fixed = set(resource.serializer_class.Meta.read_only_fields)
    return tuple(name for name in resource.all_fields if name not in fixed)


def bind(resource: "type[ResourceViewSet]", header: Sequence[str], mapping: dict[str, str]) -> Binding:
    """Find the field of each column: by `mapping` (column -> field, "" to leave it out), else by its name, whatever its
    case, blanks and underscores. Raises Invalid where that is not one to one."""
    for name in mapping:
        if name not in header:
            near = get_close_matches(name, header, n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise Invalid.at("/mapping", f"The table has no column {name[:60]!r}.{hint}", code="no_such_column")
    known = {_bare(name): name for name in resource.all_fields}
    fields = {column.name: column for column in columns_of(resource, writable(resource))}
    bound: list[Bound] = []
    warnings: list[dict[str, Any]] = []
    taken: dict[str, str] = {}
    id_place = None
    for place, title in enumerate(header):
        field = mapping[title] if title in mapping else known.get(_bare(title))
        if field == "":
            continue
        if field is None or (title in mapping and field not in known.values()):
            if title in mapping:
                raise Invalid.at("/mapping", f"There is no field {str(field)[:60]!r} here.", code="no_such_field")
            warnings.append(_warning(title, "There is no field of this name; the column was passed over.", "unknown"))
            continue
        if field in taken:
            detail = f"The columns {taken[field]!r} and {title!r} are both {field}; name one in `mapping`."
            raise Invalid.at("/file", detail, code="ambiguous_columns")
        taken[field] = title
        if field == "id":
            id_place = place
        elif field in fields:
            bound.append(Bound(place, title, fields[field]))
        elif field not in SHOWN:
            warnings.append(_warning(title, "This field is only shown; the column was passed over.", "read_only"))
    if not bound:
        names = ", ".join(fields)
        raise Invalid.at("/file", f"No column of the table is a field here; there are {names}.", code="no_columns")
    return Binding(tuple(bound), id_place, warnings)


def _bare(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name).casefold()


def _warning(column: str, detail: str, code: str) -> dict[str, Any]:
    return {"row": None, "column": column, "detail": detail, "code": code}


def known_keys(column: Column, texts: Iterable[str]) -> dict[str, UUID]:
    """The ids of the records that the texts of a reference name: an id by itself, else the natural key's. One query."""
    found: dict[str, UUID] = {}
    keys = []
    for text in texts:
        try:
            found[text] = UUID(text) if len(text) == 36 else _no_id()
        except ValueError:
            keys.append(text)
    if keys and column.key is not None:
        rows = column.field.related_model._default_manager.filter(**{f"{column.key.name}__in": keys})
        found |= {str(key): pk for key, pk in rows.values_list(column.key.name, "pk")}
    return found


def _no_id() -> UUID:
    raise ValueError


def matched(resource: "type[ResourceViewSet]", sent: Sequence[dict[str, Any]]) -> list[UUID | None]:
    """The id of the record that each row's natural key names. One query.

    Keys of several columns hold only where all of them have a value.
    """
    model, names = resource.queryset.model, resource.key
    keys = [_key(row, names) for row in sent]
    first = {row[names[0]] for row, key in zip(sent, keys, strict=True) if key is not None}
    if not first:
        return [None] * len(sent)
    columns = [model._meta.get_field(name).attname for name in names]
    rows = model._default_manager.filter(**{f"{names[0]}__in": first}).values_list("pk", *columns)
    found = {tuple(map(str, key)): pk for pk, *key in rows}
    return [None if key is None else found.get(key) for key in keys]


def _key(row: dict[str, Any], names: Sequence[str]) -> tuple[str, ...] | None:
    values = [row.get(name) for name in names]
    if any(value is None or value == "" for value in values):
        return None
    return tuple(str(value).strip() for value in values)


def is_reference(column: Column) -> bool:
    """Whether cells of the column name another record."""
    return isinstance(column.field, models.ForeignKey) and column.kind in (Kind.ID, Kind.REFERENCE)
