"""Limits: exactly as many requests as promised, each person their own, and guessing slowed without locking a school."""

import threading
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from shared_apps.core import bus
from shared_apps.core.api import admission
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.errors import TooMany, Unauthenticated, Unavailable
from tenant_apps.accounts import passwords, signin
from tests import cast
from tests.api import as_person, nobody
from tests.tenant_apps.accounts.together import together

ME = "/api/v1/auth/me/"
TOKEN = "/api/v1/auth/token/"


def request_from(address: str, **meta: str) -> Any:
    return RequestFactory().get("/", REMOTE_ADDR=address, **meta)


@pytest.fixture
def redis_away(settings: Any, tmp_path: Any) -> Iterator[None]:
    """This thread's line to Redis leads nowhere."""
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"
    admission._hang_up()
    admission._line.quiet_until = 0.0
    yield
    admission._hang_up()
    admission._line.quiet_until = 0.0


# Counting


@pytest.mark.django_db
def test_of_twenty_concurrent_requests_exactly_five_pass_a_limit_of_five(greenwood: InstitutionContext) -> None:
    answers = together(20, greenwood, lambda: admission.admit(request_from("192.0.2.9"), rate=(5, 60)))
    assert sum(answer.allowed for answer in answers) == 5
    assert sorted(answer.remaining for answer in answers)[-5:] == [0, 1, 2, 3, 4]


@pytest.mark.django_db
def test_the_naive_limiter_that_reads_before_it_counts_lets_more_pass(greenwood: InstitutionContext) -> None:
    read = threading.Barrier(20)

    def naive() -> bool:
        used = int(bus.client().get("naive") or 0)
        read.wait(timeout=30)
        bus.client().incr("naive")
        return used < 5

    assert sum(together(20, greenwood, naive)) > 5


@pytest.mark.django_db
def test_the_window_opens_with_the_first_request_and_later_ones_do_not_prolong_it(inside: InstitutionContext) -> None:
    first, second, third = (admission.admit(request_from("192.0.2.9"), rate=(2, 60)) for _ in range(3))
    assert first.allowed
    assert second.allowed
    assert not third.allowed
    assert 59_000 < third.reset_ms <= second.reset_ms <= first.reset_ms <= 60_000
    with institution(inside):
        key = next(iter(bus.client().scan_iter("*:rate:api:*")))
        assert bus.client().pttl(key) > 0


@pytest.mark.django_db
def test_an_answer_beyond_the_limit_says_when_to_come_back(greenwood: InstitutionContext, settings: Any) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    settings.RATE_LIMIT_USER = (3, 600)
    answers = [door.get(ME) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    last = answers[-1]
    assert last.json()["code"] == "rate_limited"
    assert 0 < int(last["Retry-After"]) <= 600
    assert (last["X-RateLimit-Limit"], last["X-RateLimit-Remaining"]) == ("3", "0")


@pytest.mark.django_db
def test_people_behind_one_address_each_have_their_own_limit(greenwood: InstitutionContext, settings: Any) -> None:
    people = cast.of(greenwood)
    teacher, guardian = as_person(greenwood, people.teacher), as_person(greenwood, people.guardian)
    settings.RATE_LIMIT_USER = (2, 600)
    assert [teacher.get(ME).status_code for _ in range(3)] == [200, 200, 429]
    assert guardian.get(ME).status_code == 200
    assert nobody(greenwood).get(ME).status_code == 401, "and whoever is nobody counts by address"


@pytest.mark.django_db
def test_one_institutions_limit_is_not_another_s(
    greenwood: InstitutionContext, lumiere: InstitutionContext, settings: Any
) -> None:
    settings.RATE_LIMIT_ANON = (1, 600)
    assert nobody(greenwood).get(ME).status_code == 401
    assert nobody(greenwood).get(ME).status_code == 429
    assert nobody(lumiere).get(ME).status_code == 401


@pytest.mark.django_db
def test_made_up_tokens_count_against_the_address_that_sends_them(greenwood: InstitutionContext, settings: Any) -> None:
    settings.RATE_LIMIT_ANON = (2, 600)
    statuses = [nobody(greenwood).get(ME, HTTP_AUTHORIZATION=f"Bearer made-up-{n}").status_code for n in range(3)]
    assert statuses == [401, 401, 429]


# Whose address


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "expected"),
    [
        ("192.0.2.1", "203.0.113.9", [], "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", ["10.0.0.0/8"], "192.0.2.1"),
        ("10.1.1.1", "203.0.113.9", ["10.0.0.0/8"], "203.0.113.9"),
        ("10.1.1.1", "6.6.6.6, 203.0.113.9, 10.2.2.2", ["10.0.0.0/8"], "203.0.113.9"),
        ("10.1.1.1", "no address", ["10.0.0.0/8"], "unknown"),
        ("2001:db8::5", "", [], "2001:db8::"),
        ("::ffff:192.0.2.7", "", [], "192.0.2.7"),
    ],
)
def test_a_forwarded_address_is_believed_from_a_trusted_proxy_only(
    settings: Any, peer: str, forwarded: str, proxies: list[str], expected: str
) -> None:
    settings.TRUSTED_PROXIES = tuple(ip_network(proxy) for proxy in proxies)
    meta = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    assert admission.client_address(request_from(peer, **meta)) == expected


# Redis away


@pytest.mark.django_db
def test_with_redis_away_the_school_stays_open_and_rights_are_read_each_time(
    greenwood: InstitutionContext, settings: Any, request: pytest.FixtureRequest
) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    assert door.get(ME).status_code == 200
    with CaptureQueriesContext(
        connection,
    ) as warm:
        door.get(ME)
    request.getfixturevalue("redis_away")
    with CaptureQueriesContext(connection) as away:
        assert door.get(ME).status_code == 200
    assert len(away) == len(warm) + 2
    settings.RATE_LIMIT_USER = (2, 600)
    assert [door.get(ME).status_code for _ in range(2)] == [200, 429], "this process goes on counting by itself"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis_away")
def test_with_redis_away_nobody_can_guess_passwords(greenwood: InstitutionContext) -> None:
    teacher = cast.of(greenwood).teacher
    answer = nobody(greenwood).post(TOKEN, {"email": teacher.email, "password": teacher.password})
    assert answer.status_code == 503
    assert answer["Retry-After"]


@pytest.mark.django_db
def test_a_restart_of_redis_costs_no_request(inside: InstitutionContext) -> None:
    assert admission.admit(request_from("192.0.2.9")).allowed
    line = admission._line.connection
    line.send_command("CLIENT", "ID")
    bus.client().client_kill_filter(_id=line.read_response())
    bus.client().script_flush()
    fresh = admission.admit(request_from("192.0.2.9"), rate=(10, 60))
    assert fresh.remaining == 8, "counted by Redis, not by this process alone"


# Guessing


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that cost a hash; all are wrong but "right"."""
    tried: list[str] = []

    def check(user: Any, password: str) -> bool:
        tried.append(password)
        return password == "right"

    monkeypatch.setattr(signin, "password_is", check)
    return tried


class Somebody:
    is_active = True


def guess(password: str, address: str, email: str = "teacher@greenwood.test") -> str:
    """ "right", "wrong", or "wait" """
    try:
        return "right" if signin.guess(email, Somebody(), password, address) else "wrong"  # type: ignore[arg-type]
    except TooMany:
        return "wait"


@pytest.mark.django_db
def test_ten_wrong_passwords_stop_that_account_from_that_address_only(
    inside: InstitutionContext, hashes: list[str]
) -> None:
    assert [guess("x", "192.0.2.1") for _ in range(11)] == ["wrong"] * 10 + ["wait"]
    assert guess("right", "192.0.2.1") == "wait", "the right one is not even tried"
    assert guess("right", "192.0.2.2") == "right", "the owner signs in elsewhere"
    assert guess("right", "192.0.2.1", "guardian@greenwood.test") == "right", "and others from that address"
    assert len(hashes) == 12


@pytest.mark.django_db
def test_concurrent_guesses_do_not_pass_the_limit_together(greenwood: InstitutionContext, hashes: list[str]) -> None:
    outcomes = together(20, greenwood, lambda: guess("x", "192.0.2.1"))
    assert sorted(outcomes) == ["wait"] * 10 + ["wrong"] * 10
    assert len(hashes) == 10


@pytest.mark.django_db
def test_a_right_password_forgives_the_wrong_ones_before_it(inside: InstitutionContext, hashes: list[str]) -> None:
    for _ in range(3):
        assert [guess("x", "192.0.2.1") for _ in range(9)] == ["wrong"] * 9
        assert guess("right", "192.0.2.1") == "right"


@pytest.mark.django_db
def test_guessing_from_many_addresses_grows_slower_and_slower(inside: InstitutionContext, hashes: list[str]) -> None:
    addresses = [f"198.51.100.{n}" for n in range(100)]
    assert [guess("x", address) for address in addresses[:21]] == ["wrong"] * 21
    assert guess("x", addresses[22]) == "wait"
    waits = []
    for address in addresses[30:38]:
        key = next(iter(bus.client().scan_iter("*:guess:wait:*")))
        waits.append(bus.client().pttl(key))
        bus.client().delete(key)
        assert guess("x", address) == "wrong"
    seconds = [round(wait / 1000) for wait in waits]
    assert seconds == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.django_db
def test_the_owner_is_not_locked_out_where_they_signed_in_before(inside: InstitutionContext, hashes: list[str]) -> None:
    assert guess("right", "192.0.2.1") == "right"
    for n in range(21):
        guess("x", f"198.51.100.{n}")
    assert guess("right", "198.51.100.99") == "wait", "negative control: an address never seen waits"
    assert guess("right", "192.0.2.1") == "right"


@pytest.mark.django_db
def test_one_address_may_mistype_far_more_often_than_one_account(
    inside: InstitutionContext, hashes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signin.ADDRESS_LIMIT >= 20 * signin.PAIR_LIMIT
    monkeypatch.setattr(signin, "ADDRESS_LIMIT", 30)
    outcomes = [guess("x", "192.0.2.1", f"student{n}@greenwood.test") for n in range(31)]
    assert outcomes == ["wrong"] * 30 + ["wait"]


@pytest.mark.django_db
def test_an_institutions_sign_ins_do_not_use_up_the_anonymous_limit(
    greenwood: InstitutionContext, settings: Any
) -> None:
    settings.RATE_LIMIT_ANON = (2, 3600)
    teacher = cast.of(greenwood).teacher
    body = {"email": teacher.email, "password": teacher.password}
    assert [nobody(greenwood).post(TOKEN, body).status_code for _ in range(5)] == [200] * 5


@pytest.mark.django_db
def test_a_password_is_refused_before_it_is_hashed_when_it_is_absurd(
    greenwood: InstitutionContext, hashes: list[str]
) -> None:
    for email, password in (("a@b.test", "x" * 2000), ("x" * 300, "x"), ("a@b.test", "nul\x00"), ("", "x"), (None, 7)):
        assert nobody(greenwood).post(TOKEN, {"email": email, "password": password}).status_code == 400
    assert nobody(greenwood).post(TOKEN, ["no", "object"]).status_code == 400
    assert nobody(greenwood).post(TOKEN, {"email": "a@b.test", "pasword": "misspelt"}).status_code == 400
    assert hashes == []


# Hashing


def test_hashes_beyond_the_queue_are_sent_away() -> None:
    queue = passwords.HashQueue(at_once=1, longest=1, wait=10.0)
    hashing, done = threading.Event(), threading.Event()
    outcomes: list[str] = []

    def hash_for_long() -> None:
        with queue.place():
            hashing.set()
            done.wait(10)
        outcomes.append("hashed")

    first = threading.Thread(target=hash_for_long)
    first.start()
    assert hashing.wait(10)
    second = threading.Thread(target=hash_for_long)
    second.start()
    while queue._waiting == 0:
        pass
    with pytest.raises(Unavailable) as refused, queue.place():
        pass
    assert refused.value.headers["Retry-After"]
    done.set()
    first.join(10)
    second.join(10)
    assert outcomes == ["hashed", "hashed"]
    with queue.place():
        pass


@pytest.mark.django_db
def test_a_full_hash_queue_costs_nobody_an_attempt(inside: InstitutionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(user: Any, password: str) -> bool:
        raise Unavailable("busy")

    monkeypatch.setattr(signin, "password_is", busy)
    for _ in range(15):
        with pytest.raises(Unavailable):
            signin.guess("teacher@greenwood.test", Somebody(), "x", "192.0.2.1")  # type: ignore[arg-type]
    with pytest.raises(Unauthenticated):
        monkeypatch.undo()
        signin.sign_in(email="nobody@greenwood.test", password="x", address="192.0.2.1", user_agent="")
