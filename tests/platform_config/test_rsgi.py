"""What is refused before any middleware has seen it: it has a request id like every other answer."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from structlog.testing import CapturingLogger, capture_logs

from platform_config import rsgi

ANNOUNCED_TOO_MUCH = {"content-length": str(10**9)}
NEVER_SENT = {"content-length": "100"}
NO_LENGTH = {"content-length": "many"}


class Protocol:
    """granian's, for a client that announces a body and sends none; keeps the answer."""

    status = 0
    headers: dict[str, str] = {}
    body = b""

    async def __call__(self) -> bytes:
        await asyncio.sleep(5)
        return b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await asyncio.sleep(5)
        yield b""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = status, dict(headers), body


def answer(**headers: str) -> Protocol:
    scope = SimpleNamespace(
        server="127.0.0.1:8000",
        client="127.0.0.1:40000",
        method="POST",
        path="/api/v1/auth/token/",
        query_string="",
        http_version="1.1",
        scheme="http",
        authority=None,
        headers={"host": "greenwood.localhost", "content-type": "application/json", **headers},
    )
    protocol = Protocol()
    asyncio.run(rsgi.Application().__rsgi__(scope, protocol))
    return protocol


@pytest.mark.parametrize(
    ("headers", "status"), [(ANNOUNCED_TOO_MUCH, 413), (NEVER_SENT, 408), (NO_LENGTH, 400)], ids=["413", "408", "400"]
)
def test_a_refusal_has_one_request_id_in_its_body_its_header_and_the_log(
    headers: dict[str, str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rsgi, "GRACE", 0.01)
    monkeypatch.setattr(rsgi, "requests", CapturingLogger())
    refused = answer(**headers)
    made = refused.headers["x-request-id"]
    assert (refused.status, len(made)) == (status, 24)
    assert orjson.loads(refused.body)["request_id"] == made
    [(_, _, line)] = rsgi.requests.calls
    assert (line["request_id"], line["status"], line["path"]) == (made, status, "/api/v1/auth/token/")


@pytest.mark.parametrize(("asked", "kept"), [("of-the-caller-1", True), ("a b", False), ("", False)])
def test_the_caller_s_own_id_is_kept_where_it_is_one(asked: str, kept: bool) -> None:
    refused = answer(**NO_LENGTH, **{"x-request-id": asked})
    assert (refused.headers["x-request-id"] == asked) is kept


def test_a_defect_has_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(rsgi, "wsgi_application", broken)
    with capture_logs() as logged:
        failed = answer(**{"x-request-id": "of-the-caller-1"})
    assert (failed.status, orjson.loads(failed.body)["request_id"]) == (500, "of-the-caller-1")
    assert {line["request_id"] for line in logged} == {"of-the-caller-1"}
