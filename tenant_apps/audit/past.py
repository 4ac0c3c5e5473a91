"""What became of a record, read from the log: its history, the deleted ones of its kind, and the way back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models, transaction
from psycopg import sql

from shared_apps.core.errors import Conflict, NotFound
from shared_apps.core.problems import as_problem
from shared_apps.core.quotas import demand_room_for
from tenant_apps.audit.coverage import masked_columns

MOST_TOGETHER = 2_000  # rows that one restore brings back
COLUMNS = "e.id, e.row_key, e.at, e.operation, e.actor_kind, e.actor_id, e.actor_name, e.request_id, e.erased_at,"
HISTORY = f"""
SELECT {COLUMNS} e.before::text, e.after::text FROM audit_entry e
WHERE e.table_name = %s AND e.row_key = %s AND e.id < %s ORDER BY e.id DESC LIMIT %s
"""  # noqa: S608 - composed of constants
DELETED = f"""
SELECT {COLUMNS} e.before::text, NULL FROM audit_entry e
WHERE e.table_name = {{name}} AND e.operation = 'delete' AND e.before IS NOT NULL AND e.id < %s
AND NOT EXISTS (SELECT FROM {{table}} t WHERE t.id = e.row_key::uuid)
AND NOT EXISTS (SELECT FROM audit_entry l WHERE l.table_name = {{name}} AND l.row_key = e.row_key
                AND l.operation = 'delete' AND l.id > e.id)
ORDER BY e.id DESC LIMIT %s
"""  # noqa: S608 - composed of constants
LAST = """
SELECT id, transaction_id, at FROM audit_entry
WHERE table_name = %s AND row_key = %s AND operation = 'delete' AND before IS NOT NULL ORDER BY id DESC LIMIT 1
"""
# The number of a transaction is another server's after a move: the time keeps two of one number apart.
TOGETHER = """
SELECT table_name, row_key, before::text FROM audit_entry
WHERE transaction_id = %s AND operation = 'delete' AND before IS NOT NULL
AND at BETWEEN %s - interval '1 day' AND %s + interval '1 day'
ORDER BY id DESC LIMIT %s
"""
NEWEST = UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, slots=True)
class Past:
    """One entry, with the row's columns before and after as JSON values; a number with a fraction is a Decimal."""

    id: UUID
    key: str
    at: datetime
    operation: str
    actor_kind: str
    actor_id: UUID | None
    actor_name: str
    request_id: str
    erased_at: datetime | None
    before: dict[str, Any]
    after: dict[str, Any]


def history(model: type[models.Model], key: UUID, *, before: UUID | None, most: int) -> list[Past]:
    """The newest `most` entries of a row that are older than the entry `before`."""
    return _read(HISTORY, [model._meta.db_table, str(key), before or NEWEST, most])


def deleted(model: type[models.Model], *, before: UUID | None, most: int) -> list[Past]:
    """The last deletions of rows that are still gone, newest first."""
    table = model._meta.db_table
    question = sql.SQL(DELETED).format(name=sql.Literal(table), table=sql.Identifier(table))
    return _read(question.as_string(None), [before or NEWEST, most])


def _read(question: str, values: list[Any]) -> list[Past]:
    with connection.cursor() as cursor:
        cursor.execute(question, values)
        rows = cursor.fetchall()
    return [Past(*row[:-2], *map(_columns, row[-2:])) for row in rows]


def _columns(text: str | None) -> dict[str, Any]:
    return json.loads(text, parse_float=Decimal) if text else {}


@dataclass(frozen=True, slots=True)
class Gone:
    """A deleted row: its table's model, its key, its columns as the log's own text."""

    model: type[models.Model]
    key: str
    text: str

    @property
    def columns(self) -> dict[str, Any]:
        return _columns(self.text)


def restore(model: type[models.Model], key: UUID) -> int:
    """Put a deleted row back, with the rows that its deletion took along; returns how many.

    Runs in the caller's transaction. Raises NotFound when the log knows no deletion of it, Conflict when it stands,
    when something is in the way, when a rule refuses it now, or when the log does not hold all of a row (secrets), and
    PaymentRequired when the institution may not have one more.
    """
    table = model._meta.db_table
    if model._base_manager.filter(pk=key).exists():
        raise Conflict("This record is not deleted.", code="not_deleted")
    with connection.cursor() as cursor:
        cursor.execute(LAST, [table, str(key)])
        last = cursor.fetchone()
        if last is None:
            raise NotFound("The log holds no deletion of such a record.")
        _, transaction_id, at = last
        cursor.execute(TOGETHER, [transaction_id, at, at, 50 * MOST_TOGETHER])
        rows = cursor.fetchall()
    by_table = {m._meta.db_table: m for m in _models()}
    gone = [Gone(by_table[name], held, text) for name, held, text in rows if name in by_table]
    back = _belonging(gone, table, str(key))
    if len(back) > MOST_TOGETHER:
        raise Conflict(f"More than {MOST_TOGETHER} records went with it; restore a backup.", code="too_many")
    try:
        with transaction.atomic():
            for row in back:
                _put_back(row)
            for row in back:
                row.model._base_manager.get(pk=row.key).full_clean()
            for brought in {row.model for row in back}:
                demand_room_for(brought)
    except (IntegrityError, ValidationError) as error:
        problem = as_problem(error)
        if problem is None:
            raise
        raise Conflict(f"It cannot come back: {problem.detail}", code="in_the_way", errors=problem.errors) from None
    return len(back)


def _models() -> list[type[models.Model]]:
    from django.apps import apps

    return apps.get_models(include_auto_created=True)


def _belonging(gone: list[Gone], table: str, key: str) -> list[Gone]:
    """Of the rows that one transaction deleted those that hang on the row, parents first.

    Deletions go from the children up, so the order of their entries, turned round, is that of coming back.
    """
    found = {(table, key)}
    grew = True
    while grew:
        before = len(found)
        for row in gone:
            place = (row.model._meta.db_table, row.key)
            if place not in found and any(parent in found for parent in _parents(row)):
                found.add(place)
        grew = len(found) > before
    return [row for row in gone if (row.model._meta.db_table, row.key) in found]


def _parents(row: Gone) -> list[tuple[str, str]]:
    """The rows that this one was deleted with, if they were."""
    columns: Mapping[str, Any] = row.columns
    return [
        (field.related_model._meta.db_table, str(columns[field.column]))
        for field in row.model._meta.concrete_fields
        if isinstance(field, models.ForeignKey) and columns.get(field.column) is not None
    ]


def _put_back(row: Gone) -> None:
    """Insert the row as it was; a column that is newer than the entry gets its field's default."""
    meta = row.model._meta
    held = row.columns
    names = [field.column for field in meta.concrete_fields if not field.generated]
    if masked_columns(name for name in names if held.get(name) is not None):
        raise Conflict(
            f"The log keeps no secrets, so {meta.verbose_name_plural} cannot be restored.", code="not_restorable"
        )
    newer = {
        field.column: field.get_prep_value(field.get_default())
        for field in meta.concrete_fields
        if not field.generated and field.column not in held and field.has_default()
    }
    statement = sql.SQL(
        "INSERT INTO {table} ({columns}) SELECT {columns}"
        " FROM jsonb_populate_record(null::{table}, %s::jsonb || %s::jsonb)"
    ).format(table=sql.Identifier(meta.db_table), columns=sql.SQL(", ").join(map(sql.Identifier, names)))
    with connection.cursor() as cursor:
        cursor.execute(statement.as_string(None), [row.text, json.dumps(newer, default=str)])
