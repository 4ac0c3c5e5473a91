"""Making a backup: one snapshot of the schema, its files, and what the platform knows of the institution; or one of
the platform's own tables."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core import serializers
from django.db import connection
from psycopg import sql

from shared_apps.core.context import platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.ids import uuid7
from shared_apps.tenants import snapshots
from shared_apps.tenants.addresses import fresh
from shared_apps.tenants.backups import archive
from shared_apps.tenants.backups.stores import store
from shared_apps.tenants.backups.workplace import workplace
from shared_apps.tenants.fingerprint import fingerprints
from shared_apps.tenants.lifecycle import demand_live
from shared_apps.tenants.models import Backup, Tenant
from shared_apps.tenants.schemas import alone

PLATFORM_FOLDER = "platform"
STAMP = "%Y%m%dT%H%M%SZ"
# Into a database that knows neither our extensions nor, perhaps, our roles: `migrate_platform` grants what is granted.
EXTENSIONS = ("btree_gist", "pg_trgm", "unaccent")
PUBLIC_OPTIONS = ("--no-privileges", "--no-comments", *(f"--extension={name}" for name in EXTENSIONS))


def back_up(*, tenant: Tenant | None, work: UUID | None = None) -> Backup:
    """Write a backup of the institution, or (None) of the platform's own tables, to the store and record it. Everybody
    goes on working; only what changes the institution as a whole (a restore, its deletion) waits.

    Rows and their counts are read in one snapshot; files are only ever added, so those that a row of the snapshot names
    are there. A kill leaves no record, and at most a whole file that the next run of the clock takes on record. A job's
    backup has the job's id (`work`): begun again, it is made once. Raises Conflict for an institution without a schema,
    OSError when the store is away or a disk is full.
    """
    with platform(), owner_connection(), alone(tenant):
        return back_up_alone(tenant=tenant, work=work)


def back_up_alone(*, tenant: Tenant | None, work: UUID | None = None) -> Backup:
    """The same by somebody who holds `alone` of it already, on the owner's connection."""
    made = Backup.objects.filter(pk=work).first() if work else None
    if made is not None:
        return made
    if tenant is not None:
        tenant = fresh(tenant)  # a restore may have given it another schema since it was read
        demand_live(tenant)
    folder = PLATFORM_FOLDER if tenant is None else str(tenant.pk)
    made_at, key = datetime.now(UTC), work or uuid7()
    backup = Backup(id=key, tenant=tenant, made_at=made_at, file=f"{folder}/{made_at:{STAMP}}-{str(key)[-6:]}.age")
    schema, options = (tenant.schema_name, ()) if tenant else ("public", PUBLIC_OPTIONS)
    with workplace() as directory:
        dump = directory / archive.DUMP
        with snapshots.snapshot(schema):
            snapshots.write(schema, dump, *options)
            manifest = {
                "institution": str(tenant.pk) if tenant else "",
                "slug": tenant.slug if tenant else "",
                "name": tenant.name if tenant else "the platform",
                "schema_name": schema,
                "made_at": made_at.isoformat(),
                "fingerprint": fingerprints([schema]).get(schema, ""),
                "migrations": migrations_of(schema),
                "tables": rows_of(schema),
                "digests": digests_of(schema),
                "public": serializers.serialize("json", [tenant, *tenant.domains.all()]) if tenant else "",
            }
        files = Path(settings.MEDIA_ROOT) / str(tenant.pk) if tenant else directory / archive.FILES
        backup.recipients = archive.recipients()
        with store().arriving(backup.file) as target:
            backup.sha256 = archive.write(target, manifest=manifest, dump=dump, files=files)
            backup.size = target.stat().st_size
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
