"""Two institutions with the same primary keys, and a canary in every text column of the second.

Whatever the first one's host then says of a canary, it has from the second. The tables are found by walking the
models, so that a new column is covered when it is declared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5
from typing import Any
from uuid import UUID

import orjson
from django.apps import apps
from django.db import DatabaseError, connection, models, transaction
from django.http import HttpResponse
from psycopg import sql

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.ids import uuid7
from shared_apps.core.routing import tenant_app_labels
from tests import examples
from tests.api import Asker

CANARY = "canarybird"
SHORT = "qzx"  # in columns that have no room for the word
LOG = "audit_entry"  # written by triggers alone, which bring the canaries into it
CATALOGUE = "auth_permission"
RELEASES_WORDS = frozenset({"auth_permission.name", "auth_permission.codename", "accounts_rolepermission.code"})

Model = type[models.Model]


class Leak(AssertionError):
    """An answer holds another institution's text."""


@dataclass(frozen=True, slots=True)
class Twins:
    """`here` is asked; `there` holds the canaries. `only_there` is a row of each table that `here` does not have."""

    here: InstitutionContext
    there: InstitutionContext
    only_there: dict[Model, Any]
    without: frozenset[str]
    not_shared: frozenset[str]


def make_twins(here: InstitutionContext, there: InstitutionContext) -> Twins:
    """Runs in a transaction that is rolled back afterwards."""
    with institution(here):
        write_examples()
    put_canaries(there)  # first, so that unique values do not stand in the way of the copies
    not_shared = give_same_keys(here, there)
    only_there = write_others(there)
    return Twins(here, there, only_there, frozenset(put_canaries(there)), frozenset(not_shared))


def tenant_models() -> list[Model]:
    """Every model of the institutions' schemas; one that is referred to stands before those that refer to it."""
    labels = tenant_app_labels()
    left = [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.app_label in labels and not model._meta.proxy
    ]
    ordered: list[Model] = []
    while left:
        free = [model for model in left if not {*_referred(model)} & ({*left} - {model})]
        ordered += free
        left = [model for model in left if model not in free]
    return ordered


def _referred(model: Model) -> Iterator[Any]:
    return (field.related_model for field in model._meta.concrete_fields if isinstance(field, models.ForeignKey))


def is_text(field: models.Field) -> bool:
    """Whether people's words may stand in the column."""
    if field.generated or field.primary_key or isinstance(field, models.ForeignKey) or field.choices:
        return False
    return isinstance(field, models.CharField | models.TextField | models.JSONField)


def text_columns() -> Iterator[tuple[Model, models.Field]]:
    for model in tenant_models():
        for field in model._meta.concrete_fields:
            table = model._meta.db_table
            if is_text(field) and table != LOG and f"{table}.{field.column}" not in RELEASES_WORDS:
                yield model, field


def write_examples() -> None:
    """A row in each table of the current institution that has none."""
    for model in tenant_models():
        if not model._default_manager.exists():
            model._default_manager.bulk_create([model(**examples.values_of(model))])


def give_same_keys(source: InstitutionContext, target: InstitutionContext) -> set[str]:
    """Copy the rows of `source` into `target`, keys and all, beside the rows that it has. Where there can be only one,
    the one that stands there takes the key. The tables of which no row has got the same key."""
    refused = set()
    with institution(target), connection.cursor() as cursor:
        for model in tenant_models():
            if model._meta.db_table == LOG:
                continue
            parts = {
                "key": sql.Identifier(model._meta.pk.column),
                "here": sql.Identifier(model._meta.db_table),
                "there": sql.Identifier(source.schema_name, model._meta.db_table),
                "columns": sql.SQL(", ").join(
                    sql.Identifier(field.column) for field in model._meta.concrete_fields if not field.generated
                ),
            }
            cursor.execute(_text("SELECT {key} FROM {there} EXCEPT SELECT {key} FROM {here}", parts))
            for (key,) in cursor.fetchall():
                if not (
                    _done(
                        cursor,
                        "INSERT INTO {here} ({columns}) SELECT {columns} FROM {there} WHERE {key} = %s",
                        parts,
                        key,
                    )
                    or _done(
                        cursor,
                        "UPDATE {here} SET {key} = %s WHERE {key} ="
                        " (SELECT {key} FROM {here} EXCEPT SELECT {key} FROM {there} LIMIT 1)",
                        parts,
                        key,
                    )
                ):
                    refused.add(model._meta.db_table)
    return refused


def _done(cursor: Any, query: str, parts: dict[str, sql.Composable], key: Any) -> bool:
    try:
        with transaction.atomic():
            cursor.execute(_text(query, parts), [key])
            return bool(cursor.rowcount)
    except DatabaseError:
        return False


def write_others(place: InstitutionContext) -> dict[Model, Any]:
    """In each table a copy of some row under a key of its own, which refers to such copies in turn. Their keys."""
    made: dict[Model, Any] = {}
    with institution(place):
        for model in tenant_models():
            row = model._default_manager.order_by("pk").first()
            if row is None or model._meta.db_table in (LOG, CATALOGUE):
                continue
            row._state.adding = True
            row.pk = uuid7() if isinstance(row.pk, UUID) else 1_000_000
            referred = set()
            for field in model._meta.concrete_fields:
                kind = field.related_model
                if kind in made and kind not in referred and getattr(row, field.attname) is not None:
                    setattr(row, field.attname, made[kind])
                    referred.add(kind)
                elif isinstance(field, models.EmailField):
                    setattr(row, field.attname, f"{uuid7()}@example.test")
                elif is_text(field) and isinstance(field, models.CharField):
                    setattr(row, field.attname, uuid7().hex[: field.max_length])
            with suppress_refusal():
                model._default_manager.bulk_create([row])
                made[model] = row.pk
    return made


class suppress_refusal:
    """A savepoint in which the database may refuse."""

    def __enter__(self) -> None:
        self._atomic = transaction.atomic()
        self._atomic.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        self._atomic.__exit__(kind, error, trace)
        return isinstance(error, DatabaseError)


def put_canaries(place: InstitutionContext) -> set[str]:
    """Write the canary into every text column of every row. The columns (table.column) that took none of it."""
    without = set()
    with institution(place), connection.cursor() as cursor:
        for model, field in text_columns():
            parts = {
                "table": sql.Identifier(model._meta.db_table),
                "column": sql.Identifier(field.column),
                "value": _value(model, field),
            }
            try:
                with transaction.atomic():
                    cursor.execute(_text("UPDATE {table} SET {column} = {value}", parts))
                    if not cursor.rowcount:
                        without.add(f"{model._meta.db_table}.{field.column}")
            except DatabaseError:
                without.add(f"{model._meta.db_table}.{field.column}")
    return without


def _value(model: Model, field: models.Field) -> sql.Composable:
    """The canary as this column takes it; numbered by row, for columns that are unique."""
    if isinstance(field, models.JSONField):
        return sql.SQL("{}::json").format(sql.Literal(orjson.dumps({CANARY: CANARY}).decode()))
    number = sql.SQL("md5({}::text)").format(sql.Identifier(model._meta.pk.column))
    word, most = sql.Literal(CANARY), field.max_length or 100
    if isinstance(field, models.EmailField):
        return sql.SQL("{} || {} || '@example.test'").format(word, number)
    if most < len(CANARY):
        return sql.SQL("left({}, {})").format(sql.Literal(SHORT), sql.Literal(most))
    return sql.SQL("left({} || {}, {})").format(word, number, sql.Literal(most))


def _text(query: str, parts: dict[str, sql.Composable]) -> str:
    return sql.SQL(query).format(**parts).as_string(connection.connection)


def digest_of(place: InstitutionContext) -> dict[str, str]:
    """What stands in each table, as a digest: an attack that changes nothing leaves it as it is."""
    found = {}
    with institution(place), connection.cursor() as cursor:
        for model in tenant_models():
            table = sql.Identifier(model._meta.db_table)
            rows = "SELECT coalesce(string_agg(t::text, '|' ORDER BY t::text), '') FROM {table} t"
            cursor.execute(_text(rows, {"table": table}))
            found[model._meta.db_table] = md5(cursor.fetchone()[0].encode(), usedforsecurity=False).hexdigest()
    return found


def sings(text: bytes | str) -> bool:
    """Whether a canary is in the text."""
    return CANARY in (text.decode(errors="replace") if isinstance(text, bytes) else text).lower()


def said(answer: HttpResponse) -> list[bytes | str]:
    """Everything that an answer tells: its body and its headers. A streaming body can still be read afterwards."""
    parts = list(answer.streaming_content) if answer.streaming else [answer.content]
    if answer.streaming:
        answer.streaming_content = parts
    return [b"".join(parts), *answer.headers.values()]


class Watched(Asker):
    """An asker whose every answer is searched for canaries. Raises Leak."""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        answer = super().ask(method, path, body, **headers)
        if any(map(sings, said(answer))):
            raise Leak(f"{method} {path} at {self.host} answered {answer.status_code} with a canary.")
        return answer
