"""The sealer: chains what the institutions' logs have taken in, within a second, and anchors the chains' heads.

It runs as a thread of the relay's process: it works little, and a process of its own would cost 90 MB. Any number may
run; a chain has one writer at a time, and an entry whose transaction commits late is sealed when it has.
"""

import threading
import time
from collections.abc import Iterator
from uuid import UUID

import structlog
from django.db import close_old_connections, connection
from psycopg import sql

from shared_apps.core import vitals
from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.tenants.services import every_institution
from tenant_apps.audit.anchors import Head, anchor, last_anchor
from tenant_apps.audit.chain import AT_A_TIME, seal_some

LOOK_SECONDS = 0.5
ANCHOR_SECONDS = 10.0
SCHEMAS_A_QUERY = 200
WAITING = "SELECT {name}, EXISTS (SELECT 1 FROM {schema}.audit_entry WHERE seq IS NULL)"
HEADS = "(SELECT {name}, seq, link FROM {schema}.audit_entry WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1)"
log = structlog.get_logger(__name__)


def _ask(question: str) -> Iterator[tuple[InstitutionContext, tuple]]:
    """The answer of each institution that has a log: one query for each 200 schemas (SCALE 10)."""
    with platform():
        by_schema = {place.schema_name: place for place in every_institution()}
        names, found = list(by_schema), []
        for start in range(0, len(names), SCHEMAS_A_QUERY):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name || '.audit_entry') IS NOT NULL",
                    [names[start : start + SCHEMAS_A_QUERY]],
                )
                one = sql.SQL(question)
                parts = [
                    one.format(name=sql.Literal(name), schema=sql.Identifier(name)) for (name,) in cursor.fetchall()
                ]
                if parts:
                    cursor.execute(sql.SQL(" UNION ALL ").join(parts).as_string(connection.connection))
                    found += cursor.fetchall()
    for schema, *answer in found:
        yield by_schema[schema], tuple(answer)


def seal_everywhere() -> int:
    """One round: every committed entry of every institution is chained. How many there were."""
    sealed = 0
    for place, (waiting,) in _ask(WAITING):
        if waiting:
            sealed += _seal(place)
    return sealed


def _seal(place: InstitutionContext) -> int:
    """Chain all that one institution has waiting. Its trouble is logged and stops no other institution's."""
    sealed = 0
    try:
        with institution(place):
            while some := seal_some():
                sealed += some
                if some < AT_A_TIME:
                    break
    except Exception as error:
        log.error("sealing_failed", institution=place.slug, exc_info=error)
        connection.close()
    return sealed


def anchor_everywhere(known: dict[UUID, Head | None]) -> int:
    """Anchor every head that has moved since; how many had. `known` is what the caller remembers between rounds."""
    moved = 0
    for place, (seq, link) in _ask(HEADS):
        if place.id not in known:
            known[place.id] = last_anchor(place.id)
        head = Head(seq, bytes(link))
        if known[place.id] != head:
            anchor(place.id, head)
            known[place.id] = head
            moved += 1
    return moved


class Sealer:
    """`run` works until `stop` is called from another thread."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._anchored: dict[UUID, Head | None] = {}

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        next_anchor = time.monotonic()
        log.info("sealer_started")
        while not self._stopping.is_set():
            try:
                close_old_connections()
                seal_everywhere()
                if time.monotonic() >= next_anchor:
                    next_anchor = time.monotonic() + ANCHOR_SECONDS
                    anchor_everywhere(self._anchored)
                    vitals.report("sealer")
            except Exception as error:  # the thread must outlive whatever a round meets
                log.error("sealer_trouble", exc_info=error)
                connection.close()
            self._stopping.wait(LOOK_SECONDS)
        connection.close()
        log.info("sealer_stopped")
