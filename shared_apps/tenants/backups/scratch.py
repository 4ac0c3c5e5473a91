"""A database of its own for the rehearsal of what cannot be restored beside the living: the schema public."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import NotSupportedError, ProgrammingError, connection
from psycopg import sql

from shared_apps.core.engine.owner import owner_connection

LOCK = 7208  # of advisory locks: one rehearsal at a time


@contextmanager
def scratch_database() -> Iterator[None]:
    """Run the block as the owner role in an empty database, which is gone afterwards; one that a kill left is dropped
    by the next. Raises NotSupportedError where the owner's role may not make one."""
    family = f"{settings.DATABASE_OWNER['NAME'][:40]}_rehearsal_"
    name = family + secrets.token_hex(4)
    with owner_connection(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [family])
            for (left,) in cursor.fetchall():
                _drop(left)
            # Not copied from a template in which somebody may work, or which has tables of its own.
            make = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
            try:
                cursor.execute(make.as_string(connection.connection))
            except ProgrammingError as refused:
                raise NotSupportedError(f"The owner's role may not make a database: {refused}") from None
            try:
                with owner_connection(name):
                    yield
            finally:
                _drop(name)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _drop(name: str) -> None:
    with connection.cursor() as cursor:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        cursor.execute(drop.as_string(connection.connection))
