"""PostgreSQL stopped in the middle of load: 503 with Retry-After while it is away, and recovery by itself.

The same for half a minute, with the processes as they are run, is in tests/faults/live.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.db import close_old_connections, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from shared_apps.core import health
from shared_apps.core.context import InstitutionContext, platform
from tests import cast
from tests.api import Asker, host_of
from tests.faults.outage import Line
from tests.realtime.sockets import SignIn

AWAY_SECONDS = 0.6
READ, WRITE = "/api/v1/school/students/?page_size=200", "/api/v1/academics/subjects/"


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


class Load:
    """People of two institutions who go on asking, each in a thread of their own, and note every answer."""

    def __init__(self, askers: list[tuple[InstitutionContext, Asker]]) -> None:
        self.phase, self.over = "before", threading.Event()
        self.seen: dict[str, Counter[int]] = defaultdict(Counter)
        self.odd: list[str] = []
        self.slowest = 0.0
        self._threads = [threading.Thread(target=self._ask, args=pair) for pair in askers]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads), "somebody waits for ever"

    def _ask(self, place: InstitutionContext, asker: Asker) -> None:
        own = str(cast.of(place).id("ada")).encode()
        try:
            while not self.over.is_set():
                phase, began = self.phase, time.monotonic()
                answer = asker.get(READ)
                close_old_connections()  # as Django does after a request; its test client does not
                self.slowest = max(self.slowest, time.monotonic() - began)
                if phase == self.phase:
                    self.seen[phase][answer.status_code] += 1
                if answer.status_code == 503:
                    problem = answer.json()
                    if not answer.headers.get("Retry-After") or problem["code"] != "unavailable":
                        self.odd.append(f"{problem} {dict(answer.headers)}")
                elif answer.status_code != 200 or own not in answer.content:
                    self.odd.append(f"{answer.status_code} {answer.content[:200]!r}")
                time.sleep(0.01)
        finally:
            connections.close_all()


@pytest.fixture
def load(line: Line, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn) -> Callable[[], Load]:
    pairs = [
        (place, Asker(host_of(place), token=sign_in(place, "principal").access)) for place in (greenwood, lumiere) * 2
    ]
    return lambda: Load(pairs)


def run(line: Line, load: Load, away_seconds: float) -> Load:
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
    line: Line, load: Callable[[], Load], greenwood: InstitutionContext
) -> None:
    done = run(line, load(), AWAY_SECONDS)
    assert done.odd == []
    assert set(done.seen["before"]) == {200}
    assert set(done.seen["away"]) == {503}
    assert set(done.seen["after"]) == {200}, "within half a second, and nobody did anything"
    assert min(sum(done.seen[phase].values()) for phase in ("before", "away", "after")) > 4
    assert done.slowest < 5


def test_a_connection_that_is_never_given_up_would_stay_dead(
    line: Line, load: Callable[[], Load], monkeypatch: pytest.MonkeyPatch
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
