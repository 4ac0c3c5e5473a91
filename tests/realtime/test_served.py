"""The realtime process as it is run: granian, real handshakes, real TCP."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from asgiref.sync import sync_to_async
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.accounts.sessions import end_sessions
from tenant_apps.eventlog.services import start_job
from tests import cast
from tests.realtime.sockets import NOTIFICATIONS, SignIn
from tests.tasks import bodies, workers

Tell = Callable[..., None]


@pytest.fixture(scope="module")
def served(django_db_setup: None) -> Iterator[int]:
    """The port of a realtime process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    options = f"--interface asgi --ws --host 127.0.0.1 --port {number} --workers 1 --loop asyncio --no-log"
    with workers.process("-m", "granian", *options.split(), "platform_config.asgi:application"):
        deadline = time.monotonic() + 15
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", number)) == 0:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield number


@pytest.fixture
def port(served: int, committed: None) -> int:
    return served


def handshake(port: int, place: InstitutionContext, token: str, query: str = "", **more: Any) -> connect:
    """A client's connection to an institution's host on this machine."""
    return connect(
        f"ws://{place.slug}.localhost:{port}{NOTIFICATIONS}{query}",
        host="127.0.0.1",
        port=port,
        additional_headers={"Authorization": f"Bearer {token}"} if token else {},
        **more,
    )


async def titles(client: ClientConnection, number: int) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    while len(found) < number:
        frame = orjson.loads(await asyncio.wait_for(client.recv(), 15))
        if frame["type"] == "notification":
            found.append((frame["seq"], frame["data"]["title"]))
    return found


def beside(function: Callable[..., Any], *arguments: Any) -> Any:
    return sync_to_async(function, thread_sensitive=False)(*arguments)


def test_sockets_of_two_institutions_are_served_side_by_side(
    port: int, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn, tell: Tell
) -> None:
    tokens = {place.slug: sign_in(place).access for place in (greenwood, lumiere)}
    places = [greenwood, lumiere] * 10

    async def run() -> None:
        async with asyncio.timeout(40):
            clients = [await handshake(port, place, tokens[place.slug], "?after=0") for place in places]
            for place in (greenwood, lumiere):
                await beside(lambda place=place: tell(place, *(f"{place.slug} {n}" for n in range(1, 11))))
            for place, client in zip(places, clients, strict=True):
                assert await titles(client, 10) == [(n, f"{place.slug} {n}") for n in range(1, 11)]
                await client.close()

    asyncio.run(run())


def test_a_browser_sees_why_it_was_refused_and_when_its_session_ends(
    port: int, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn
) -> None:
    session = sign_in(greenwood)

    async def refused(place: InstitutionContext, token: str) -> tuple[int, str]:
        async with handshake(port, place, token) as client:
            frame = orjson.loads(await client.recv())
            assert frame["type"] == "refused"
            with pytest.raises(ConnectionClosed):
                await client.recv()
            return client.close_code, frame["data"]["code"]

    def end() -> None:
        with institution(greenwood):
            end_sessions(user_id=cast.user_id("teacher"), reason="test")

    async def run() -> None:
        async with asyncio.timeout(40):
            assert await refused(greenwood, "") == (4401, "unauthenticated")
            assert (await refused(lumiere, session.access))[0] == 4401
            async with handshake(port, greenwood, session.access) as client:
                assert orjson.loads(await client.recv())["type"] == "ready"
                await asyncio.sleep(0.5)
                began = time.monotonic()
                await beside(end)
                assert orjson.loads(await client.recv())["data"]["code"] == "session_over"
                with pytest.raises(ConnectionClosed):
                    await client.recv()
                assert client.close_code == 4401
                assert time.monotonic() - began < 2

    asyncio.run(run())


def test_a_job_is_followed_over_the_socket_from_start_to_notification(
    port: int, greenwood: InstitutionContext, sign_in: SignIn
) -> None:
    """The whole chain: outbox, relay, broker, worker, progress, notification, socket."""
    token = sign_in(greenwood).access

    def start() -> None:
        with institution(greenwood):
            start_job(kind=bodies.TELLS, parameters={}, requested_by=cast.user_id("teacher"))

    async def run() -> list[tuple[Any, ...]]:
        seen: list[tuple[Any, ...]] = []
        async with asyncio.timeout(40), handshake(port, greenwood, token, "?after=0") as client:
            assert orjson.loads(await client.recv())["type"] == "ready"
            await beside(start)
            while not {"notification", "succeeded"} <= {step for frame in seen for step in frame}:
                frame = orjson.loads(await client.recv())
                data = frame["data"]
                seen.append((frame["type"], data["title"]) if "title" in data else (data["state"], data["progress"]))
        return seen

    with workers.relay(), workers.worker():
        seen = asyncio.run(run())
    assert ("running", 40) in seen
    assert ("succeeded", 100) in seen
    assert seen.count(("notification", "Roster imported")) == 1
    assert seen.index(("running", 40)) < seen.index(("succeeded", 100))
