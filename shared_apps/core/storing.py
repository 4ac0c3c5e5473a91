"""One way to store a row and one to remove it, whoever asks: a resource, a service of a room, an import."""

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import DatabaseError, DataError, IntegrityError, connection, models, transaction

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


def store(record: models.Model, *, changed: list[str] | None = None) -> None:
    """Check a row and write it; named columns only on a change. Raises ValidationError.

    Uniqueness and the like are not asked for before: the database judges them when it writes, without a race, and only
    a row that it refuses is put to the model's own rules, which know how to say why.
    """
    check(record)
    try:
        if changed is None:
            _insert(record)
        else:
            with transaction.atomic():
                record.save(update_fields=[*changed, *stamps_of(record)])
    except (IntegrityError, DataError) as refused:
        explain(record, refused)


def _insert(record: models.Model) -> None:
    """Write a new row by a statement that is composed once for its model. Savepoint, row and release travel together:
    of three round trips and the ORM's Python (0.4 ms) one trip is left. Nothing of ours listens to save signals."""
    if not connection.in_atomic_block:
        with transaction.atomic():
            _insert(record)
        return
    model = type(record)
    composed = _inserts.get(model)
    if composed is None:
        columns = [f for f in model._meta.concrete_fields if not f.generated]
        quote = connection.ops.quote_name
        names = ", ".join(quote(column.column) for column in columns)
        holes = ", ".join(["%s"] * len(columns))
        row = f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({holes})"
        composed = _inserts[model] = (f"SAVEPOINT {POINT}; {row}; RELEASE SAVEPOINT {POINT}", columns)
    statement, columns = composed
    values = [column.get_db_prep_save(column.pre_save(record, True), connection) for column in columns]
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
    except (IntegrityError, DataError):
        transaction.savepoint_rollback(POINT)
        raise
    record._state.adding, record._state.db = False, connection.alias


POINT = "lyceum_row"
_inserts: dict[type[models.Model], tuple[str, list[Any]]] = {}


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
