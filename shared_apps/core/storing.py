"""One way to store a row and one to remove it, whoever asks: a resource, a service of a room, an import."""

from typing import Any

import psycopg
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    DataError,
    IntegrityError,
    connection,
    connections,
    models,
    transaction,
)

from shared_apps.core.errors import Conflict
from shared_apps.core.problems import refusal


def discard(record: models.Model) -> None:
    """Delete a row. Raises Conflict, naming what still refers to it."""
    held = in_use([record])
    if record.pk in held:
        raise Conflict(held[record.pk], code="in_use")
    record.delete()


def in_use(records: list[Any]) -> dict[Any, str]:
    """Of these rows of one model, those that others still refer to, with the reason: one query for each relation.

    Django would find the same by loading every such row: a campus may have a hundred thousand.
    """
    holding: dict[Any, list[str]] = {}
    for relation in records[0]._meta.related_objects if records else ():
        if relation.on_delete not in (models.PROTECT, models.RESTRICT):
            continue
        column = relation.field.attname
        rows = relation.related_model._base_manager.filter(**{f"{relation.field.name}__in": records})
        # In no order: a model's own would join the columns that have to differ, and each row would count.
        for key in rows.order_by().values_list(column, flat=True).distinct():
            holding.setdefault(key, []).append(str(relation.related_model._meta.verbose_name_plural))
    return {
        key: f"Still in use by {', '.join(sorted(names))}; remove or move those first."
        for key, names in holding.items()
    }


def check(record: models.Model) -> None:
    """The rules that a row can be judged by alone: its columns' and its model's `clean`. Raises ValidationError.

    Records that it refers to have been found already; what other rows forbid is said by the database when it is stored.
    """
    errors: dict[str, Any] = {}
    references = [f.name for f in record._meta.concrete_fields if isinstance(f, models.ForeignKey)]
    for rule in (lambda: record.clean_fields(exclude=references), record.clean):
        try:
            rule()
        except ValidationError as refused:
            errors = refused.update_error_dict(errors)
    if errors:
        raise ValidationError(errors)


def store(record: models.Model, *with_it: models.Model, changed: list[str] | None = None) -> None:
    """Check a row and write it; named columns only on a change. Raises ValidationError.

    New rows that make one thing with it, such as a student's first status, follow it by the same message.

    Uniqueness and the like are not asked for before: the database judges them when it writes, without a race, and only
    a row that it refuses is put to the model's own rules, which know how to say why.
    """
    for each in (record, *with_it):
        check(each)
    try:
        if changed is None:
            _insert(record, *with_it)
        else:
            with transaction.atomic():
                record.save(update_fields=[*changed, *stamps_of(record)])
    except (IntegrityError, DataError) as refused:
        for each in with_it:
            if each._meta.db_table == _table_of(refused):
                explain(each, refused)
        explain(record, refused)


def _insert(*records: models.Model) -> None:
    """Write new rows by a text that is composed once for their models. Savepoint, rows and release travel together:
    of three round trips and the ORM's Python (0.4 ms) one trip is left. Nothing of ours listens to save signals."""
    if not connection.in_atomic_block:
        with transaction.atomic():
            _insert(*records)
        return
    kinds = tuple(type(record) for record in records)
    text = _inserts.get(kinds)
    if text is None:
        rows = "; ".join(_composed(kind) for kind in kinds)
        text = _inserts[kinds] = f"SAVEPOINT {POINT}; {rows}; RELEASE SAVEPOINT {POINT}"
    database = connections[DEFAULT_DB_ALIAS]  # the proxy would look it up for each column
    values = [
        column.get_db_prep_save(column.pre_save(record, True), database)
        for record in records
        for column in record._meta.concrete_fields
        if not column.generated
    ]
    try:
        with connection.cursor() as cursor:
            cursor.execute(text, values)
    except (IntegrityError, DataError):
        transaction.savepoint_rollback(POINT)
        raise
    for record in records:
        record._state.adding, record._state.db = False, connection.alias


def _composed(kind: type[models.Model]) -> str:
    columns = [connection.ops.quote_name(field.column) for field in kind._meta.concrete_fields if not field.generated]
    holes = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {connection.ops.quote_name(kind._meta.db_table)} ({', '.join(columns)}) VALUES ({holes})"


def _table_of(refused: DatabaseError) -> str | None:
    cause = refused.__cause__
    return cause.diag.table_name if isinstance(cause, psycopg.Error) else None


POINT = "lyceum_row"
_inserts: dict[tuple[type[models.Model], ...], str] = {}


def stamps_of(record: models.Model | type[models.Model]) -> list[str]:
    """The columns that every change sets to its time."""
    return [f.name for f in record._meta.concrete_fields if getattr(f, "auto_now", False)]


def explain(record: models.Model, refused: DatabaseError) -> None:
    """Raise what the model says of a row that the database has refused; else the refusal as it stands.

    Checks come first: days that end before they begin make no range, and asking for overlaps with them is an error.
    """
    for constraint in record._meta.constraints:
        if isinstance(constraint, models.CheckConstraint):
            try:
                constraint.validate(type(record), record)
            except ValidationError as broken:
                raise ValidationError({NON_FIELD_ERRORS: broken}) from refused
    record.full_clean()
    raise refusal(refused) or refused
