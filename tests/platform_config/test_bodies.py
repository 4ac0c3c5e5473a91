"""Bodies as the web process meets them: cut off, endless, of unannounced length. A real granian, plain sockets."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.tasks import workers

TOP = Path(__file__).resolve().parents[2]
TOKEN = "/api/v1/auth/token/"
HOST = "greenwood.localhost"


def web_command(port: int) -> list[str]:
    """The line of the Procfile, with this port."""
    (line,) = (line for line in (TOP / "Procfile").read_text().splitlines() if line.startswith("web:"))
    words = line.replace("$HOST", "127.0.0.1").replace("$PORT", str(port)).split()
    return words[words.index("-m") :]


@pytest.fixture(scope="module")
def served(django_db_setup: None) -> Iterator[int]:
    """The port of a web process as it is deployed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    with workers.process(*web_command(number)):
        deadline = time.monotonic() + 30
        while ask(number, "GET", "/health/live").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield number


@pytest.fixture
def port(served: int, committed: None) -> int:
    return served


class Answer:
    def __init__(self, status: int, body: bytes = b"") -> None:
        self.status, self.body = status, body

    def json(self) -> Any:
        return json.loads(self.body)


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(
            method, path, body, {"Host": HOST, "Content-Type": "application/json", **headers}, encode_chunked=True
        )
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except OSError:
        return Answer(0)
    finally:
        connection.close()


def half_sent(port: int, length: int = 100, media: str = "application/json") -> socket.socket:
    """A client that announces a body and sends three bytes of it."""
    client = socket.create_connection(("127.0.0.1", port), timeout=40)
    head = f"POST {TOKEN} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {media}\r\nContent-Length: {length}"
    client.sendall(f"{head}\r\n\r\nabc".encode())
    return client


def test_bodies_that_never_end_keep_nobody_out_and_are_given_up(port: int) -> None:
    with ExitStack() as stack:
        # Neither many, nor who announces much, nor a form with files gains anything.
        forms = [stack.enter_context(half_sent(port, 60_000_000, "multipart/form-data")) for _ in range(20)]
        lengths = (100, 2_000_000) * 290  # of bodies that are awaited at one go, and piece by piece
        clients = [*forms, *(stack.enter_context(half_sent(port, length)) for length in lengths)]
        trickling = clients[:5]
        time.sleep(1)
        for path in ("/health/live", "/health/ready", "/"):
            began = time.monotonic()
            assert ask(port, "GET", path).status == 200, path
            assert time.monotonic() - began < 5
        for client in trickling:
            client.sendall(b"x")
        assert ask(port, "POST", TOKEN, b"{}").status == 400
        first = [client.recv(12)[9:12] for client in clients]
    assert set(first) == {b"408"}
    assert ask(port, "POST", TOKEN, b"{}").status == 400


@pytest.mark.parametrize("length", [100, 2_000_000])
def test_a_body_that_is_cut_off_is_told_so(port: int, length: int) -> None:
    with half_sent(port, length) as client:
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(partial(client.recv, 65_536), b""))
    assert answer[9:12] == b"400"
    assert b'"code":"cut_off"' in answer


def test_a_chunked_body_is_read_like_any_other(port: int) -> None:
    body = json.dumps({"email": "nobody@greenwood.test", "password": "not the password"}).encode()
    chunked = ask(port, "POST", TOKEN, iter([body[:5], body[5:]]), **{"Transfer-Encoding": "chunked"})
    assert (chunked.status, chunked.json()["code"]) == (401, ask(port, "POST", TOKEN, body).json()["code"])
    many = (b" " * 65536 for _ in range(200))
    assert ask(port, "POST", TOKEN, many, **{"Transfer-Encoding": "chunked"}).status in (0, 413)


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(port: int) -> None:
    with half_sent(port, 10**9) as client:
        began = time.monotonic()
        assert client.recv(12)[9:12] == b"413"
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("length", ["-1", "1e3", "+5", "0x10"])
def test_a_length_that_is_none_is_refused(port: int, length: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(f"POST {TOKEN} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n".encode())
        assert client.recv(12)[9:12] == b"400"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%ff HTTP/1.1\r\nHost: greenwood.localhost\r\n",
        b"GET /\xe9 HTTP/1.1\r\nHost: greenwood.localhost\r\n",
        b"GET / HTTP/1.1\r\nHost: greenwood.localhost\r\nX-Odd: \xe9\xff\r\n",
        b"GET / HTTP/1.1\r\nHost: \xe9.localhost\r\n",
        b"GET / HTTP/1.1\r\n",
        b"GET /?\xe9=%zz HTTP/1.1\r\nHost: greenwood.localhost\r\n",
    ],
)
def test_odd_bytes_on_the_wire_make_no_500(port: int, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(head + b"Connection: close\r\n\r\n")
        assert client.recv(12)[9:12] in {b"200", b"400", b"404"}


def answer_to(port: int, raw: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(raw + b"Connection: close\r\n\r\n")
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_an_absolute_address_stands_above_the_host_and_two_hosts_are_none(port: int) -> None:
    absolute = b"GET http://greenwood.localhost/ HTTP/1.1\r\nHost: lumiere.localhost\r\n"
    assert b"Greenwood High" in answer_to(port, absolute)
    twice = b"GET / HTTP/1.1\r\nHost: greenwood.localhost\r\nHost: lumiere.localhost\r\n"
    assert answer_to(port, twice)[9:12] == b"400"


def test_static_files_and_long_answers_arrive_whole(port: int) -> None:
    page = ask(port, "GET", "/api/schema/?format=json")
    assert page.status == 200
    assert page.json()["openapi"].startswith("3.1")
    assert len(page.body) > 500_000
    script = ask(port, "GET", "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js")
    assert (script.status, len(script.body) > 1_000_000) == (200, True)
    assert ask(port, "HEAD", "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js").body == b""
