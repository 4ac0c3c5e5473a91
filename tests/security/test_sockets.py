"""Sockets across institutions, origins and ended sessions: each attack, and the naive way that it works against."""

import asyncio
import contextvars
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from realtime import consumers, middleware, watch
from realtime.database import in_thread
from shared_apps.core import bus
from shared_apps.core.context import InstitutionContext, NoTenant, State, current_institution, institution, platform
from shared_apps.tenants.models import Tenant
from tenant_apps.accounts.authentication import issue_ticket
from tenant_apps.accounts.cookies import ACCESS_COOKIE
from tenant_apps.accounts.models import Session, User
from tenant_apps.accounts.password_links import RESET
from tenant_apps.accounts.password_resets import confirm_reset
from tenant_apps.accounts.sessions import end_sessions
from tenant_apps.eventlog import frames, jobs
from tests import cast
from tests.realtime.sockets import NOTIFICATIONS, SignIn, Socket

Tell = Callable[..., None]


def beside(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return sync_to_async(function, thread_sensitive=False)(*arguments, **named)


def refusal(socket: Socket) -> tuple[int, str]:
    return asyncio.run(socket.refused())


def ticket(place: InstitutionContext, session_id: UUID) -> str:
    with institution(place):
        return issue_ticket(session_id)


# Who gets in


def test_nobody_gets_in_without_credentials(application: Any, greenwood: InstitutionContext) -> None:
    assert refusal(Socket(application, greenwood)) == (4401, "unauthenticated")


@pytest.mark.parametrize("value", ["Bearer x", "Bearer ", "Basic eDp5", "Bearer " + "a" * 9000])
def test_nobody_gets_in_with_a_senseless_header(application: Any, greenwood: InstitutionContext, value: str) -> None:
    assert refusal(Socket(application, greenwood, authorization=value))[0] == 4401


def test_a_token_opens_its_own_institution_only(
    application: Any, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn
) -> None:
    """The cast has the same user ids in both: the audience alone tells them apart."""
    token = sign_in(greenwood).access
    sign_in(lumiere)
    assert refusal(Socket(application, lumiere, token=token))[0] == 4401

    async def own() -> None:
        socket = Socket(application, greenwood, token=token)
        await socket.open()
        await socket.leave()

    asyncio.run(own())


def test_a_ticket_opens_one_socket_of_its_own_institution(
    application: Any, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn
) -> None:
    session = sign_in(greenwood).session_id
    stolen = ticket(greenwood, session)

    async def attack_and_use() -> None:
        foreign = Socket(application, lumiere, path=f"{NOTIFICATIONS}?ticket={stolen}")
        assert await foreign.refused() == (4401, "ticket_invalid")
        own = Socket(application, greenwood, path=f"{NOTIFICATIONS}?ticket={stolen}")
        await own.open()
        again = Socket(application, greenwood, path=f"{NOTIFICATIONS}?ticket={stolen}")
        assert await again.refused() == (4401, "ticket_invalid")
        await own.leave()

    asyncio.run(attack_and_use())


def test_a_ticket_kept_without_its_institution_would_open_another(
    application: Any,
    greenwood: InstitutionContext,
    lumiere: InstitutionContext,
    sign_in: SignIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Negative control: the same ticket, kept under a key without the institution, by user."""
    sign_in(lumiere)

    def careless(_ticket: str) -> Any:
        session = Session.objects.filter(user_id=cast.user_id("teacher")).latest("created_at")
        return middleware.principal_for_token.__globals__["principal_for_session"](session.pk)

    monkeypatch.setattr(middleware, "redeem_ticket", careless)
    stolen = ticket(greenwood, sign_in(greenwood).session_id)

    async def attack() -> None:
        socket = Socket(application, lumiere, path=f"{NOTIFICATIONS}?ticket={stolen}")
        await socket.open()
        await socket.leave()

    asyncio.run(attack())


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http://greenwood.localhost:8000", 0),
        ("http://greenwood.localhost", 0),
        ("http://lumiere.localhost:8000", 4403),
        ("https://evil.test", 4403),
        ("http://greenwood.localhost.evil.test", 4403),
        ("http://evil.test/greenwood.localhost", 4403),
        ("http://greenwood.localhost@evil.test", 4403),
        ("null", 4403),
        ("http://[", 4403),
        (None, 4403),
    ],
)
def test_a_cookie_counts_from_a_page_of_the_same_host_only(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, origin: str | None, code: int
) -> None:
    headers = {"cookie": f"theme=dark; {ACCESS_COOKIE}={sign_in(greenwood).access}"}
    if origin is not None:
        headers["origin"] = origin

    async def browser() -> None:
        socket = Socket(application, greenwood, **headers)
        if code:
            assert await socket.refused() == (code, "foreign_origin")
        else:
            await socket.open()
            await socket.leave()

    asyncio.run(browser())


def test_a_cookie_of_another_institution_opens_nothing(
    application: Any, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn
) -> None:
    cookie = f"{ACCESS_COOKIE}={sign_in(greenwood).access}"
    origin = "http://lumiere.localhost:8000"
    assert refusal(Socket(application, lumiere, cookie=cookie, origin=origin))[0] == 4401


@pytest.mark.parametrize(
    "host", ["nowhere.localhost", "localhost", "", "a b", "[::1]:8001", "greenwood.localhost.evil"]
)
def test_an_unknown_host_is_refused_before_any_token_is_read(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, host: str
) -> None:
    token = sign_in(greenwood).access
    assert refusal(Socket(application, greenwood, token=token, host=host)) == (4404, "unknown_host")


def test_an_unknown_address_is_refused(application: Any, greenwood: InstitutionContext, sign_in: SignIn) -> None:
    token = sign_in(greenwood).access
    assert refusal(Socket(application, greenwood, token=token, path="/ws/v1/nothing/")) == (4404, "not_found")


def set_state(place: InstitutionContext, state: State) -> None:
    with platform():
        Tenant.objects.filter(pk=place.id).update(state=state)
    bus.tell("tenants", str(place.id))


@pytest.mark.parametrize(
    ("state", "answer"), [(State.SUSPENDED, (4403, "suspended")), (State.ARCHIVED, (4404, "archived"))]
)
def test_an_institution_that_is_not_served_opens_no_socket(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, state: State, answer: tuple[int, str]
) -> None:
    token = sign_in(greenwood).access
    set_state(greenwood, state)
    assert refusal(Socket(application, greenwood, token=token)) == answer


# Who has to leave


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What sockets found when they looked whether they may stay; each looks once right after it has opened."""
    found: list[Any] = []
    look = consumers._refusal

    def remember(*arguments: Any) -> Any:
        answer = look(*arguments)
        found.append(answer)
        return answer

    monkeypatch.setattr(consumers, "_refusal", remember)
    return found


async def until_all_have_looked(looks: list[Any], sockets: int) -> None:
    async with asyncio.timeout(10):
        while len(looks) < sockets:
            await asyncio.sleep(0.01)


def closes_others_stay(
    application: Any,
    looks: list[Any],
    concerned: dict[str, Any],
    others: list[dict[str, Any]],
    change: Callable[[], None],
) -> tuple[int, str, float]:
    """Open the sockets, make the change: how and how soon (in seconds) the concerned one is closed."""

    async def run() -> tuple[int, str, float]:
        socket = Socket(application, **concerned)
        await socket.open()
        rest = [Socket(application, **other) for other in others]
        for other in rest:
            await other.open()
        await until_all_have_looked(looks, 1 + len(rest))
        began = time.monotonic()
        await beside(change)
        code, problem = await socket.closed()
        took = time.monotonic() - began
        await asyncio.sleep(0.2)
        for other in rest:
            assert not other.future.done()
            await other.leave()
        return code, problem, took

    return asyncio.run(run())


def test_a_socket_closes_at_once_when_its_session_ends(
    application: Any, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn, looks: list[Any]
) -> None:
    ending, staying, elsewhere = sign_in(greenwood), sign_in(greenwood), sign_in(lumiere)

    def end() -> None:
        with institution(greenwood):
            end_sessions(user_id=ending.user_id, reason="signed_out", only=ending.session_id)

    code, problem, seconds = closes_others_stay(
        application,
        looks,
        {"place": greenwood, "token": ending.access},
        [{"place": greenwood, "token": staying.access}, {"place": lumiere, "token": elsewhere.access}],
        end,
    )
    assert (code, problem) == (4401, "session_over")
    assert seconds < 2


def test_a_socket_closes_at_once_when_its_institution_is_suspended(
    application: Any, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn, looks: list[Any]
) -> None:
    code, problem, seconds = closes_others_stay(
        application,
        looks,
        {"place": greenwood, "token": sign_in(greenwood).access},
        [{"place": lumiere, "token": sign_in(lumiere).access}],
        lambda: set_state(greenwood, State.SUSPENDED),
    )
    assert (code, problem) == (4403, "suspended")
    assert seconds < 2


def test_all_sockets_of_a_person_close_at_once_when_a_reset_sets_their_password(
    application: Any, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn, looks: list[Any]
) -> None:
    others = [{"place": greenwood, "token": sign_in(greenwood, "guardian").access}]
    others += [{"place": lumiere, "token": sign_in(lumiere).access}]

    def reset() -> None:
        with institution(greenwood):
            token = RESET.made_for(User.objects.get(pk=cast.user_id("teacher")))
            confirm_reset(token=token, password="seven words are better than one")

    with institution(greenwood):
        stored = User.objects.filter(pk=cast.user_id("teacher")).values_list("password", flat=True).get()
    try:
        concerned = {"place": greenwood, "token": sign_in(greenwood).access}
        code, problem, seconds = closes_others_stay(application, looks, concerned, others, reset)
    finally:
        with institution(greenwood):
            User.objects.filter(pk=cast.user_id("teacher")).update(password=stored, token_version=1)
    assert (code, problem) == (4401, "session_over")
    assert seconds < 2


@pytest.mark.parametrize(
    "change",
    [
        lambda: Session.objects.update(ended_at=timezone.now()),
        lambda: Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1)),
        lambda: User.objects.filter(pk=cast.user_id("teacher")).update(is_active=False),
        lambda: User.objects.filter(pk=cast.user_id("teacher")).update(token_version=99),
    ],
    ids=["ended", "expired", "deactivated", "version raised"],
)
def test_a_socket_closes_by_the_clock_when_nobody_told_it(
    application: Any,
    greenwood: InstitutionContext,
    sign_in: SignIn,
    looks: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[], Any],
) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.2)

    def quietly() -> None:
        with institution(greenwood):
            change()

    try:
        token = sign_in(greenwood).access
        code, _, _ = closes_others_stay(application, looks, {"place": greenwood, "token": token}, [], quietly)
    finally:
        with institution(greenwood):
            User.objects.filter(pk=cast.user_id("teacher")).update(is_active=True, token_version=1)
    assert code == 4401


def test_a_socket_that_is_told_nothing_and_has_no_clock_would_stay(
    application: Any, greenwood: InstitutionContext, sign_in: SignIn, looks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of the two above."""
    monkeypatch.setattr(watch, "_wake", lambda *_: None)
    session = sign_in(greenwood)

    def end() -> None:
        with institution(greenwood):
            end_sessions(user_id=session.user_id, reason="signed_out")

    async def client() -> None:
        socket = Socket(application, greenwood, token=session.access)
        await socket.open()
        await until_all_have_looked(looks, 1)
        await beside(end)
        assert await socket.receive_nothing(timeout=1.5)
        await socket.leave()

    asyncio.run(client())


# What sockets of two institutions may not share


def test_the_context_of_a_socket_reaches_the_threads_of_the_database(
    application: Any, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    """200 coroutines of two institutions over four threads: each query reads its own schema."""

    def schema_and_users() -> tuple[str, set[str]]:
        return current_institution().slug, set(User.objects.values_list("email", flat=True))

    async def one(place: InstitutionContext) -> None:
        with institution(place):
            for _ in range(3):
                slug, emails = await in_thread(schema_and_users)
                assert slug == place.slug
                assert f"teacher@{place.slug}.test" in emails

    async def outside() -> None:
        with pytest.raises(NoTenant):
            await in_thread(schema_and_users)

    async def run() -> None:
        await asyncio.gather(*(one((greenwood, lumiere)[turn % 2]) for turn in range(200)))
        await outside()

    asyncio.run(run())


def test_a_thread_that_is_not_given_the_context_has_none(greenwood: InstitutionContext) -> None:
    """Negative control: the event loop's own way to a thread leaves the context behind."""

    async def run() -> None:
        with institution(greenwood):
            bare = contextvars.Context()
            with pytest.raises(NoTenant):
                await asyncio.get_running_loop().run_in_executor(None, bare.run, current_institution)

    asyncio.run(run())


def job_of(place: InstitutionContext, title: str) -> None:
    """Progress of a job of the teacher's: a frame that no database row stands behind."""
    with institution(place):
        frames.push(cast.user_id("teacher"), jobs.frame(UUID(int=1), "running", 1, title))


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "groups without the institution"])
def test_sockets_of_two_institutions_never_mix(
    application: Any,
    greenwood: InstitutionContext,
    lumiere: InstitutionContext,
    sign_in: SignIn,
    tell: Tell,
    monkeypatch: pytest.MonkeyPatch,
    naive: bool,
) -> None:
    """The same person's id in both institutions, five sockets each, notifications and progress in both."""
    if naive:
        own = frames._installation()
        monkeypatch.setattr(frames, "group", lambda institution_id, user_id: f"{own}.u.{user_id.hex}")
    tokens = {place: sign_in(place).access for place in (greenwood, lumiere)}
    seen: dict[str, set[str]] = {"greenwood": set(), "lumiere": set()}

    async def run() -> None:
        opened = []
        for turn in range(10):
            place = (greenwood, lumiere)[turn % 2]
            socket = Socket(application, place, token=tokens[place], path=f"{NOTIFICATIONS}?after=0")
            await socket.open()
            opened.append((place, socket))
        for place in (greenwood, lumiere):
            await beside(tell, place, *(f"{place.slug} {n}" for n in range(5)))
            await beside(job_of, place, f"{place.slug} job")
        for place, socket in opened:
            titles = []
            while len(titles) < 5 or not any("job" in title for title in titles):
                frame = await socket.receive()
                titles.append(frame["data"].get("title") or frame["data"]["step"])
            if not await socket.receive_nothing(timeout=0.1):
                frame = await socket.receive()
                titles.append(frame["data"].get("title") or frame["data"]["step"])
            seen[place.slug] |= set(titles)
            await socket.leave()

    asyncio.run(run())
    expected = {slug: {*(f"{slug} {n}" for n in range(5)), f"{slug} job"} for slug in seen}
    assert (seen == expected) is not naive
