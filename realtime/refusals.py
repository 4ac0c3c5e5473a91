"""Why a socket is closed, in codes of the private range (RFC 6455 section 7.4.2)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from shared_apps.core.errors import Gone, NotFound, Problem, TooMany, Unauthenticated, Unavailable

BAD_FRAMES: Final = 4400
NOT_SIGNED_IN: Final = 4401
NOT_ALLOWED: Final = 4403
NOT_FOUND: Final = 4404
STALLED: Final = 4408
TOO_MANY: Final = 4429
DEFECT: Final = 4500
UNAVAILABLE: Final = 4503

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Close(Exception):
    """End the socket with a code; `problem` is told to the client in a last frame."""

    def __init__(self, code: int, problem: Problem | None = None) -> None:
        super().__init__(code, problem)
        self.code = code
        self.problem = problem

    @classmethod
    def because(cls, problem: Problem) -> "Close":
        """The code of a problem: who isn't signed in is asked to, everybody else is told no."""
        match problem:
            case Unauthenticated():
                return cls(NOT_SIGNED_IN, problem)
            case NotFound() | Gone():
                return cls(NOT_FOUND, problem)
            case TooMany():
                return cls(TOO_MANY, problem)
            case Unavailable():
                return cls(UNAVAILABLE, problem)
            case _:
                return cls(NOT_ALLOWED, problem)


def text_frame(frame: dict[str, Any]) -> dict[str, Any]:
    """A frame as an ASGI message."""
    return {"type": "websocket.send", "text": orjson.dumps(frame).decode()}


def problem_frame(type: str, problem: Problem) -> dict[str, Any]:
    return {"type": type, "data": {"code": problem.code, "detail": problem.detail}}


async def refuse(close: Close, receive: Receive, send: Send) -> None:
    """Accept, say why, close: closed before the accept, a browser's page would only see 1006."""
    message = await receive()
    if message["type"] != "websocket.connect":
        return
    await send({"type": "websocket.accept"})
    if close.problem is not None:
        await send(text_frame(problem_frame("refused", close.problem)))
    await send({"type": "websocket.close", "code": close.code})
