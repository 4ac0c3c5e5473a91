"""Sockets of the cast, on the real application, PostgreSQL and Redis."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from asgiref.testing import ApplicationCommunicator
from django.db import connections, transaction

from realtime import database, routing
from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.accounts.models import User
from tenant_apps.accounts.sessions import Issued, open_session
from tenant_apps.communication.services import notify
from tenant_apps.eventlog import outbox
from tests import cast

NOTIFICATIONS = "/ws/v1/notifications/"


@pytest.fixture
def application(committed: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The ASGI application with threads of its own, whose connections end with the test."""
    pool = ThreadPoolExecutor(database.THREADS)
    monkeypatch.setattr(database, "pool", pool)
    yield routing.application()
    all_threads = threading.Barrier(database.THREADS)

    def let_go() -> None:
        all_threads.wait(5)
        connections.close_all()

    for _ in range(database.THREADS):
        pool.submit(let_go)
    pool.shutdown()


SignIn = Callable[..., Issued]


@pytest.fixture
def sign_in(committed: None) -> SignIn:
    """Opens a session of one of the cast: `sign_in(greenwood, "teacher")`."""

    def signer(place: InstitutionContext, role: str = "teacher") -> Issued:
        with institution(place):
            return open_session(user=User.objects.get(pk=cast.user_id(role)), address=None, user_agent="test")

    return signer


@pytest.fixture
def tell(committed: None) -> Callable[..., None]:
    """Notifies one of the cast and lets the relay carry it out."""

    def teller(place: InstitutionContext, *titles: str, role: str = "teacher") -> None:
        with institution(place):
            for title in titles:
                with transaction.atomic():
                    notify(recipients=[cast.user_id(role)], kind="test", title=title, data={"about": title})
                outbox.carry_out()

    return teller


class Socket(ApplicationCommunicator):
    """A client's side of a socket."""

    def __init__(
        self, application: Any, place: InstitutionContext, *, token: str = "", path: str = NOTIFICATIONS, **headers: str
    ) -> None:
        sent = {"host": f"{place.slug}.localhost:8001", **headers}
        if token:
            sent["authorization"] = f"Bearer {token}"
        parts = urlsplit(path)
        self.handshake = {
            "type": "websocket",
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "subprotocols": [],
        }
        super().__init__(application, self.handshake)

    async def connect(self) -> None:
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(timeout=10)
        assert answer["type"] == "websocket.accept", "closed before the accept, a browser sees 1006 only"

    async def open(self) -> int:
        """Connect; the last seq that `ready` tells."""
        await self.connect()
        frame = await self.receive()
        assert frame["type"] == "ready", frame
        return frame["data"]["last_seq"]

    async def receive(self) -> dict[str, Any]:
        """The next frame."""
        message = await self.receive_output(timeout=10)
        assert message["type"] == "websocket.send", message
        return orjson.loads(message["text"])

    async def send(self, frame: str | bytes | dict[str, Any]) -> None:
        if isinstance(frame, dict):
            frame = orjson.dumps(frame).decode()
        kind = "bytes" if isinstance(frame, bytes) else "text"
        await self.send_input({"type": "websocket.receive", kind: frame})

    async def refused(self) -> tuple[int, str]:
        """Connect to be refused: (close code, problem code)."""
        await self.connect()
        return await self.closed()

    async def closed(self) -> tuple[int, str]:
        """Read to the end: (close code, problem code of the last `refused` frame)."""
        problem = ""
        while True:
            message = await self.receive_output(timeout=10)
            if message["type"] == "websocket.close":
                return message["code"], problem
            frame = orjson.loads(message["text"])
            if frame["type"] == "refused":
                problem = frame["data"]["code"]

    async def events(self, number: int) -> list[tuple[int, str]]:
        """The next so many notifications: (seq, title)."""
        found: list[tuple[int, str]] = []
        while len(found) < number:
            frame = await self.receive()
            if frame["type"] == "notification":
                found.append((frame["seq"], frame["data"]["title"]))
        return found

    async def leave(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(timeout=10)
