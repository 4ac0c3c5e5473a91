"""The text of an institution's schema as pg_dump writes it, all of one snapshot.

pg_dump reads the catalog of the whole database first: 25 s among a thousand institutions, for one of them (measured).
What an institution's schema is made of is known, for it equals the template, whose own text is kept; only its rows are
read. A schema that differs, one behind with migrations for instance, is left to pg_dump.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from django.db import connection, transaction
from psycopg import sql

from shared_apps.tenants import dumps
from shared_apps.tenants.arranging import entries_of
from shared_apps.tenants.fingerprint import fingerprints
from shared_apps.tenants.models import SchemaTemplate

ROWS = ("TABLE DATA", "SEQUENCE SET")
THEIR_PLACE = "--\n-- Rows\n--\n\n"
OBJECTS = """
SELECT c.relname, c.relkind::text FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass
  AND d.refobjid = %s::regnamespace AND c.relkind IN ('r', 'S')
ORDER BY 1
"""
COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""


def structure_of(dump: str) -> str:
    """pg_dump's text with a mark where the rows were."""
    head, entries = entries_of(dump)
    first = next(place for place, entry in enumerate(entries) if entry.kind in ROWS)
    before, after = entries[:first], [entry for entry in entries[first:] if entry.kind not in ROWS]
    return head + "".join(entry.whole for entry in before) + THEIR_PLACE + "".join(entry.whole for entry in after)


@contextmanager
def snapshot(schema: str) -> Iterator[None]:
    """A transaction of the owner's connection in which nothing changes: neither rows nor what the schema is made of."""
    with connection.cursor() as cursor:
        names = [sql.Identifier(schema, name) for name, kind in _objects(schema) if kind == "r"]
        with transaction.atomic():
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if names:  # the locks first: a table that is altered meanwhile would be read as it was, and named as it is
                tables = sql.SQL(", ").join(names)
                cursor.execute(_text(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(tables)))
            yield


def write(schema: str, target: Path, *options: str) -> None:
    """Write the schema's text, as it is in the open snapshot; `options` are pg_dump's, where it is left to it. Raises
    dumps.DumpFailed."""
    template = SchemaTemplate.objects.first()
    if template is not None and template.structure and fingerprints([schema]).get(schema) == template.fingerprint:
        _write_like(template, schema, target)
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_export_snapshot()")
        dumps.dump(schema, target, f"--snapshot={cursor.fetchone()[0]}", *options)


def _write_like(template: SchemaTemplate, schema: str, target: Path) -> None:
    before, mark, after = template.structure.replace(template.schema_name, schema).partition(THEIR_PLACE)
    with target.open("wb") as out, connection.cursor() as cursor:
        out.write((before + mark).encode())
        for name, kind in _objects(schema):
            (_write_rows if kind == "r" else _write_sequence)(cursor, schema, name, out)
        out.write(after.encode())


def _objects(schema: str) -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(OBJECTS, [schema])
        return list(cursor.fetchall())


def _write_rows(cursor: Any, schema: str, name: str, out: IO[bytes]) -> None:
    cursor.execute(COLUMNS, [f"{schema}.{name}"])
    columns = sql.SQL(", ").join(sql.Identifier(column) for (column,) in cursor.fetchall())
    table = _text(sql.SQL("{} ({})").format(sql.Identifier(schema, name), columns))
    out.write(f"COPY {table} FROM stdin;\n".encode())
    with cursor.copy(f"COPY {table} TO STDOUT") as rows:
        for block in rows:
            out.write(block)
    out.write(b"\\.\n\n")


def _write_sequence(cursor: Any, schema: str, name: str, out: IO[bytes]) -> None:
    sequence = sql.Identifier(schema, name)
    cursor.execute(_text(sql.SQL("SELECT last_value, is_called FROM {}").format(sequence)))
    last, called = cursor.fetchone()
    place = _text(sql.Literal(_text(sequence)))
    out.write(f"SELECT pg_catalog.setval({place}, {last}, {str(called).lower()});\n".encode())


def _text(composed: sql.Composable) -> str:
    return composed.as_string(connection.connection)
