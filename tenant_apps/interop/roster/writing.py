"""Writing a plan: COPY for new rows, one UPDATE for thousands of changed ones, all in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from django.db import connection, models
from django.utils import timezone
from psycopg import sql

from shared_apps.core.context import current_institution
from shared_apps.core.errors import Conflict
from shared_apps.core.models import STAMPS
from tenant_apps.interop.roster.draft import Plan, Steps
from tenant_apps.interop.roster.states import STATUS_COLUMNS, statuses_of_moves
from tenant_apps.interop.roster.tables import TableChange, Values
from tenant_apps.school.models import Student, StudentStatus

CHUNK = 5_000  # rows of one statement: between two, an import can be seen to advance, and be stopped
LOCK_SPACE = 7204  # of advisory locks; jobs use 7203
PARKING = date(1000, 1, 1)  # no enrolment is as old
WRITING_FROM, WRITING_TO = 50.0, 99.0  # per cent of the whole import


def one_import_at_a_time() -> None:
    """Wait until no other import of this institution is running; holds to the end of the transaction."""
    with connection.cursor() as cursor:
        key = f"roster import {current_institution().id}"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [key, LOCK_SPACE])


def write_plan(plan: Plan, steps: Steps) -> None:
    """Write what the plan says.

    Raises ValueError for a plan with errors, and outside of a transaction; Conflict (`changed_meanwhile`) when somebody
    has changed or removed a row since it was compared: what they entered would be overwritten by what it was before.
    """
    if plan.error_count or not connection.in_atomic_block:
        raise ValueError("A plan is written in a transaction, and only without errors.")
    _Writer(plan, steps).write()


class _Writer:
    def __init__(self, plan: Plan, steps: Steps) -> None:
        self.plan = plan
        self.steps = steps
        self.now = timezone.now()
        self.total = sum(len(change.created) + len(change.changed) + len(change.closed) for change in plan.changes)
        self.done = 0

    def write(self) -> None:
        for change in self.plan.changes:
            self.step = f"Writing {change.kind.replace('_', ' ')}"
            self._advance(0)
            self._write_table(change)
        self.step = "Writing students' states"
        self._copy(StudentStatus, STATUS_COLUMNS, self.plan.new_statuses)
        self._move_states()

    def _advance(self, rows: int) -> None:
        self.done += rows
        share = min(1.0, self.done / self.total) if self.total else 1.0
        self.steps(WRITING_FROM + (WRITING_TO - WRITING_FROM) * share, self.step)
        self.steps.check()

    def _write_table(self, change: TableChange) -> None:
        # What gives way comes first: closed rows free days, changed ones numbers that new rows take. Only where rows
        # refer to rows of their own table (terms), a changed one may point at a new one.
        if any(change.model._meta.get_field(column).related_model is change.model for column in change.columns):
            self._copy(change.model, change.created_columns, change.created)
            self._update(change.model, change.columns, change.changed)
            return
        self._update(change.model, (change.end,), change.closed)
        self._park(change)
        self._update(change.model, change.columns, change.changed)
        self._copy(change.model, change.created_columns, change.created)

    def _copy(self, model: type[models.Model], columns: Sequence[str], rows: list[Values]) -> None:
        """Insert rows; columns that the roster says nothing of get the model's defaults."""
        given = set(columns) | set(STAMPS)
        fields = [field for field in model._meta.concrete_fields if field.column not in given and not field.generated]
        rest = (*(field.get_db_prep_save(field.get_default(), connection) for field in fields), self.now, self.now)
        names = (*columns, *(field.column for field in fields), *STAMPS)
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(model._meta.db_table), sql.SQL(", ").join(map(sql.Identifier, names))
        )
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            with (
                connection.cursor() as cursor,
                connection.wrap_database_errors,
                cursor.copy(statement) as copy,
            ):
                for row in chunk:
                    copy.write_row(row + rest)
            self._advance(len(chunk))

    def _update(self, model: type[models.Model], columns: Sequence[str], rows: list[Values]) -> None:
        """Set `columns` of rows given as (id, *values)."""
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            self._update_rows(model, ("id", *columns), list(zip(*chunk, strict=True)))
            self._advance(len(chunk))

    def _park(self, change: TableChange) -> None:
        """Move rows aside whose numbers or days other rows of this import take over."""
        if not change.parked:
            return
        names = {field.column for field in change.model._meta.concrete_fields}
        if "starts_on" in names:
            starts = [PARKING + timedelta(days=place) for place in range(len(change.parked))]
            ends = [day + timedelta(days=1) for day in starts]
            self._update_rows(change.model, ("id", "starts_on", "ends_on"), [change.parked, starts, ends])
        else:
            column = next(name for name in ("student_number", "staff_number", "code") if name in names)
            numbers = [str(row_id) for row_id in change.parked]
            self._update_rows(change.model, ("id", column), [change.parked, numbers])

    def _move_states(self) -> None:
        """Close the open row of each moved student's history, open the next, and repeat it at the student."""
        moves = self.plan.state_moves
        if not moves:
            return
        ids = [move.student_id for move in moves]
        days = [move.on for move in moves]
        quote = connection.ops.quote_name
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {quote(StudentStatus._meta.db_table)} AS t SET ends_on = v.day, updated_at = %s"  # noqa: S608
                " FROM unnest(%s::uuid[], %s::date[]) AS v(student, day)"
                " WHERE t.student_id = v.student AND t.ends_on IS NULL AND t.updated_at <= %s",
                [self.now, ids, days, self.plan.compared_at],
            )
            self._demand_all(StudentStatus, cursor.rowcount, len(moves))
        self._copy(StudentStatus, STATUS_COLUMNS, statuses_of_moves(self.plan))
        gone = [move.on if move.to == "left" else None for move in moves]
        states = [str(move.to) for move in moves]
        self._update_rows(Student, ("id", "state", "left_on"), [ids, states, gone])

    def _update_rows(self, model: type[models.Model], columns: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        """One UPDATE of many rows: `values` are the columns' values, the first of them the ids."""
        quote = connection.ops.quote_name
        fields = [model._meta.get_field("id"), *(_field(model, column) for column in columns[1:])]
        arrays = ", ".join(f"%s::{field.db_type(connection)}[]" for field in fields)
        names = ", ".join(quote(column) for column in columns)
        assigned = ", ".join(f"{quote(column)} = v.{quote(column)}" for column in columns[1:])
        with connection.cursor() as cursor:
            # This import itself may write a row several times: what it has parked, whose state it moves.
            cursor.execute(
                f"UPDATE {quote(model._meta.db_table)} AS t SET {assigned}, updated_at = %s"  # noqa: S608
                f" FROM unnest({arrays}) AS v({names})"
                " WHERE t.id = v.id AND (t.updated_at <= %s OR t.updated_at = %s)",
                [self.now, *(list(column) for column in values), self.plan.compared_at, self.now],
            )
            self._demand_all(model, cursor.rowcount, len(values[0]))

    def _demand_all(self, model: type[models.Model], written: int, wanted: int) -> None:
        if written != wanted:
            raise Conflict(
                f"Somebody changed {model._meta.verbose_name_plural} while the roster was being imported, so nothing "
                "of it was written: import it again.",
                code="changed_meanwhile",
            )


def _field(model: type[models.Model], column: str) -> models.Field[Any, Any]:
    return next(field for field in model._meta.concrete_fields if field.column == column)
