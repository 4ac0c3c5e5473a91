"""PostgreSQL away for half a minute while people of two institutions ask the web process as it is run."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import httpx
import pytest
from django.db import connection, connections

from shared_apps.core.context import InstitutionContext, platform
from tests.api import host_of
from tests.faults.asking import READ, Answer, Ask, Asking
from tests.faults.outage import Line
from tests.realtime.sockets import SignIn
from tests.tasks import workers

AWAY_SECONDS = 30.0


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


@contextmanager
def over_http(base: str, place: InstitutionContext, token: str) -> Iterator[Ask]:
    headers = {"Host": host_of(place), "Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=base, headers=headers, timeout=20) as client:

        def ask() -> Answer:
            answer = client.get(READ)
            return Answer(answer.status_code, answer.headers, answer.content)

        yield ask


def test_half_a_minute_without_postgresql_is_503_and_then_as_before(
    line: Line, web: str, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn
) -> None:
    askers = [(place, over_http(web, place, sign_in(place, "principal").access)) for place in (greenwood, lumiere) * 3]
    with Asking(askers, pause=0.02) as people:
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
    assert people.statuses("before", "away", "after") == [{200}, {503}, {200}]
    assert people.slowest < 10
    print({phase: dict(seen) for phase, seen in people.seen.items()}, f"slowest {people.slowest:.2f} s", os.cpu_count())
