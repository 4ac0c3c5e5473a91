"""Which backups are due: by what was last written, the ones that wait longest first.

The last write is the newest entry of an institution's log, which every change of its rows makes: one query for each 200
schemas (SCALE 10). Sessions and notifications are not in the log, and are no reason for a backup.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Max, Q
from psycopg import sql

from shared_apps.core.context import platform
from shared_apps.tenants.lifecycle import LIVE
from shared_apps.tenants.models import Backup, Tenant

IDLE = timedelta(days=30)  # an institution in which nobody writes is backed up so seldom
# A change is in the log with the time at which it was made; its transaction may have been committed after a backup's
# snapshot that was taken later than that.
LATE_COMMIT = timedelta(hours=2)
SCHEMAS_A_QUERY = 200
LAST = "(SELECT {name}, at FROM {schema}.audit_entry ORDER BY id DESC LIMIT 1)"


@dataclass(frozen=True, slots=True)
class Due:
    """An institution, or (None) the platform's own tables, that should have been backed up at `since`."""

    tenant: Tenant | None
    since: datetime


def due() -> list[Due]:
    """Whose backup is due, the longest waiting first. A bad backup counts for none, and so does one that a wrong clock
    has dated ahead."""
    with platform():
        tenants = list(Tenant.objects.filter(state__in=LIVE).prefetch_related("domains").order_by("pk"))
        newest = _newest(tenants)
        written = last_writes(tenant.schema_name for tenant in tenants)
    found = [Due(each, _since(each, newest.get(each.pk), written.get(each.schema_name))) for each in tenants]
    if tenants:
        found.append(Due(None, _platform_since(tenants, newest.get(None))))
    now = datetime.now(UTC)
    return sorted((each for each in found if each.since <= now), key=lambda each: each.since)


def is_due(tenant: Tenant | None) -> bool:
    """The same of one, as its rows stand now."""
    with platform():
        if tenant is None:
            tenants = list(Tenant.objects.order_by("created_at")[:1])
            return _platform_since(tenants, _newest([]).get(None)) <= datetime.now(UTC)
        stands = Tenant.objects.filter(pk=tenant.pk, state__in=LIVE).first()
        if stands is None:
            return False
        written = last_writes([stands.schema_name]).get(stands.schema_name)
        return _since(stands, _newest([stands]).get(stands.pk), written) <= datetime.now(UTC)


def overdue() -> list[Due]:
    """Those that have waited for as long again as there should be between two backups."""
    late = datetime.now(UTC) - settings.BACKUP_EVERY
    return [each for each in due() if each.since <= late]


def bad() -> list[Backup]:
    """The newest backups of institutions, and of the platform, that are known to be bad."""
    with platform():
        newest = Backup.objects.order_by("tenant_id", "-made_at", "-id").distinct("tenant_id").select_related("tenant")
        return [backup for backup in newest if backup.verdict == Backup.Verdict.BAD]


def figures() -> dict[str, int]:
    """What is watched of backups."""
    on = settings.BACKUPS_SCHEDULED
    return {
        "backups_scheduled": int(on),
        "backups_overdue": len(overdue()) if on else 0,
        "backups_bad": len(bad()),
    }


def last_writes(schemas: Iterable[str]) -> dict[str, datetime]:
    """When somebody last wrote, by schema; those without a log, or with an empty one, are left out."""
    names, found = list(schemas), {}
    with connection.cursor() as cursor:
        for start in range(0, len(names), SCHEMAS_A_QUERY):
            cursor.execute(
                "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name || '.audit_entry') IS NOT NULL",
                [names[start : start + SCHEMAS_A_QUERY]],
            )
            parts = [
                sql.SQL(LAST).format(name=sql.Literal(name), schema=sql.Identifier(name))
                for (name,) in cursor.fetchall()
            ]
            if parts:
                cursor.execute(sql.SQL(" UNION ALL ").join(parts).as_string(connection.connection))
                found.update(cursor.fetchall())
    return found


def _newest(tenants: list[Tenant]) -> dict[UUID | None, datetime]:
    of_these = Q(tenant=None) | Q(tenant__in=[tenant.pk for tenant in tenants])
    sound = Backup.objects.exclude(verdict=Backup.Verdict.BAD).filter(of_these, made_at__lte=datetime.now(UTC))
    return dict(sound.order_by().values_list("tenant").annotate(Max("made_at")))


def _platform_since(tenants: list[Tenant], newest: datetime | None) -> datetime:
    """Its tables keep no log: they are few rows, backed up as often as an institution in which somebody writes."""
    return newest + settings.BACKUP_EVERY if newest else min(tenant.created_at for tenant in tenants)


def _since(tenant: Tenant, newest: datetime | None, written: datetime | None) -> datetime:
    if newest is None:
        return tenant.created_at
    wrote = written is not None and written > newest - LATE_COMMIT
    return newest + (settings.BACKUP_EVERY if wrote else IDLE)
