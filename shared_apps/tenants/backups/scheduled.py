"""What Beat starts: the due backups, one after the other, a few processes at a time.

Nothing is noted down before it is done: what is due is asked of the rows each time, so a run that was killed is gone on
with by the next, and of two runs at once each takes other institutions.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.conf import settings
from django.db import connection

from shared_apps.core.actors import acting, platform_work
from shared_apps.core.context import platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.tenants.backups.due import due, is_due
from shared_apps.tenants.backups.keeping import forget_old, take_on_record
from shared_apps.tenants.backups.making import back_up_alone
from shared_apps.tenants.models import Backup, Tenant
from shared_apps.tenants.schemas import alone_unless_busy

AT_ONCE = 2  # runs beside each other; each of them reads a schema and its files as fast as it can
SECONDS = 720.0  # after which a run begins no other backup; the next one starts every quarter of an hour
TROUBLES = 3  # failures in a row after which a run gives up: the store is away, or its disk is full
SLOTS = 7207  # of advisory locks
log = structlog.get_logger(__name__)


def make_due_backups(*, seconds: float = SECONDS) -> list[Backup]:
    """Make the backups that are due, until the time is up; none where backups are not configured.

    The trouble of one institution stops no other; it is logged, and the next run tries again.
    """
    made: list[Backup] = []
    if not settings.BACKUPS_SCHEDULED:
        return made
    ends, troubles = time.monotonic() + seconds, 0
    with platform(), owner_connection(), acting(platform_work("backup")), _slot() as free:
        for tenant in (each.tenant for each in due()) if free else ():
            if time.monotonic() >= ends or troubles == TROUBLES:
                break
            try:
                backup = _make(tenant)
            except Exception as error:
                troubles += 1
                log.error("backup_failed", institution=str(tenant.pk if tenant else "platform"), exc_info=error)
                continue
            troubles = 0
            made += [backup] if backup else []
    return made


def _make(tenant: Tenant | None) -> Backup | None:
    """None when another process is at it, or has just done it."""
    with alone_unless_busy(tenant) as free:
        if not free or not is_due(tenant):
            return None
        backup = back_up_alone(tenant=tenant)
        take_on_record(tenant)
        forget_old(tenant)
    return backup


@contextmanager
def _slot() -> Iterator[bool]:
    """Whether one of the places for runs is free; it is held for as long."""
    with connection.cursor() as cursor:
        for number in range(AT_ONCE):
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [SLOTS, number])
            if cursor.fetchone()[0]:
                try:
                    yield True
                finally:
                    cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [SLOTS, number])
                return
    yield False
