"""Work that is killed by SIGKILL at a point of one's choice: before the n-th statement or commit of its process.

The process is a fork of the test's, so that it costs no start; what it has open when it dies, the server closes.
"""

import mmap
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from shared_apps.core.context import platform

SECONDS = 60.0
NEVER = sys.maxsize
BESIDE = "lyceum-provisioning"  # tells how far a making is, as often as it can: not the same number of times
Work = Callable[[], Any]


class Points:
    """Counts the points at which the forked process may die, and dies at the chosen one."""

    def __init__(self, fatal: int) -> None:
        self._fatal, self._lock = fatal, threading.Lock()
        self._seen = mmap.mmap(-1, 8)  # shared with the parent

    @property
    def seen(self) -> int:
        return int.from_bytes(self._seen[:8], "little")

    def reached(self) -> None:
        if threading.current_thread().name.startswith(BESIDE):
            return
        with self._lock:
            number = self.seen + 1
            self._seen[:8] = number.to_bytes(8, "little")
            if number == self._fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """From here on every statement and commit of this process is a point."""
        execute, commit = CursorWrapper._execute_with_wrappers, BaseDatabaseWrapper._commit
        points = self

        def watched_execute(self: CursorWrapper, *arguments: Any, **named: Any) -> Any:
            points.reached()
            return execute(self, *arguments, **named)

        def watched_commit(self: BaseDatabaseWrapper) -> Any:
            points.reached()
            return commit(self)

        CursorWrapper._execute_with_wrappers = watched_execute  # type: ignore[method-assign]
        BaseDatabaseWrapper._commit = watched_commit  # type: ignore[method-assign]


def points_of(work: Work) -> int:
    """Do the work to its end, in a process of its own; how many points it has."""
    points = _fork(work, NEVER)
    assert points is not None
    return points.seen


def killed_at(point: int, work: Work) -> bool:
    """Do the work in a process that is killed at the point. False when it came to its end before."""
    return _fork(work, point) is None


def _fork(work: Work, fatal: int) -> Points | None:
    points = Points(fatal)
    before = _others()
    connections.close_all()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ContentType.objects.clear_cache()  # what this process remembers would be points that the next lacks
            points.watch()
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - nothing of the child may go on as the parent
            traceback.print_exc()
        finally:
            os._exit(code)
    status = _awaited(child)
    _until_none_is_left_but(before)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.waitstatus_to_exitcode(status) == 0, "the work failed by itself"
    return points


def _awaited(child: int) -> int:
    deadline = time.monotonic() + SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"The work did not end within {SECONDS} s.")
        time.sleep(0.005)


def _others() -> set[int]:
    """Who else has the database open: a thread that has served another test may keep its connection."""
    with platform(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        return {pid for (pid,) in cursor.fetchall()}


def _until_none_is_left_but(before: set[int]) -> None:
    """The server notices that the process is gone: its transactions are undone, its locks free."""
    deadline = time.monotonic() + SECONDS
    while _others() - before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def seeded(points: int, number: int, *, seed: int = 2026, first: int = 1) -> Iterator[int]:
    """So many of the points from `first` on, the same at every run, in their order."""
    yield from sorted(Random(seed).sample(range(first, points + 1), min(number, points + 1 - first)))
