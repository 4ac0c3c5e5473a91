"""What a person receives over the notifications socket: everything, in order, once."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import redis
from asgiref.sync import sync_to_async
from django.db import OperationalError

from realtime import consumers, middleware, watch
from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.eventlog import frames, jobs
from tenant_apps.eventlog.models import Job
from tests import cast
from tests.realtime.sockets import NOTIFICATIONS, SignIn, Socket

Tell = Callable[..., None]


def in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Synchronous code beside the event loop, as another process would run it."""
    return sync_to_async(function, thread_sensitive=False)(*arguments, **named)


def test_a_notification_arrives_while_the_socket_is_open(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, tell: Tell
) -> None:
    token = sign_in(greenwood).access
    tell(greenwood, "before")

    async def client() -> None:
        socket = Socket(application, greenwood, token=token)
        assert await socket.open() == 1
        await in_thread(tell, greenwood, "roster imported")
        frame = await socket.receive()
        assert (frame["type"], frame["seq"]) == ("notification", 2)
        assert frame["data"]["title"] == "roster imported"
        assert frame["data"]["data"] == {"about": "roster imported"}
        await socket.leave()

    asyncio.run(client())


def test_a_person_has_no_more_sockets_than_windows(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MOST_OF_A_PERSON", 2)
    teacher, principal = sign_in(greenwood).access, sign_in(greenwood, "principal").access

    async def client() -> None:
        held = [Socket(application, greenwood, token=teacher) for _ in range(2)]
        for socket in held:
            await socket.open()
        third = Socket(application, greenwood, token=teacher)
        assert await third.refused() == (4429, "too_many_sockets")
        other = Socket(application, greenwood, token=principal)
        await other.open()
        await held.pop().leave()
        again = Socket(application, greenwood, token=teacher)
        await again.open()
        for socket in (*held, other, again):
            await socket.leave()
        assert not watch._of_person

    asyncio.run(client())


def test_a_client_that_resumes_misses_nothing_and_gets_nothing_twice_while_more_arrives(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, tell: Tell
) -> None:
    token = sign_in(greenwood).access
    stored = [f"stored {number}" for number in range(1, 131)]
    tell(greenwood, *stored)
    arriving = [f"arriving {number}" for number in range(131, 191)]

    async def client() -> None:
        socket = Socket(application, greenwood, token=token)
        writer = asyncio.create_task(in_thread(tell, greenwood, *arriving))
        await socket.open()
        await socket.send({"type": "resume", "after": 7})
        received = await socket.events(183)
        await writer
        assert received == list(enumerate([*stored, *arriving], start=1))[7:]
        assert await socket.receive_nothing(timeout=0.2)
        await socket.leave()

    asyncio.run(client())


def test_the_handshake_itself_may_ask_to_resume(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, tell: Tell
) -> None:
    token = sign_in(greenwood).access
    tell(greenwood, "one", "two", "three")

    async def client() -> None:
        socket = Socket(application, greenwood, token=token, path=f"{NOTIFICATIONS}?after=1")
        assert await socket.open() == 3
        assert await socket.events(2) == [(2, "two"), (3, "three")]
        await socket.leave()

    asyncio.run(client())


def test_a_client_that_asks_for_what_is_not_there_yet_still_gets_what_comes_next(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, tell: Tell
) -> None:
    token = sign_in(greenwood).access
    tell(greenwood, "one")

    async def client() -> None:
        socket = Socket(application, greenwood, token=token)
        await socket.open()
        await socket.send({"type": "resume", "after": 1000})
        await asyncio.sleep(0.2)
        await in_thread(tell, greenwood, "two")
        assert await socket.events(1) == [(2, "two")]
        await socket.leave()

    asyncio.run(client())


def test_without_redis_or_database_a_socket_is_told_to_come_back(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = sign_in(greenwood).access

    class Away:
        async def new_channel(self) -> str:
            raise redis.ConnectionError("away")

    def no_database(token: str) -> None:
        raise OperationalError("away")

    async def refused() -> tuple[int, str]:
        return await Socket(application, greenwood, token=token).refused()

    with monkeypatch.context() as patch:
        patch.setattr(consumers, "get_channel_layer", Away)
        assert asyncio.run(refused()) == (4503, "unavailable")
    assert not watch._open
    monkeypatch.setattr(middleware, "principal_for_token", no_database)
    assert asyncio.run(refused()) == (4503, "unavailable")


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "the event inside the hint"])
def test_lost_hints_lose_no_event(
    application: Any,
    greenwood: InstitutionContext,
    sign_in: SignIn,
    tell: Tell,
    monkeypatch: pytest.MonkeyPatch,
    naive: bool,
) -> None:
    """Every second message of the channel layer is lost."""
    token = sign_in(greenwood).access
    turn, send = itertools.count(), frames._send

    def lossy(messages: Any) -> None:
        if next(turn) % 2:
            send(messages)

    monkeypatch.setattr(frames, "_send", lossy)
    if naive:
        numbers = itertools.count(1)

        def event_itself(users: Any) -> None:
            for user in users:
                number = next(numbers)
                frames.push(user, {"type": "notification", "seq": number, "data": {"id": number, "title": str(number)}})

        monkeypatch.setattr(frames, "hint", event_itself)
        monkeypatch.setattr(consumers, "_events_after", lambda user_id, seq: [])

    async def client() -> None:
        socket = Socket(application, greenwood, token=token)
        await socket.open()
        await in_thread(tell, greenwood, "1", "2", "3", "4")
        if naive:
            assert await socket.events(2) == [(2, "2"), (4, "4")]
        else:
            assert await socket.events(4) == [(1, "1"), (2, "2"), (3, "3"), (4, "4")]
        await socket.leave()

    asyncio.run(client())


def test_a_job_tells_how_far_it_is_without_a_number(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn
) -> None:
    token = sign_in(greenwood).access

    def run() -> Job:
        with institution(greenwood):
            job = Job.objects.create(kind="test", requested_by_id=cast.user_id("teacher"))
            frames.push(cast.user_id("teacher"), jobs.frame(job.pk, "running", 40, "Writing"))
            return job

    async def client() -> None:
        socket = Socket(application, greenwood, token=token)
        await socket.open()
        job = await in_thread(run)
        frame = await socket.receive()
        assert frame == {
            "type": "job",
            "data": {"id": str(job.pk), "state": "running", "progress": 40, "step": "Writing"},
        }
        await socket.leave()

    asyncio.run(client())


SENSELESS = [
    ("{", "not_json"),
    ("[]", "unknown_type"),
    ("null", "unknown_type"),
    ('{"type": "subscribe"}', "unknown_type"),
    ('{"type": "resume"}', "bad_after"),
    ('{"type": "resume", "after": -1}', "bad_after"),
    ('{"type": "resume", "after": "1"}', "bad_after"),
    ('{"type": "resume", "after": true}', "bad_after"),
    ('{"type": "resume", "after": 1.5}', "bad_after"),
    (f'{{"type": "resume", "after": {10**30}}}', "bad_after"),
    ('{"type": "resume", "after": 0, "x": "' + "x" * 5000 + '"}', "frame_too_large"),
    ("[" * 4000, "not_json"),
    (b"\x00\x01", "binary_frame"),
]


@pytest.mark.parametrize(("text", "code"), SENSELESS, ids=[f"{code}-{n}" for n, (_, code) in enumerate(SENSELESS)])
def test_a_senseless_frame_is_named_and_the_socket_stays(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, tell: Tell, text: str | bytes, code: str
) -> None:
    token = sign_in(greenwood).access

    async def client() -> None:
        socket = Socket(application, greenwood, token=token)
        await socket.open()
        await socket.send(text)
        frame = await socket.receive()
        assert (frame["type"], frame["data"]["code"]) == ("error", code)
        await in_thread(tell, greenwood, "still here")
        assert await socket.events(1) == [(1, "still here")]
        await socket.leave()

    asyncio.run(client())


def test_the_eleventh_senseless_frame_closes_the_socket(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn
) -> None:
    token = sign_in(greenwood).access

    async def client() -> None:
        socket = Socket(application, greenwood, token=token)
        await socket.open()
        for _ in range(11):
            await socket.send("{")
        assert (await socket.closed())[0] == 4400

    asyncio.run(client())


def test_a_reader_that_stalls_is_closed_and_costs_no_memory(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "STALLED_SECONDS", 1.0)
    token = sign_in(greenwood).access
    tell(greenwood, "one")
    waiting = []

    async def client() -> None:
        scope = Socket(application, greenwood, token=token, path=f"{NOTIFICATIONS}?after=0").handshake
        sent: list[dict[str, Any]] = []
        stuck = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not sent:
                return {"type": "websocket.connect"}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if "notification" in message.get("text", ""):
                stuck.set()
                await asyncio.Event().wait()

        notice = consumers.NotificationsConsumer._say_goodbye

        async def remember(self: Any, close: Any) -> None:
            waiting.append(len(self._passing))
            await notice(self, close)

        monkeypatch.setattr(consumers.NotificationsConsumer, "_say_goodbye", remember)
        serving = asyncio.create_task(application(scope, receive, send))
        await asyncio.wait_for(stuck.wait(), 10)
        await in_thread(flood, greenwood)
        await asyncio.wait_for(serving, 10)
        assert sent[-1] == {"type": "websocket.close", "code": 4408}

    asyncio.run(client())
    assert waiting == [consumers.MOST_PASSING]


def flood(place: InstitutionContext) -> None:
    with institution(place):
        user = cast.user_id("teacher")
        frames._send(
            [
                (user, {"type": "passing.frame", "frame": {"type": "job", "data": {"id": str(number)}}})
                for number in range(200)
            ]
        )


def test_the_port_answers_health_checks_and_nothing_else_over_http(application: Any) -> None:
    async def get(path: str) -> tuple[int, dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "path": path, "headers": [], "method": "GET", "query_string": b""}
        await application(scope, None, send)
        return sent[0]["status"], orjson.loads(sent[1]["body"])

    async def client() -> None:
        assert await get("/health/live") == (200, {"status": "live"})
        assert (await get("/health/ready"))[0] == 200
        status, body = await get("/api/v1/auth/me/")
        assert (status, body["code"]) == (404, "not_found")

    asyncio.run(client())
