"""PostgreSQL stopped in the middle of load: 503 with Retry-After while it is away, and recovery by itself.

The same for half a minute, with the processes as they are run, is in tests/faults/live.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.db import close_old_connections, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from shared_apps.core import health
from shared_apps.core.context import InstitutionContext, platform
from tests.api import Asker, host_of
from tests.faults.asking import READ, Answer, Ask, Asking
from tests.faults.outage import Line
from tests.realtime.sockets import SignIn

AWAY_SECONDS = 0.6
WRITE = "/api/v1/academics/subjects/"


@pytest.fixture
def line(committed: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """Threads that begin from here on reach the database by this line."""
    with platform():
        connection.ensure_connection()  # this thread's own is not cut off: it looks on
    with TemporaryDirectory(prefix="lyceum-line-") as directory:
        line = Line(Path(directory), connections.settings["default"])
        line.up()
        monkeypatch.setitem(connections.settings["default"], "HOST", directory)
        monkeypatch.setitem(connections.settings["default"], "PORT", "5432")
        yield line
        line.down()


@contextmanager
def within_this_process(asker: Asker) -> Iterator[Ask]:
    def ask() -> Answer:
        answer = asker.get(READ)
        close_old_connections()  # as Django does after a request; its test client does not
        return Answer(answer.status_code, answer.headers, answer.content)

    try:
        yield ask
    finally:
        connections.close_all()


@pytest.fixture
def load(
    line: Line, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn
) -> Callable[[], Asking]:
    tokens = [(place, sign_in(place, "principal").access) for place in (greenwood, lumiere) * 2]
    return lambda: Asking(
        [(place, within_this_process(Asker(host_of(place), token=token))) for place, token in tokens], pause=0.01
    )


def run(line: Line, load: Asking, away_seconds: float) -> Asking:
    """Load before, during and after."""
    with load:
        time.sleep(0.5)
        load.phase = "going"
        line.down()
        time.sleep(0.1)
        load.phase = "away"
        time.sleep(away_seconds)
        load.phase = "coming back"
        line.up()
        time.sleep(0.5)
        load.phase = "after"
        time.sleep(0.5)
    return load


def test_while_the_database_is_away_everybody_is_told_to_come_back_and_then_is_served(
    line: Line, load: Callable[[], Asking], greenwood: InstitutionContext
) -> None:
    done = run(line, load(), AWAY_SECONDS)
    assert done.odd == []
    found = done.statuses("before", "away", "after")
    assert found == [{200}, {503}, {200}], "within half a second, and nobody did anything"
    assert min(sum(done.seen[phase].values()) for phase in ("before", "away", "after")) > 4
    assert done.slowest < 5


def test_a_connection_that_is_never_given_up_would_stay_dead(
    line: Line, load: Callable[[], Asking], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr(BaseDatabaseWrapper, "close_if_unusable_or_obsolete", lambda self: None)
    done = run(line, load(), 0.2)
    assert 200 not in done.seen["after"]


def test_health_says_so(line: Line, greenwood: InstitutionContext) -> None:
    answers: list[int] = []

    def ask() -> None:
        for act in (lambda: None, line.down, line.up):
            act()
            answers.append(health.answer("/health/ready").status_code)
        connections.close_all()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(20)
    assert answers == [200, 503, 200]
