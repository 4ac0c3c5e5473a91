"""Work as the owner role, which may change tables; the serving role may not."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Timer
from typing import Final

import psycopg
from django.conf import settings
from django.db import connections
from psycopg.pq import TransactionStatus

from shared_apps.core.context import WrongContext
from shared_apps.core.engine.base import DatabaseWrapper

KEPT_SECONDS: Final = 2
KEPT_USES: Final = 6
"""A backend makes its second to sixth schema 8 % sooner than its first: it knows the catalog. What it knows of each
schema piles up, and from the tenth on it is slower than a new one (measured, docs/adr/0045)."""


@dataclass(slots=True, eq=False)
class _Kept:
    """A connection that nobody uses just now, of this process."""

    owner: DatabaseWrapper
    uses: int
    since: float = field(default_factory=time.monotonic)
    process: int = field(default_factory=os.getpid)


_kept: list[_Kept] = []


@contextmanager
def owner_connection(database: str = "") -> Iterator[None]:
    """Run the block as the owner role. On another database of the same server when one is named.

    The thread's default connection is put aside and comes back afterwards, so the block must not be entered inside
    a transaction.
    """
    with closing(_owner(database)) as owner, _in_its_place(owner):
        yield


@contextmanager
def owner_ahead() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Connect as the owner beside what the block begins with: a connection is 4 ms of waiting. What is yielded is
    entered as `owner_connection()` is, once. A block that does not enter it does not wait for it.

    After a block that succeeds the connection is kept for whoever comes within two seconds: schools open in rows.
    """
    owner, uses = _take()
    beside = ThreadPoolExecutor(1, thread_name_prefix="lyceum-owner")
    opening = beside.submit(owner.ensure_connection)
    beside.shutdown(wait=False)
    worked = False

    @contextmanager
    def enter() -> Iterator[None]:
        nonlocal worked
        opening.result()
        with _in_its_place(owner):
            yield
        worked = True

    try:
        yield enter
    finally:
        if worked:
            _keep(owner, uses + 1)
        else:
            opening.add_done_callback(lambda _: owner.close())


def _take() -> tuple[DatabaseWrapper, int]:
    """A connection of the owner and how often it was used: one that was kept and answers, or one yet to be opened."""
    while _kept:
        try:
            last = _kept.pop()
        except IndexError:  # another thread was faster
            break
        if last.process == os.getpid():
            if time.monotonic() - last.since < KEPT_SECONDS and _ends_if_left_alone(last.owner, 0):
                return last.owner, last.uses
            last.owner.close()
    owner = _owner()
    owner.inc_thread_sharing()
    return owner, 0


def _keep(owner: DatabaseWrapper, uses: int) -> None:
    """Closed when its time is up; the server ends it where this process no longer can."""
    idle = owner.connection is not None and owner.connection.info.transaction_status == TransactionStatus.IDLE
    if not idle or uses >= KEPT_USES or not _ends_if_left_alone(owner, 2 * KEPT_SECONDS):
        owner.close()
        return
    kept = _Kept(owner, uses)
    _kept.append(kept)
    ending = Timer(KEPT_SECONDS, _close, [kept])
    ending.daemon = True
    ending.start()


def _close(kept: _Kept) -> None:
    with suppress(ValueError):  # somebody has taken it
        _kept.remove(kept)
        kept.owner.close()


def _ends_if_left_alone(owner: DatabaseWrapper, seconds: float) -> bool:
    """Whether it answers; after `seconds` without a word (0: never) the server ends it. The locks of its last user
    end now. Outside of Django's cursors: it is the connection's housekeeping."""
    housekeeping = "SELECT pg_advisory_unlock_all(), set_config('idle_session_timeout', %s, false)"
    try:
        owner.connection.execute(housekeeping, [f"{int(seconds * 1000)}ms"])
    except psycopg.Error:
        return False
    return True


def _owner(database: str = "") -> DatabaseWrapper:
    owner: DatabaseWrapper = connections.create_connection("default")
    owner.settings_dict = {**owner.settings_dict, "POOL_MODE": "SESSION", **settings.DATABASE_OWNER}
    if database:
        owner.settings_dict["NAME"] = database
    owner.hurried = False
    return owner


@contextmanager
def _in_its_place(owner: DatabaseWrapper) -> Iterator[None]:
    serving = connections["default"]
    if serving.in_atomic_block:
        raise WrongContext("owner_connection() was entered inside a transaction of the serving role.")
    connections["default"] = owner
    try:
        yield
    finally:
        connections["default"] = serving
