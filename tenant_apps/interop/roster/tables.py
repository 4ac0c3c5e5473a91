"""One table as an import sees it: what the roster wants, what is stored, and the difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, models

from shared_apps.core.ids import uuid7

FETCH = 2_000  # rows turned into Python values at once
Values = tuple[Any, ...]


class Stored(NamedTuple):
    """A row of the institution: its id and the values of the compared columns."""

    id: UUID
    values: Values


@dataclass(slots=True)
class TableChange:
    """What an import does to one table.

    `columns` are the columns that the roster decides. Rows of `changed` are (id, *values of columns), those of
    `created` too, with the sourced_id after the id where the table has one (`keyed`). Rows of `closed` are (id, day):
    they set the column `end`.

    `parked` are changed rows whose stored values stand in the way of other rows of the same import (two students who
    exchange their numbers); the writing moves them aside first.
    """

    kind: str
    model: type[models.Model]
    columns: tuple[str, ...]
    keyed: bool = True
    end: str = ""
    created: list[Values] = field(default_factory=list)
    changed: list[Values] = field(default_factory=list)
    closed: list[Values] = field(default_factory=list)
    unchanged: int = 0
    parked: list[UUID] = field(default_factory=list)
    moved: int = 0  # otherwise unchanged rows that are changed by other means (a student's state)
    ended: int = 0  # rows that are closed by other means

    @property
    def created_columns(self) -> tuple[str, ...]:
        return ("id", "sourced_id", *self.columns) if self.keyed else ("id", *self.columns)

    @property
    def counts(self) -> dict[str, int]:
        return {
            "created": len(self.created),
            "updated": len(self.changed) + self.moved,
            "unchanged": self.unchanged - self.moved,
            "closed": len(self.closed) + self.ended,
        }

    def compare(
        self,
        wanted: Mapping[str, Values],
        stored: Mapping[str, Stored],
        *,
        blank_counts: Sequence[str] = (),
    ) -> dict[str, UUID]:
        """Sort the wanted rows into created, changed and unchanged; the id of each, by sourced_id.

        A wanted value that is blank ("" or None) leaves what is stored, except in the columns of `blank_counts`.
        """
        counting = [column in blank_counts for column in self.columns]
        ids: dict[str, UUID] = {}
        for sourced_id, values in wanted.items():
            known = stored.get(sourced_id)
            if known is None:
                ids[sourced_id] = row_id = uuid7()
                self.created.append((row_id, sourced_id, *values))
                continue
            ids[sourced_id] = known.id
            if values == known.values:
                self.unchanged += 1
                continue
            merged = tuple(
                new if counts or (new is not None and new != "") else old
                for new, old, counts in zip(values, known.values, counting, strict=True)
            )
            if merged == known.values:
                self.unchanged += 1
            else:
                self.changed.append((known.id, *merged))
        return ids


def stored_rows(
    model: type[models.Model], columns: Sequence[str], where: str = "", parameters: Sequence[Any] = ()
) -> Iterator[Values]:
    """Rows of the current institution's table, read in batches; equal UUIDs are one object in all of them.

    `where` is SQL of this package alone, never text of a roster.
    """
    quote = connection.ops.quote_name
    chosen = ", ".join(quote(column) for column in columns)
    pool: dict[UUID, UUID] = {}
    with connection.cursor() as cursor:
        condition = f" WHERE {where}" if where else ""
        cursor.execute(f"SELECT {chosen} FROM {quote(model._meta.db_table)}{condition}", parameters)  # noqa: S608
        while batch := cursor.fetchmany(FETCH):
            for row in batch:
                yield tuple(pool.setdefault(value, value) if type(value) is UUID else value for value in row)


def stored_by_sourced_id(
    model: type[models.Model], columns: Sequence[str], where: str = "sourced_id IS NOT NULL"
) -> dict[str, Stored]:
    """The rows that a roster has brought, by their sourced_id."""
    rows = stored_rows(model, ("sourced_id", "id", *columns), where)
    return {row[0]: Stored(row[1], row[2:]) for row in rows}


def length_of(model: type[models.Model], column: str) -> int:
    """How many characters a text column takes."""
    length = model._meta.get_field(column).max_length
    if length is None:
        raise ValueError(f"{model.__name__}.{column} has no limit.")
    return int(length)
