"""Which address leads to which socket."""

from typing import Any

import orjson
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path

from realtime import watch
from realtime.consumers import NotificationsConsumer
from realtime.database import in_thread
from realtime.middleware import InstitutionMiddleware
from realtime.refusals import Close, Receive, Send, refuse
from shared_apps.core import health
from shared_apps.core.errors import NotFound


async def no_such_socket(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await refuse(Close.because(NotFound("No socket lives at this address.")), receive, send)


async def http(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """This port answers health checks; the platform itself is served by WSGI on another."""
    status, kind = 404, b"application/problem+json"
    body = orjson.dumps(NotFound("This port serves WebSockets only.").body(""))
    if scope["path"].startswith("/health/"):
        answer = await in_thread(health.answer, scope["path"])
        status, kind, body = answer.status_code, b"application/json", answer.content
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


async def lifespan(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def application() -> ProtocolTypeRouter:
    """The ASGI application of the realtime process."""
    watch.subscribe()
    sockets = URLRouter([path("ws/v1/notifications/", NotificationsConsumer.application), re_path("", no_such_socket)])
    return ProtocolTypeRouter({"websocket": InstitutionMiddleware(sockets), "http": http, "lifespan": lifespan})
