"""What the web process answers when its threads are all taken, and when one of its workers dies."""

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from platform_config import rsgi
from tests.platform_config.test_bodies import ask, web_command
from tests.tasks import workers


class Protocol:
    """What granian gives the application to answer with."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 0, dict[str, str](), b""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = status, dict(headers), body


def scope(path: str) -> Any:
    return SimpleNamespace(
        method="GET", path=path, query_string="", server="127.0.0.1:80", client="127.0.0.1:1", http_version="1.1",
        scheme="http", headers={}, authority=None,
    )  # fmt: skip


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Whoever asks the database waits for this event; "live" does not ask it."""
    answers = threading.Event()

    def application(environ: dict[str, Any], start: Callable[..., None]) -> list[bytes]:
        if environ["PATH_INFO"] != "/health/live":
            answers.wait(20)
        start("200 OK", [])
        return [b"answered"]

    monkeypatch.setattr(rsgi, "wsgi_application", application)
    monkeypatch.setattr(rsgi, "MOST_WAIT", 0.3)
    monkeypatch.setattr(rsgi, "HEALTH_WAIT", 0.2)
    yield answers
    answers.set()


def test_who_finds_no_thread_is_asked_to_come_back_and_health_is_answered(hung: threading.Event) -> None:
    application = rsgi.Application()

    async def asked(path: str) -> Protocol:
        protocol = Protocol()
        await application.__rsgi__(scope(path), protocol)
        return protocol

    async def trial() -> None:
        begun = [asyncio.create_task(asked("/")) for _ in range(rsgi.THREADS)]
        await asyncio.sleep(0.05)
        waiting, ready, live, again = await asyncio.gather(
            *map(asked, ("/", "/health/ready", "/health/live", "/health/ready/"))
        )
        for refused in (waiting, ready, again):
            assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
            assert json.loads(refused.body)["code"] == "unavailable"
        assert live.status == 200
        assert not any(task.done() for task in begun), "what has begun is not given up"
        hung.set()
        assert [(await task).status for task in begun] == [200] * rsgi.THREADS
        assert (await asked("/")).status == (await asked("/health/ready")).status == 200, "negative control"

    asyncio.run(trial())


@contextmanager
def web(*without: str) -> Iterator[tuple[int, Any]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [word for word in web_command(port) if word not in without]
    words[words.index("--workers-kill-timeout") + 1] = "1"  # one that has not quite begun hears of nothing before
    with workers.process(*words) as started:
        until(lambda: ask(port, "GET", "/health/live").status == 200 and len(workers_of(started)) == 2)
        yield port, started


def workers_of(started: Any) -> list[psutil.Process]:
    children = [one for one in psutil.Process(started.pid).children() if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in children if "resource_tracker" not in " ".join(one.cmdline())]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_worker_that_is_killed_is_replaced_and_the_other_goes_on(committed: None) -> None:
    with web() as (port, started):
        victim, other = workers_of(started)
        os.kill(victim.pid, signal.SIGKILL)
        until(lambda: len({one.pid for one in workers_of(started)} - {victim.pid}) == 2)
        assert other.pid in {one.pid for one in workers_of(started)}
        until(lambda: ask(port, "GET", "/health/live").status == 200)
        assert started.poll() is None


def test_without_being_told_so_granian_ends_them_all(committed: None) -> None:
    """Negative control."""
    with web("--respawn-failed-workers") as (_, started):
        os.kill(workers_of(started)[0].pid, signal.SIGKILL)
        started.wait(30)
