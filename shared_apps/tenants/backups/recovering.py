"""A platform from nothing: an empty database, the store of the backups, and the identity that opens them.

First the platform's own tables, in one transaction; then this release's migrations and template; then every
institution from its newest backup that restores. What stands already is left alone, so a recovery that was killed, or
that found the store away, is gone on with by the next.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.core import serializers
from django.db import DatabaseError, connection, transaction

from shared_apps.core.context import Kind, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.errors import Conflict, Invalid, Problem
from shared_apps.core.roles import ensure_serving_role
from shared_apps.tenants import template
from shared_apps.tenants.addresses import fresh
from shared_apps.tenants.backups import archive
from shared_apps.tenants.backups.keeping import at_hand, folder_of, take_on_record
from shared_apps.tenants.backups.restoring import demand_of_platform, drop_leftovers, fill_public, restore
from shared_apps.tenants.backups.stores import store
from shared_apps.tenants.lifecycle import LIVE
from shared_apps.tenants.models import Backup, KeptSchema, Tenant
from shared_apps.tenants.schemas import alone, schema_stands
from shared_apps.tenants.services import migrate_platform

LOCK = 7209  # of advisory locks: one recovery at a time


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of an institution: `made_at` of the backup that it was restored from, else the `trouble`."""

    slug: str
    made_at: str = ""
    trouble: str = ""


def recover(*, source: Path | None = None, tell: Callable[[Recovered], None]) -> list[Recovered]:
    """Make the platform, and every institution that lacks its schema, what the newest backups say; `tell` hears of each
    institution as it is done. `source` is the platform's backup to begin with, the newest of the store without it.

    Raises Conflict for a database that is not empty and holds no platform with institutions, Invalid for a platform's
    backup that is damaged, no such one, or of a newer release; OSError when the store is away.
    """
    with platform(), owner_connection(), _one_at_a_time():
        if not _platform_stands():
            with _newest_of_platform() if source is None else _given(source) as path, archive.opened(path) as backup:
                demand_of_platform(backup.manifest)
                fill_public(backup)
        elif source is not None:
            raise Conflict("A platform stands in this database already; recover it without --file.", code="not_empty")
        if settings.DATABASE_APP_DERIVED:
            ensure_serving_role()  # dumps grant to it by its name
        template.replay_itself()
        migrate_platform()
        with alone(None):
            take_on_record(None)
        _introduce_unknown()
        _forget_kept_without_schema()
        lacking = [tenant for tenant in _everybody() if not schema_stands(tenant.schema_name)]
        done = []
        for tenant in lacking:
            done.append(_recover(tenant))
            tell(done[-1])
        _forget_kept_without_schema()
        drop_leftovers()
        return done


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _platform_stands() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        if not cursor.fetchone()[0]:
            return False
        cursor.execute("SELECT to_regclass('public.tenants_tenant') IS NOT NULL")
        if not (cursor.fetchone()[0] and Tenant.objects.exists()):
            raise Conflict(
                "This database has tables, and no institution: a recovery wants one that is empty, before "
                "migrate_platform has run in it.",
                code="not_empty",
            )
    return True


@contextmanager
def _newest_of_platform() -> Iterator[Path]:
    keys = store().keys(folder_of(None))
    if not keys:
        raise Invalid(f"There is no backup of the platform below {store().where(folder_of(None))}.", code="no_backup")
    with store().at_hand(keys[-1]) as path:
        yield path


@contextmanager
def _given(source: Path) -> Iterator[Path]:
    yield source


def _introduce_unknown() -> None:
    """Institutions that were made after the platform's backup: their own backups carry the rows that it lacks."""
    folders = {key.partition("/")[0] for key in store().keys("")} - {folder_of(None).strip("/")}
    known = {str(key) for key in Tenant.objects.values_list("pk", flat=True)}
    for folder in sorted(folders - known):
        try:
            UUID(folder)
        except ValueError:
            continue  # somebody else's
        newest = store().keys(f"{folder}/")[-1]
        with store().at_hand(newest) as path, archive.opened(path) as backup, transaction.atomic():
            for row in serializers.deserialize("json", backup.manifest.public, ignorenonexistent=True):
                row.save()


def _everybody() -> list[Tenant]:
    """The operators' own tenant first: from its host the rest can be looked after."""
    tenants = Tenant.objects.filter(state__in=LIVE).prefetch_related("domains").order_by("created_at", "id")
    return sorted(tenants, key=lambda tenant: tenant.kind != Kind.OPERATOR)


def _recover(tenant: Tenant) -> Recovered:
    """From its newest backup that restores."""
    with alone(tenant):
        take_on_record(tenant)
    trouble = "there is no backup of it"
    for backup in list(Backup.objects.filter(tenant=tenant).exclude(verdict=Backup.Verdict.BAD)):
        try:
            with at_hand(backup) as path:
                restore(tenant=fresh(tenant), source=path)
        except (Problem, DatabaseError) as refused:
            trouble = str(refused.detail) if isinstance(refused, Problem) else str(refused)
        else:
            return Recovered(tenant.slug, made_at=f"{backup.made_at:%Y-%m-%d %H:%M:%S} UTC")
    return Recovered(tenant.slug, trouble=trouble)


def _forget_kept_without_schema() -> None:
    """Nothing can be undone with what went with the old server."""
    for kept in KeptSchema.objects.all():
        if not schema_stands(kept.schema_name):
            kept.delete()
