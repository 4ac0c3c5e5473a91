"""The relay: carries out outbox messages within moments of their commit, and looks after jobs.

Pokes over Redis wake it; a sweep of every live institution at the start and every few seconds finds what a lost poke
left. Any number of relays may run.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TypeVar

import redis
import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.utils import timezone
from psycopg import sql

from shared_apps.core import vitals
from shared_apps.core.actors import acting, task
from shared_apps.core.context import InstitutionContext, State, institution, platform
from shared_apps.tenants import hosts
from shared_apps.tenants.backups.due import figures
from shared_apps.tenants.middleware import gate
from shared_apps.tenants.migrating import institutions_behind
from shared_apps.tenants.models import Tenant
from tenant_apps.eventlog import outbox
from tenant_apps.eventlog.services import sweep_jobs

SWEEP_SECONDS = 5.0
AT_A_TIME = 100  # messages of one institution before the next one's turn
SCHEMAS_A_QUERY = 200
COUNT_SECONDS = 60.0  # between two looks for institutions whose migrations are behind
log = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Due:
    """An institution with something to do."""

    institution: InstitutionContext
    messages: bool
    jobs: bool


def find_due() -> Iterator[Due]:
    """The active institutions that have due messages or open jobs: one query for each 200 schemas (SCALE 10).

    Suspended, read-only and archived ones wait until they are resumed: carrying out writes.
    """
    with platform():
        active = Tenant.objects.filter(state=State.ACTIVE).prefetch_related("domains").order_by("pk")
        by_schema = {tenant.schema_name: tenant.context for tenant in active}
        names = list(by_schema)
        found: list[tuple[str, bool, bool]] = []
        for start in range(0, len(names), SCHEMAS_A_QUERY):
            found += _due_schemas(names[start : start + SCHEMAS_A_QUERY])
    for schema, messages, jobs in found:
        if messages or jobs:
            yield Due(by_schema[schema], messages, jobs)


def _due_schemas(names: list[str]) -> list[tuple[str, bool, bool]]:
    """(schema, due messages?, open jobs?) for each schema that has the tables."""
    with connection.cursor() as cursor:
        # An institution whose migrations are behind must not stop the others' messages.
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) AS name"
            " WHERE to_regclass(name || '.eventlog_outboxmessage') IS NOT NULL"
            " AND to_regclass(name || '.eventlog_job') IS NOT NULL",
            [names],
        )
        ready = [name for (name,) in cursor.fetchall()]
        if not ready:
            return []
        one = sql.SQL(
            "SELECT {name}, EXISTS (SELECT 1 FROM {schema}.eventlog_outboxmessage"
            " WHERE done_at IS NULL AND next_attempt_at <= {now}),"
            " EXISTS (SELECT 1 FROM {schema}.eventlog_job WHERE state IN ('pending', 'running'))"
        )
        now = sql.Literal(timezone.now())
        parts = [one.format(name=sql.Literal(name), schema=sql.Identifier(name), now=now) for name in ready]
        cursor.execute(sql.SQL(" UNION ALL ").join(parts).as_string(connection.connection))
        return cursor.fetchall()


def sweep() -> None:
    """One round over every institution, to the end of its due messages."""
    for due in find_due():
        while due.messages and visit(due.institution, carry_out_some):
            pass
        if due.jobs:
            visit(due.institution, sweep_jobs)


def carry_out_some() -> bool:
    """Carry out messages of the current institution; whether there are more."""
    return outbox.carry_out(most=AT_A_TIME) == AT_A_TIME


def visit(place: InstitutionContext, work: Callable[[], T]) -> T | None:
    """Do the work inside the institution. Its trouble is logged and stops no other institution's."""
    try:
        with institution(place), acting(task("relay")):
            return work()
    except Exception as error:
        log.error("relay_visit_failed", institution=place.slug, exc_info=error)
        connection.close()
        return None


class Relay:
    """The process: `run` works until `stop` is called from a signal handler or another thread."""

    def __init__(self) -> None:
        self._stopping = False
        self._counted: dict[str, int] = {}
        self._next_count = 0.0
        # Institution ids; empty to wake. A SimpleQueue may be filled by a signal handler, an Event may not.
        self._pokes: SimpleQueue[str] = SimpleQueue()

    def stop(self) -> None:
        self._stopping = True
        self._pokes.put("")

    def run(self) -> None:
        threading.Thread(target=self._listen, name="lyceum-relay-pokes", daemon=True).start()
        next_sweep = time.monotonic()
        waiting: dict[str, InstitutionContext] = {}
        log.info("relay_started")
        while not self._stopping:
            try:
                close_old_connections()
                if time.monotonic() >= next_sweep:
                    next_sweep = time.monotonic() + SWEEP_SECONDS
                    waiting |= self._sweep()
                waiting = self._carry_out(waiting)
                waiting |= self._poked(0.0 if waiting else max(0.0, next_sweep - time.monotonic()))
            except (DatabaseError, InterfaceError) as error:
                log.error("relay_database_trouble", error=str(error))
                connection.close()
                waiting = {}
                time.sleep(0.5)
        log.info("relay_stopped")

    def _sweep(self) -> dict[str, InstitutionContext]:
        """Institutions with due messages; jobs are looked after on the way."""
        with_messages = {}
        for due in find_due():
            if due.messages:
                with_messages[str(due.institution.id)] = due.institution
            if due.jobs:
                visit(due.institution, sweep_jobs)
        if time.monotonic() >= self._next_count:
            self._next_count = time.monotonic() + COUNT_SECONDS
            self._counted = {"institutions_behind": len(institutions_behind()), **figures()}
        vitals.report("relay", **self._counted, institutions_waiting=len(with_messages))
        return with_messages

    def _poked(self, seconds: float) -> dict[str, InstitutionContext]:
        """Institutions that were poked, after waiting up to so long for the first."""
        identities = set()
        with suppress(Empty):
            identities.add(self._pokes.get(timeout=seconds) if seconds else self._pokes.get_nowait())
            while True:
                identities.add(self._pokes.get_nowait())
        contexts = ((identity, hosts.by_id(identity)) for identity in identities if identity)
        return {identity: context for identity, context in contexts if context and gate(context, writes=True) is None}

    def _carry_out(self, waiting: dict[str, InstitutionContext]) -> dict[str, InstitutionContext]:
        """A turn for each; the ones that have more stay in line."""
        more = {}
        for identity, context in waiting.items():
            if self._stopping:
                break
            if visit(context, carry_out_some):
                more[identity] = context
        return more

    def _listen(self) -> None:
        """Collect pokes. While Redis is away, the sweeps alone do the work."""
        pause = 0.2
        while not self._stopping:
            try:
                client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, health_check_interval=30)
                with client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    pubsub.subscribe(outbox.poke_channel())
                    pause = 0.2
                    for message in pubsub.listen():
                        self._pokes.put(message["data"].decode())
            except (redis.RedisError, OSError) as error:
                log.warning("relay_hears_no_pokes", error=str(error))
                time.sleep(pause)
                pause = min(pause * 2, 5.0)
