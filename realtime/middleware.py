"""Host -> institution -> gate -> person, before any consumer runs; what HTTP does in its middleware and views."""

import asyncio
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog
from django.db import DatabaseError, InterfaceError

from realtime.database import in_thread
from realtime.refusals import Close, Receive, Send, refuse
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.errors import Forbidden, NotFound, Problem, Unauthenticated, Unavailable
from shared_apps.core.permissions import Principal
from shared_apps.tenants import hosts
from shared_apps.tenants.middleware import gate
from tenant_apps.accounts.authentication import principal_for_token, redeem_ticket
from tenant_apps.accounts.cookies import ACCESS_COOKIE

log = structlog.get_logger("lyceum.socket")
Scope = dict[str, Any]


class InstitutionMiddleware:
    """Runs the inner application inside the institution of the handshake's host, with `scope["institution"]` and
    `scope["principal"]`; refuses otherwise."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A task of its own has a context of its own, whatever the server does with its callbacks' contexts.
        await asyncio.create_task(self._serve(scope, receive, send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            place = await _institution(headers.get("host", ""))
            with institution(place):
                principal = await _principal(scope, headers)
        except Problem as problem:
            await refuse(Close.because(problem), receive, send)
        except (DatabaseError, InterfaceError) as error:
            log.warning("socket_without_database", error=str(error))
            await refuse(Close.because(Unavailable("The platform is unavailable for the moment.")), receive, send)
        else:
            with institution(place):
                await self.inner({**scope, "institution": place, "principal": principal}, receive, send)


async def _institution(header: str) -> InstitutionContext:
    """The institution of a Host header. Raises NotFound, or the gate's problem."""
    host = hosts.normalise(header)
    place = await in_thread(hosts.find, host) if host else None
    if place is None:
        raise NotFound("No institution lives at this address.", code="unknown_host")
    refusal = gate(place, writes=False)
    if refusal is not None:
        raise refusal
    return place


async def _principal(scope: Scope, headers: dict[str, str]) -> Principal:
    """Who opens the socket: by Authorization header, by ticket, or by the browser's cookie.

    Raises Unauthenticated; Forbidden for a cookie that another origin's page makes the browser send.
    """
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Write the header as Authorization: Bearer <access token>.", code="bad_authorization")
        return await in_thread(principal_for_token, token.strip())
    ticket = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("ticket")
    if ticket:
        return await in_thread(redeem_ticket, ticket[0])
    cookie = _cookie(headers.get("cookie", ""))
    if cookie is None:
        raise Unauthenticated("Send an access token, a ticket or the sign-in cookie with the handshake.")
    if not _same_host(headers.get("origin"), headers.get("host", "")):
        raise Forbidden("The socket was opened from a page of another origin.", code="foreign_origin")
    return await in_thread(principal_for_token, cookie)


def _cookie(header: str) -> str | None:
    try:
        morsel = SimpleCookie(header).get(ACCESS_COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None


def _same_host(origin: str | None, host: str) -> bool:
    """Whether a page of the same host opens the socket. Ports may differ: sockets have one of their own. A browser
    always sends an Origin; a client without one has to sign in otherwise."""
    try:
        ours = hosts.normalise(host)
        return bool(ours) and hosts.normalise(urlsplit(origin or "").netloc) == ours
    except ValueError:
        return False
