"""The notifications socket: a person's numbered events, in order, without gap or repeat.

The database decides what is sent and in which order; a hint over the channel layer only says that there is more. So
what waits for a slow reader are rows, not memory, and lost hints cost seconds.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import orjson
import redis
import structlog
from channels.layers import get_channel_layer
from django.db import DatabaseError, InterfaceError

from realtime import watch
from realtime.database import in_thread
from realtime.refusals import BAD_FRAMES, DEFECT, STALLED, Close, Receive, Send, problem_frame, text_frame
from shared_apps.core.context import InstitutionContext
from shared_apps.core.errors import Invalid, NotFound, Problem, TooMany, Unauthenticated, Unavailable
from shared_apps.core.permissions import Principal
from shared_apps.tenants import hosts
from shared_apps.tenants.middleware import gate
from tenant_apps.accounts.authentication import principal_for_session
from tenant_apps.eventlog import frames
from tenant_apps.eventlog.models import Stream, StreamEvent

log = structlog.get_logger("lyceum.socket")

FRAME_CHARACTERS = 4096
MOST_BAD_FRAMES = 10
MOST_PASSING = 32  # jobs whose latest progress waits for a slow reader
EVENTS_A_QUERY = 100
STALLED_SECONDS = 15.0
RECHECK_SECONDS = 30.0
RESUME_SECONDS = 1.0
"""So long live events wait for a client that wants to resume first; otherwise they would overtake what it missed."""
RETRY_SECONDS = 2.0
LARGEST_SEQ = 2**63 - 1


class ClientLeft(Exception):
    """The other side closed the socket."""


class NotificationsConsumer:
    """One open socket: four loops of which the first to end ends all."""

    @classmethod
    async def application(cls, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """The ASGI application."""
        await cls(scope, receive, send).serve()

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.institution: InstitutionContext = scope["institution"]
        self.principal: Principal = scope["principal"]
        self._after = _seq_of(parse_qs(scope.get("query_string", b"").decode("latin-1")).get("after", [""])[0])
        self._receive, self._base_send = receive, send
        self._sent = 0  # the last seq that this socket has sent
        self._resume_after: int | None = None
        self._errors: deque[dict[str, Any]] = deque(maxlen=MOST_BAD_FRAMES)
        self._passing: dict[str, dict[str, Any]] = {}
        self._bad_frames = 0
        self._wake = asyncio.Event()
        self._heard = asyncio.Event()
        self._watched = watch.Watched(self.institution.id, self.principal.user_id)

    async def serve(self) -> None:
        message = await self._receive()
        if message["type"] != "websocket.connect":
            return
        await self._base_send({"type": "websocket.accept"})
        try:
            watch.add(self._watched)
        except TooMany as refused:
            await self._say_goodbye(Close.because(refused))
            return
        try:
            close = await self._listen_and_serve()
        except (redis.RedisError, OSError) as error:
            log.warning("socket_without_redis", error=str(error))
            close = Close.because(Unavailable("Live updates are unavailable for the moment."))
        finally:
            watch.remove(self._watched)
        if close is not None:
            await self._say_goodbye(close)

    async def _listen_and_serve(self) -> Close | None:
        layer = get_channel_layer()
        channel = await layer.new_channel()
        group = frames.group(self.institution.id, self.principal.user_id)
        try:
            await layer.group_add(group, channel)
            return await self._first_to_end(self._read(), self._hear(layer, channel), self._write(), self._recheck())
        finally:
            with suppress(redis.RedisError, OSError):  # gone with the connection
                await layer.group_discard(group, channel)

    async def _first_to_end(self, *loops: Any) -> Close | None:
        """Run the loops until one ends; how the socket is to be closed, None when the client has left."""
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        error = next(task.exception() for task in done)
        if isinstance(error, ClientLeft):
            return None
        if isinstance(error, Close):
            return error
        log.error("socket_defect", user=str(self.principal.user_id), exc_info=error)
        return Close(DEFECT)

    async def _say_goodbye(self, close: Close) -> None:
        log.info("socket_closed", user=str(self.principal.user_id), code=close.code)
        # The other side may be gone, or not reading: then nobody misses the words.
        with suppress(Exception):
            async with asyncio.timeout(1.0):
                if close.problem is not None and close.code != STALLED:
                    await self._base_send(text_frame(problem_frame("refused", close.problem)))
                await self._base_send({"type": "websocket.close", "code": close.code})

    # What the client says ---------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                raise ClientLeft
            self._heard.set()
            try:
                self._obey(message)
            except Problem as problem:
                self._bad_frames += 1
                if self._bad_frames > MOST_BAD_FRAMES:
                    raise Close(BAD_FRAMES, Invalid("Too many frames that make no sense.", code="bad_frames")) from None
                self._errors.append(problem_frame("error", problem))
            self._wake.set()

    def _obey(self, message: dict[str, Any]) -> None:
        """Raises Invalid for a frame that makes no sense."""
        text = message.get("text")
        if text is None:
            raise Invalid("Send JSON as a text frame.", code="binary_frame")
        if len(text) > FRAME_CHARACTERS:
            raise Invalid(f"A frame has at most {FRAME_CHARACTERS} characters.", code="frame_too_large")
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise Invalid("The frame is not JSON.", code="not_json") from None
        if not isinstance(frame, dict) or frame.get("type") != "resume":
            raise Invalid('Send {"type": "resume", "after": <seq>}.', code="unknown_type")
        after = frame.get("after")
        if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after <= LARGEST_SEQ:
            raise Invalid("`after` is the last seq that you have, a whole number from 0.", code="bad_after")
        self._resume_after = after

    # What the platform says -------------------------------------------------------------------------------------

    async def _hear(self, layer: Any, channel: str) -> None:
        """Empties the layer's queue at once, so that it never grows; what is noted here is bounded."""
        while True:
            message = await layer.receive(channel)
            if message["type"] == "passing.frame":
                frame = message["frame"]
                key = str(frame["data"]["id"])
                self._passing.pop(key, None)
                while len(self._passing) >= MOST_PASSING:
                    self._passing.pop(next(iter(self._passing)))
                self._passing[key] = frame
            self._wake.set()

    async def _write(self) -> None:
        """The only loop that sends."""
        last = await self._from_database(_last_seq, self.principal.user_id)
        self._sent = last if self._after is None else min(self._after, last)
        await self._send({"type": "ready", "data": {"last_seq": last}})
        if self._after is None:
            await _first(self._heard, RESUME_SECONDS)
        while True:
            self._wake.clear()
            while self._errors:
                await self._send(self._errors.popleft())
            while self._passing:
                await self._send(self._passing.pop(next(iter(self._passing))))
            if await self._send_events():
                continue
            await self._wake.wait()

    async def _send_events(self) -> bool:
        """Send the next stored events; whether there may be more."""
        if self._resume_after is not None:
            asked, self._resume_after = self._resume_after, None
            # Nobody has a number that wasn't given out yet: it would keep the next events from being sent.
            self._sent = min(asked, await self._from_database(_last_seq, self.principal.user_id))
        events = await self._from_database(_events_after, self.principal.user_id, self._sent)
        for event in events:
            if self._resume_after is not None:
                return True
            await self._send(event)
            self._sent = event["seq"]
        return len(events) == EVENTS_A_QUERY

    async def _send(self, frame: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._base_send(text_frame(frame))
        except TimeoutError:
            raise Close(STALLED) from None

    async def _from_database(self, function: Any, *arguments: Any) -> Any:
        """One retry on a new connection: the old one may have died with a restarted server."""
        try:
            return await in_thread(function, *arguments)
        except (DatabaseError, InterfaceError) as error:
            log.warning("socket_database_trouble", error=str(error))
            await asyncio.sleep(RETRY_SECONDS)
            return await in_thread(function, *arguments)

    # Whether it may stay open -----------------------------------------------------------------------------------

    async def _recheck(self) -> None:
        """At once (a change between sign-in and `watch.add` was told to nobody), at every word, and by the clock."""
        while True:
            self._watched.look_again.clear()
            refusal = await self._from_database(_refusal, self.institution, self.principal)
            if refusal is not None:
                raise Close.because(refusal)
            await _first(self._watched.look_again, RECHECK_SECONDS)
            self._wake.set()  # by the clock, so that a lost hint is made good


async def _first(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event or the time. Not `asyncio.wait_for`: Python 3.11's swallows a cancellation that comes
    together with the event, and the loop would live on."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _seq_of(text: str) -> int | None:
    """`?after=`: like a resume frame sent with the handshake. None when absent or senseless."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _last_seq(user_id: UUID) -> int:
    return Stream.objects.filter(recipient_id=user_id).values_list("last_seq", flat=True).first() or 0


def _events_after(user_id: UUID, seq: int) -> list[dict[str, Any]]:
    return [event.frame for event in StreamEvent.objects.after(user_id, seq)[:EVENTS_A_QUERY]]


def _refusal(place: InstitutionContext, principal: Principal) -> Problem | None:
    """Why an open socket may not stay, read now; None when it may."""
    now = hosts.by_id(str(place.id))
    if now is None:
        return NotFound("No institution lives at this address.", code="unknown_host")
    closed = gate(now, writes=False)
    if closed is not None:
        return closed
    try:
        known = principal_for_session(principal.session_id)
    except Unauthenticated as problem:
        return problem
    if known.version != principal.version:
        return Unauthenticated("The session is over; sign in again.", code="session_over")
    return None
