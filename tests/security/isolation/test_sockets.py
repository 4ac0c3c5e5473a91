"""Sockets opened with what belongs elsewhere, and open sockets whose institution goes away.

Origins, cookies, tickets, groups and suspension are attacked in tests/security/test_sockets.py.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from asgiref.sync import sync_to_async

from realtime import middleware
from shared_apps.core import bus
from shared_apps.core.context import InstitutionContext, State, institution, platform
from shared_apps.tenants.models import Domain, Tenant
from tenant_apps.accounts import tokens
from tenant_apps.accounts.cookies import ACCESS_COOKIE
from tenant_apps.eventlog import frames
from tests import cast
from tests.realtime.sockets import NOTIFICATIONS, SignIn, Socket

Claims = dict[str, Any]


def refusal(socket: Socket) -> tuple[int, str]:
    return asyncio.run(socket.refused())


def resealed(token: str, change: Callable[[Claims], Claims]) -> str:
    """The token with other claims, signed with the platform's own key."""
    ours = tokens.keyring().keys[0]
    claims = change(jwt.decode(token, options={"verify_signature": False}))
    return jwt.encode(claims, ours.private, algorithm="EdDSA", headers={"kid": ours.kid})


def test_a_token_that_names_no_one_institution_opens_no_socket(
    application: Any, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn
) -> None:
    token = sign_in(greenwood).access
    changes: tuple[Callable[[Claims], Claims], ...] = (
        lambda claims: {name: value for name, value in claims.items() if name != "aud"},
        lambda claims: claims | {"aud": [str(greenwood.id), str(lumiere.id)]},
        lambda claims: claims | {"aud": "greenwood"},
    )
    for change in changes:
        for place in (greenwood, lumiere):
            assert refusal(Socket(application, place, token=resealed(token, change))) == (4401, "token_invalid")
            cookie = {
                "cookie": f"{ACCESS_COOKIE}={resealed(token, change)}",
                "origin": f"http://{place.slug}.localhost",
            }
            assert refusal(Socket(application, place, **cookie))[0] == 4401

    async def own() -> None:
        socket = Socket(application, greenwood, token=resealed(token, dict))
        await socket.open()
        await socket.leave()

    asyncio.run(own())


@pytest.fixture
def moved_host(greenwood: InstitutionContext, lumiere: InstitutionContext, committed: None) -> Any:
    """greenwood's host is lumiere's now."""

    def lead(place: InstitutionContext) -> None:
        with platform():
            Domain.objects.filter(domain="greenwood.localhost").update(tenant_id=place.id)
        bus.tell("tenants", "")

    lead(lumiere)
    yield
    lead(greenwood)


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "by the host's name"])
def test_a_token_from_before_a_host_changed_hands_opens_nothing_there(
    application: Any,
    greenwood: InstitutionContext,
    lumiere: InstitutionContext,
    sign_in: SignIn,
    moved_host: None,
    monkeypatch: pytest.MonkeyPatch,
    naive: bool,
) -> None:
    """The same person's id in both; a browser would go on sending its cookie to the host."""
    before, theirs = sign_in(greenwood), sign_in(lumiere)
    if naive:
        principal_for = middleware.principal_for_token
        monkeypatch.setattr(middleware, "principal_for_token", lambda token: principal_for(theirs.access))

    async def attack() -> tuple[int, str]:
        socket = Socket(application, greenwood, token=before.access)
        if naive:
            await socket.open()
            await socket.leave()
            return 0, ""
        return await socket.refused()

    assert asyncio.run(attack()) == ((0, "") if naive else (4401, "token_invalid"))


def test_the_operators_host_and_the_bare_domain_take_no_institution_s_token(
    application: Any, greenwood: InstitutionContext, console: InstitutionContext, sign_in: SignIn
) -> None:
    token = sign_in(greenwood).access
    assert refusal(Socket(application, console, token=token)) == (4401, "token_invalid")
    for host in ("localhost:8001", "127.0.0.1:8001", "greenwood.localhost.evil.test", "greenwood.localhost@evil.test"):
        assert refusal(Socket(application, greenwood, token=token, host=host)) == (4404, "unknown_host")
    spoofed = {"x-forwarded-host": "lumiere.localhost", "forwarded": "host=lumiere.localhost"}

    async def own() -> None:
        socket = Socket(application, greenwood, token=token, **spoofed)
        await socket.open()
        await socket.leave()

    asyncio.run(own())


@pytest.mark.parametrize(
    ("state", "answer"), [(State.ARCHIVED, (4404, "archived")), (State.DELETED, (4404, "archived"))]
)
def test_an_open_socket_is_closed_when_its_institution_goes(
    application: Any,
    greenwood: InstitutionContext,
    lumiere: InstitutionContext,
    sign_in: SignIn,
    state: State,
    answer: tuple[int, str],
) -> None:
    def go() -> None:
        with platform():
            Tenant.objects.filter(pk=greenwood.id).update(state=state)
        bus.tell("tenants", str(greenwood.id))

    async def run() -> tuple[int, str]:
        going = Socket(application, greenwood, token=sign_in_later[0])
        staying = Socket(application, lumiere, token=sign_in_later[1])
        await going.open()
        await staying.open()
        await sync_to_async(go, thread_sensitive=False)()
        closed = await going.closed()
        assert await staying.receive_nothing(timeout=0.2)
        await staying.leave()
        return closed

    sign_in_later = [sign_in(place).access for place in (greenwood, lumiere)]
    assert asyncio.run(run()) == answer


def test_a_frame_goes_to_the_sockets_of_the_institution_that_sends_it(
    application: Any, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn
) -> None:
    """A room names a person, never a group: lumiere cannot even say greenwood's."""
    token = sign_in(greenwood).access

    def push(place: InstitutionContext) -> None:
        with institution(place):
            frames.push(cast.user_id("teacher"), {"type": "job", "data": {"id": place.slug}})

    async def run() -> None:
        socket = Socket(application, greenwood, token=token, path=f"{NOTIFICATIONS}?after=0")
        await socket.open()
        await sync_to_async(push, thread_sensitive=False)(lumiere)
        assert await socket.receive_nothing(timeout=0.3)
        await sync_to_async(push, thread_sensitive=False)(greenwood)
        assert (await socket.receive())["data"]["id"] == "greenwood", "the control"
        await socket.leave()

    asyncio.run(run())
    assert frames.group(greenwood.id, cast.user_id("teacher")) != frames.group(lumiere.id, cast.user_id("teacher"))
