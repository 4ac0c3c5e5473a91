"""PostgreSQL away for half a minute while people of two institutions ask the web process as it is run."""

import os
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import httpx
import pytest
from django.db import connection, connections

from shared_apps.core.context import InstitutionContext, platform
from tests import cast
from tests.api import host_of
from tests.faults.outage import Line
from tests.realtime.sockets import SignIn
from tests.tasks import workers

AWAY_SECONDS = 30.0
READ = "/api/v1/school/students/?page_size=200"


@pytest.fixture
def line(committed: None) -> Iterator[Line]:
    with platform():
        connection.ensure_connection()
    with TemporaryDirectory(prefix="lyceum-line-") as directory:
        line = Line(Path(directory), connections.settings["default"])
        line.up()
        yield line
        line.down()


@pytest.fixture
def web(line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a web process whose only way to the database is the line."""
    database = connections.settings["default"]
    login = f"{quote(database['USER'])}:{quote(database['PASSWORD'])}"
    monkeypatch.setenv(
        "DATABASE_APP_URL", f"postgresql://{login}@/{database['NAME']}?host={quote(str(line.directory))}"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("PORT", str(port))
    options = f"--interface rsgi --no-ws --host 127.0.0.1 --port {port} --workers 2 --loop asyncio"
    with workers.process("-m", "granian", *options.split(), "platform_config.rsgi:application"):
        base = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while not answers(base):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield base


def answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


class People:
    """Each asks in a thread of their own and notes what was answered in which phase."""

    def __init__(self, base: str, askers: list[tuple[InstitutionContext, str]]) -> None:
        self.base, self.phase, self.over = base, "before", threading.Event()
        self.seen: dict[str, Counter[int]] = defaultdict(Counter)
        self.odd: list[str] = []
        self.slowest = 0.0
        self._threads = [threading.Thread(target=self._ask, args=asker) for asker in askers]

    def __enter__(self) -> "People":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self, place: InstitutionContext, token: str) -> None:
        own = str(cast.of(place).id("ada"))
        headers = {"Host": host_of(place), "Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=self.base, headers=headers, timeout=20) as client:
            while not self.over.is_set():
                phase, began = self.phase, time.monotonic()
                answer = client.get(READ)
                self.slowest = max(self.slowest, time.monotonic() - began)
                if phase == self.phase:
                    self.seen[phase][answer.status_code] += 1
                if answer.status_code == 503:
                    if not answer.headers.get("retry-after"):
                        self.odd.append(f"503 without Retry-After: {answer.text[:200]}")
                elif answer.status_code != 200 or own not in answer.text:
                    self.odd.append(f"{answer.status_code}: {answer.text[:200]}")
                time.sleep(0.02)


def test_half_a_minute_without_postgresql_is_503_and_then_as_before(
    line: Line, web: str, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn
) -> None:
    askers = [(place, sign_in(place, "principal").access) for place in (greenwood, lumiere) * 3]
    with People(web, askers) as people:
        time.sleep(3)
        people.phase = "going"
        line.down()
        time.sleep(0.5)
        people.phase = "away"
        time.sleep(AWAY_SECONDS / 2)
        assert httpx.get(f"{web}/health/ready").status_code == 503
        assert httpx.get(f"{web}/health/live").status_code == 200, "it is not restarted for that"
        time.sleep(AWAY_SECONDS / 2)
        people.phase = "coming back"
        line.up()
        time.sleep(2)
        people.phase = "after"
        time.sleep(3)
    assert people.odd == []
    assert {phase: set(people.seen[phase]) for phase in ("before", "away", "after")} == {
        "before": {200},
        "away": {503},
        "after": {200},
    }
    assert people.slowest < 10
    print({phase: dict(seen) for phase, seen in people.seen.items()}, f"slowest {people.slowest:.2f} s", os.cpu_count())
