"""What is done to a schema as a whole, by one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection, transaction

from shared_apps.tenants.models import KeptSchema, Tenant

LOCK_SPACE = 7206  # of advisory locks: one backup, restore, undo, deletion or drop at a time for one institution
TABLES_AT_ONCE = 50  # a DROP takes a lock for every table, index and sequence; the server has room for thousands


def drop_schema(schema: str) -> None:
    """Tables in batches, then what is left; a schema that is gone already is no trouble. Nothing is reached through it
    any more. Runs on the owner's connection, outside of a transaction."""
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s LIMIT %s", [schema, TABLES_AT_ONCE])
            names = [name for (name,) in cursor.fetchall()]
            if not names:
                break
            with transaction.atomic():
                cursor.execute(f"DROP TABLE {', '.join(f'{quote(schema)}.{quote(name)}' for name in names)} CASCADE")
        with transaction.atomic():
            cursor.execute(f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE")


def schema_stands(schema: str) -> bool:
    """Whether there is such a schema."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)", [schema])
        return bool(cursor.fetchone()[0])


@contextmanager
def alone(tenant: Tenant | None) -> Iterator[None]:
    """One backup, restore, undo, deletion or drop at a time for one institution, or (None) the platform's own tables; a
    second one waits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, %s))", [_key(tenant), LOCK_SPACE])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, %s))", [_key(tenant), LOCK_SPACE])


@contextmanager
def alone_unless_busy(tenant: Tenant | None) -> Iterator[bool]:
    """As `alone`, but whoever finds another at it gets False instead of waiting."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, %s))", [_key(tenant), LOCK_SPACE])
        free = cursor.fetchone()[0]
        try:
            yield free
        finally:
            if free:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, %s))", [_key(tenant), LOCK_SPACE])


def _key(tenant: Tenant | None) -> str:
    return str(tenant.pk) if tenant else "platform"


def at_work(tenant_id: UUID) -> bool:
    """Whether some process holds `alone` of this institution now."""
    return _held(str(tenant_id), LOCK_SPACE)


def is_kept_aside(tenant_id: UUID) -> bool:
    """Whether another schema of the institution is kept, which may be gone back to, or is about to be its own."""
    return KeptSchema.objects.filter(tenant_id=tenant_id).exists()


def in_the_making(schema: str) -> bool:
    """Whether some process makes this institution now."""
    return _held(schema, 7202)


def _held(key: str, space: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, %s))", [key, space])
        if not cursor.fetchone()[0]:
            return True
        cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, %s))", [key, space])
        return False
