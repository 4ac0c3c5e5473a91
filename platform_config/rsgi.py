"""HTTP as granian serves it: bodies are awaited, and a thread works on a request only once it is whole.

WSGI alone would hold a server thread for as long as a client takes to send its body: eight clients that never finish
theirs would keep everybody else out, health included (measured). granian's own interface (RSGI) hands the body over
when it has arrived, so a deadline costs nothing and a body of unannounced length (chunked) is one like any other. The
application stays WSGI: Django's synchronous path is the fast one (HOUSE.md, "What the hot path costs").
"""

import asyncio
import io
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from django.conf import settings

from platform_config.wsgi import application as wsgi_application
from shared_apps.core.errors import Invalid, Problem, TimedOut, TooLarge
from shared_apps.core.middleware import HEADERS

THREADS = 4  # requests in work at once in each process: each thread has a database connection of its own
SENDERS = 16  # threads that send long answers to slow readers; they hold no connection
GRACE = 10.0  # seconds that every body has
SLOWEST = 32 * 1024  # bytes a second that it must keep beyond them
FORM = 1024 * 1024  # bytes that a form may hold beside its file
PIECE = 256 * 1024  # an answer of up to this many bytes leaves whole
Headers = list[tuple[str, str]]


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
        self.begin = self._some()
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
        self._most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        self._most_upload = max(settings.ROSTER_UPLOAD_MAX_BYTES, settings.TABLE_UPLOAD_MAX_BYTES) + FORM

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        loop = asyncio.get_running_loop()
        try:
            environ = _environ(scope)
            await self._read_body(environ, protocol)
        except Problem as problem:
            body = orjson.dumps(problem.body(""))
            headers = [("content-type", "application/problem+json"), *HEADERS, *problem.headers.items()]
            protocol.response_bytes(problem.status, headers, body)
            return
        answered = await loop.run_in_executor(self._work, Answered, environ)
        if answered.rest is None:
            protocol.response_bytes(answered.status, answered.headers, answered.begin)
            return
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
            raise TooLarge(f"The body is larger than {most} bytes.", headers={"connection": "close"})
        seconds = GRACE + (announced or most) / SLOWEST
        try:
            body = await asyncio.wait_for(_collect(protocol, most), seconds)
        except TimeoutError:
            raise TimedOut("The body did not arrive in time; send it again.", headers={"connection": "close"}) from None
        if not chunked and len(body) != announced:
            raise Invalid(f"The body has {len(body)} bytes where {announced} were announced.", code="cut_off")
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))


async def _collect(protocol: Any, most: int) -> bytearray:
    """The body. Raises TooLarge as soon as it is longer than `most` bytes."""
    body = bytearray()
    async for chunk in protocol:
        body += chunk
        if len(body) > most:
            raise TooLarge(f"The body is larger than {most} bytes.", headers={"connection": "close"})
    return body


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
    if scope.authority:
        environ["HTTP_HOST"] = scope.authority
    for name, value in _pairs(scope.headers.items()):
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        if key in environ and key != "HTTP_HOST":
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        environ[key] = value
    return environ


def _pairs(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Headers, without those whose underscore would make them look like another one's."""
    return ((name, value) for name, value in headers if "_" not in name)


application = Application()
