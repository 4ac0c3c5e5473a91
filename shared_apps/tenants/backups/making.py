"""Making a backup: one snapshot of the schema, its files, and what the platform knows of the institution."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from psycopg import sql

from shared_apps.core.context import platform
from shared_apps.core.engine.base import owner_connection
from shared_apps.core.ids import uuid7
from shared_apps.tenants import snapshots
from shared_apps.tenants.backups import archive
from shared_apps.tenants.backups.stores import store
from shared_apps.tenants.backups.workplace import workplace
from shared_apps.tenants.fingerprint import fingerprints
from shared_apps.tenants.lifecycle import demand_live
from shared_apps.tenants.models import Backup, Tenant


def back_up(*, tenant: Tenant, work: UUID | None = None) -> Backup:
    """Write a backup of the institution to the store and record it. The institution goes on working.

    Rows and their counts are read in one snapshot; files are only ever added, so those that a row of the snapshot names
    are there. A kill leaves no backup and no record. A job's backup has the job's id (`work`): begun again, it is made
    once. Raises Conflict for an institution without a schema.
    """
    with platform():
        demand_live(Tenant.objects.get(pk=tenant.pk))
        made = Backup.objects.filter(pk=work).first() if work else None
    if made is not None:
        return made
    files = Path(settings.MEDIA_ROOT) / str(tenant.pk)
    made_at = datetime.now(UTC)
    key = work or uuid7()
    backup = Backup(
        id=key, tenant_id=tenant.pk, made_at=made_at, file=f"{tenant.pk}/{made_at:%Y%m%dT%H%M%SZ}-{str(key)[-6:]}.age"
    )
    with platform(), owner_connection(), workplace() as directory:
        dump = directory / archive.DUMP
        with snapshots.snapshot(tenant.schema_name):
            snapshots.write(tenant.schema_name, dump)
            manifest = {
                "institution": str(tenant.pk),
                "slug": tenant.context.slug,
                "name": tenant.name,
                "schema_name": tenant.schema_name,
                "made_at": made_at.isoformat(),
                "fingerprint": fingerprints([tenant.schema_name]).get(tenant.schema_name, ""),
                "migrations": migrations_of(tenant.schema_name),
                "tables": rows_of(tenant.schema_name),
                "digests": digests_of(tenant.schema_name),
            }
        with store().arriving(backup.file) as target:
            backup.sha256 = archive.write(target, manifest=manifest, dump=dump, files=files)
            backup.size = target.stat().st_size
    with platform():
        backup.save(force_insert=True)
    return backup


def migrations_of(schema: str) -> list[str]:
    """What is applied in a schema, as "app.name"."""
    query = sql.SQL("SELECT app || '.' || name FROM {}.django_migrations ORDER BY 1").format(sql.Identifier(schema))
    with connection.cursor() as cursor:
        cursor.execute(query.as_string(connection.connection))
        return [name for (name,) in cursor.fetchall()]


def rows_of(schema: str) -> dict[str, int]:
    """The number of rows of every table of a schema."""
    return {table: int(rows) for table, rows in _of_each_table(schema, "SELECT count(*) FROM {table}")}


def digests_of(schema: str) -> dict[str, str]:
    """A digest over the rows of every table of a schema, whatever their order and the schema's name."""
    one = "SELECT coalesce(sum(hashtextextended(replace(t::text, {schema}, ''), 0)), 0) FROM {table} t"
    return {table: str(digest) for table, digest in _of_each_table(schema, one)}


def _of_each_table(schema: str, question: str) -> list[tuple[str, Any]]:
    answers = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", [schema])
        for (name,) in cursor.fetchall():
            query = sql.SQL(question).format(table=sql.Identifier(schema, name), schema=sql.Literal(schema))
            cursor.execute(query.as_string(connection.connection))
            answers.append((name, cursor.fetchone()[0]))
    return answers
