"""Real processes of the platform for tests: they have sessions of their own and none outlives its test."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from shared_apps.core import bus
from tests.tasks.bodies import REACHED

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m <command>` in a process group of its own, killed at the end with everything it started."""
    started = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        kill(started)


def kill(started: "subprocess.Popen[bytes]") -> None:
    """kill -9 of the whole group: the worker and its pool at the same moment."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def worker() -> "contextlib.AbstractContextManager[subprocess.Popen[bytes]]":
    options = "--concurrency 1 --without-gossip --without-mingle --without-heartbeat -l error -I tests.tasks.bodies"
    return process("-m", "celery", "-A", "tasks.app:app", "worker", *options.split())


def relay() -> "contextlib.AbstractContextManager[subprocess.Popen[bytes]]":
    return process("manage.py", "relay")


def reached(key: object, seconds: float = 15) -> str:
    """What the process reports next under this key. Raises AssertionError when it stays silent."""
    deadline = time.monotonic() + seconds
    while (found := bus.client().lpop(REACHED.format(key))) is None:
        assert time.monotonic() < deadline, f"nothing was reported for {key} within {seconds} s"
        time.sleep(0.02)
    return found.decode()
