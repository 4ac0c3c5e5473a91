"""HTTP as granian serves it: bodies are awaited, and a thread works on a request only once it is whole.

WSGI alone would hold a server thread for as long as a client takes to send its body: eight clients that never finish
theirs would keep everybody else out, health included (measured). granian's own interface (RSGI) hands the body over
when it has arrived, so a deadline costs nothing and a body of unannounced length (chunked) is one like any other. The
application stays WSGI: Django's synchronous path is the fast one (HOUSE.md, "What the hot path costs").
"""

import asyncio
import io
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import structlog
from django.conf import settings
from granian.rsgi import ProtocolClosed

from platform_config.wsgi import application as wsgi_application
from shared_apps.core.errors import InternalError, Invalid, Problem, TimedOut, TooLarge, Unavailable
from shared_apps.core.middleware import HEADERS, request_id

THREADS = 4  # requests in work at once in each process: each thread has a database connection of its own
MOST_WAIT = 10.0  # seconds that a request waits for a thread before it is asked to come back
HEALTH_WAIT = 3.0  # seconds after which a database that says nothing counts as away
SENDERS = 16  # threads that send long answers to slow readers; they hold no connection
GRACE = 10.0  # seconds that every body has
SLOWEST = 32 * 1024  # bytes a second that it must keep beyond them
FORM = 1024 * 1024  # bytes that a form may hold beside its file
IN_MEMORY = 256 * 1024  # bytes of a body; the rest of a longer one lies on disk
PIECE = 256 * 1024  # an answer of up to this many bytes leaves whole
Headers = list[tuple[str, str]]
log = structlog.get_logger(__name__)
requests = structlog.get_logger("lyceum.request")


class Said:
    """WSGI's start_response, and what it was told."""

    status = 500
    headers: Headers = []

    def __call__(self, status: str, headers: Headers, exc_info: Any = None) -> None:
        self.status = int(status[:3])
        self.headers = [(name.lower(), value) for name, value in headers]


class Answered:
    """An answer of the application: its first bytes, and what is left where it is long."""

    def __init__(self, environ: dict[str, Any]) -> None:
        said = Said()
        self.source: Any = wsgi_application(environ, said)
        self.status, self.headers = said.status, said.headers
        self.rest: Iterator[bytes] | None = iter(self.source)
        try:
            self.begin = self._some()
        except BaseException:
            self.close()
            raise
        if self.rest is None:
            self.close()

    def _some(self) -> bytes:
        parts, size = [], 0
        for part in self.rest or ():
            parts.append(part)
            size += len(part)
            if size > PIECE:
                return b"".join(parts)
        self.rest = None
        return b"".join(parts)

    def more(self) -> bytes:
        """The next bytes, empty at the end."""
        return next(self.rest, b"") if self.rest is not None else b""

    def close(self) -> None:
        if hasattr(self.source, "close"):
            self.source.close()


class Application:
    """RSGI (granian's specification 1.6): one call for each request."""

    def __init__(self) -> None:
        self._work = ThreadPoolExecutor(THREADS, thread_name_prefix="lyceum-web")
        self._send = ThreadPoolExecutor(SENDERS, thread_name_prefix="lyceum-send")
        # Health is answered also while every thread waits for a database that hangs; "live" does not ask it.
        self._health = {
            "/health/live": self._send,
            "/health/ready": ThreadPoolExecutor(1, thread_name_prefix="lyceum-health"),
        }
        self._most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        self._most_upload = max(settings.ROSTER_UPLOAD_MAX_BYTES, settings.TABLE_UPLOAD_MAX_BYTES) + FORM

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        began = time.perf_counter()
        name = request_id("")
        try:
            environ = _environ(scope)
            name = environ["HTTP_X_REQUEST_ID"] = request_id(environ.get("HTTP_X_REQUEST_ID", name))
            await self._read_body(environ, protocol)
            answered = await self._worked_on(environ)
        except Problem as problem:
            _refuse(problem, scope, protocol, name, began)
            return
        except Exception as defect:
            log.error("defect", request_id=name, path=scope.path, exc_info=defect)
            unknown = InternalError("Something went wrong on our side; quote the request id to support.")
            _refuse(unknown, scope, protocol, name, began)
            return
        if answered.rest is None:
            protocol.response_bytes(answered.status, answered.headers, answered.begin)
        else:
            await self._send_on(answered, protocol)

    async def _worked_on(self, environ: dict[str, Any]) -> Answered:
        """The application's answer. Raises Unavailable when no thread was free for long: work that has begun is never
        given up here."""
        health = self._health.get(environ["PATH_INFO"].rstrip("/"))
        work = (health or self._work).submit(Answered, environ)
        late = asyncio.get_running_loop().call_later(MOST_WAIT, work.cancel)
        try:
            if health is None:
                return await asyncio.wrap_future(work)
            return await asyncio.wait_for(asyncio.wrap_future(work), HEALTH_WAIT)
        except TimeoutError:
            raise Unavailable("The database does not answer.", headers={"Retry-After": "5"}) from None
        except asyncio.CancelledError:
            if not work.cancelled():
                raise
            raise Unavailable("Too much is asked at once; try again.", headers={"Retry-After": "5"}) from None
        finally:
            late.cancel()

    async def _send_on(self, answered: Answered, protocol: Any) -> None:
        """A long answer, piece by piece. Its source is a file: nothing that is sent piecemeal asks the database."""
        loop = asyncio.get_running_loop()
        try:
            stream = protocol.response_stream(answered.status, answered.headers)
            piece = answered.begin
            while piece:
                await stream.send_bytes(piece)
                piece = await loop.run_in_executor(self._send, answered.more)
        finally:
            await loop.run_in_executor(self._send, answered.close)

    async def _read_body(self, environ: dict[str, Any], protocol: Any) -> None:
        """Puts the body, whole, into the request. Raises TooLarge, TimedOut or Invalid."""
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        announced = 0 if chunked else _length(environ.get("CONTENT_LENGTH") or "0")
        if not announced and not chunked:
            return
        form = environ.get("CONTENT_TYPE", "").lower().startswith("multipart/form-data")
        most = self._most_upload if form else self._most
        if announced > most:
            if announced <= self._most_upload:  # a proxy in front reads an answer only once it has sent the whole body
                unwanted, _ = await _collect(protocol, self._most_upload)
                unwanted.close()
            raise TooLarge(f"The body is larger than {most} bytes.", headers={"connection": "close"})
        if not chunked and announced <= IN_MEMORY:
            body, size = await _receive(protocol, announced)
        else:
            body, size = await _collect(protocol, most)
        if not chunked and size != announced:
            raise Invalid(f"The body has {size} bytes where {announced} were announced.", code="cut_off")
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = body, str(size)


async def _receive(protocol: Any, announced: int) -> tuple[Any, int]:
    """A short body and its size. Raises TimedOut, and Invalid for one whose client went away."""
    try:
        async with asyncio.timeout(GRACE + announced / SLOWEST):
            body = await protocol()
    except TimeoutError:
        raise _slow() from None
    except ProtocolClosed:
        raise Invalid(f"The body ended before the {announced} bytes that were announced.", code="cut_off") from None
    return io.BytesIO(body), len(body)


async def _collect(protocol: Any, most: int) -> tuple[Any, int]:
    """The body, rewound, and its size. What has arrived so far buys the time for the rest, so that nobody gains any by
    announcing much. Raises TooLarge as soon as it is longer than `most` bytes, and TimedOut."""
    body, size = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY), 0  # noqa: SIM115 - read by the application, later
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(began + GRACE) as limit:
            async for chunk in protocol:
                body.write(chunk)
                size += len(chunk)
                if size > most:
                    raise TooLarge(f"The body is larger than {most} bytes.", headers={"connection": "close"})
                limit.reschedule(began + GRACE + size / SLOWEST)
    except TimeoutError:
        raise _slow() from None
    body.seek(0)
    return body, size


def _slow() -> TimedOut:
    return TimedOut("The body did not arrive in time; send it again.", headers={"connection": "close"})


def _refuse(problem: Problem, scope: Any, protocol: Any, name: str, began: float) -> None:
    """The problem as an answer, and its log line; no middleware has seen the request, whose id is `name`."""
    headers = [("content-type", "application/problem+json"), ("x-request-id", name), *HEADERS]
    protocol.response_bytes(problem.status, [*headers, *problem.headers.items()], orjson.dumps(problem.body(name)))
    requests.info(
        "request",
        method=scope.method,
        path=scope.path,
        status=problem.status,
        ms=round((time.perf_counter() - began) * 1000, 1),
        request_id=name,
        institution=None,
        user=None,
    )


def _length(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise Invalid("Content-Length is no length.", code="bad_length")
    return int(text)


def _environ(scope: Any) -> dict[str, Any]:
    """The request as WSGI knows it (PEP 3333)."""
    host, _, port = scope.server.rpartition(":")
    client, _, client_port = scope.client.rpartition(":")
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client.strip("[]"),
        "REMOTE_PORT": client_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in _pairs(scope.headers.items()):
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        if key in environ:
            if key == "HTTP_HOST":  # RFC 9112, section 3.2
                raise Invalid("The request names two hosts.", code="two_hosts")
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        environ[key] = value
    if scope.authority:  # of an absolute address, which stands above the header (RFC 9112, section 3.2.2)
        environ["HTTP_HOST"] = scope.authority
    return environ


def _pairs(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Headers, without those whose underscore would make them look like another one's."""
    return ((name, value) for name, value in headers if "_" not in name)


application = Application()
