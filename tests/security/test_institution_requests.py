"""An institution's requests a minute: exactly as many as allowed, whoever sends them, and nobody else's business."""

import threading
from typing import Any

import pytest
from django.db import connection

from shared_apps.core import bus
from shared_apps.core.api import admission
from shared_apps.core.context import InstitutionContext
from shared_apps.core.ids import uuid7
from tests import cast as casting
from tests.api import as_person, nobody
from tests.limited import allow_only, limited
from tests.security.test_limits import redis_away, request_from
from tests.tenant_apps.accounts.together import together

ME, STUDENTS = "/api/v1/auth/me/", "/api/v1/school/students/"
__all__ = ["redis_away"]


@pytest.mark.django_db
def test_of_twenty_at_once_by_twenty_people_exactly_seven_pass(greenwood: InstitutionContext) -> None:
    here = limited(greenwood, requests_per_minute=7)
    answers = together(20, here, lambda: admission.admit(request_from("192.0.2.9"), user_id=uuid7()))
    assert sum(answer.allowed for answer in answers) == 7
    assert all(answer.whole for answer in answers if not answer.allowed)


@pytest.mark.django_db
def test_reading_before_counting_lets_more_pass(greenwood: InstitutionContext) -> None:
    """Negative control."""
    read = threading.Barrier(20)

    def naive() -> bool:
        used = int(bus.client().get("naive") or 0)
        read.wait(timeout=30)
        bus.client().incr("naive")
        return used < 7

    assert sum(together(20, limited(greenwood, requests_per_minute=7), naive)) > 7


@pytest.mark.django_db
def test_the_answer_says_whose_limit_it_is_and_when_to_come_back(greenwood: InstitutionContext) -> None:
    people = casting.of(greenwood)
    teacher, guardian = as_person(greenwood, people.teacher), as_person(greenwood, people.guardian)
    assert [door.get(ME).status_code for door in (teacher, guardian)] == [200, 200]
    bus.client().flushdb()
    allow_only(greenwood, requests_per_minute=2)
    assert [door.get(ME).status_code for door in (teacher, guardian)] == [200, 200]
    for answer in (guardian.get(ME), teacher.get(ME)):
        assert (answer.status_code, answer.json()["code"]) == (429, "institution_rate_limited")
        assert 0 < int(answer["Retry-After"]) <= 60
        assert (answer["X-RateLimit-Limit"], answer["X-RateLimit-Remaining"]) == ("2", "0")
        assert answer["X-RateLimit-Scope"] == "institution"
        assert (answer.json()["limit"], answer.json()["allowed"]) == ("requests_per_minute", 2)


@pytest.mark.django_db
def test_one_institutions_burst_refuses_nothing_of_another_s(
    greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    mine = as_person(greenwood, casting.of(greenwood).teacher)
    theirs = as_person(lumiere, casting.of(lumiere).teacher)
    assert mine.get(ME).status_code == theirs.get(ME).status_code == 200
    allow_only(greenwood, requests_per_minute=1)
    assert 429 in [mine.get(ME).status_code for _ in range(3)]
    assert [theirs.get(ME).status_code for _ in range(3)] == [200] * 3


@pytest.mark.django_db
def test_strangers_cannot_use_up_what_is_the_peoples(greenwood: InstitutionContext) -> None:
    teacher = as_person(greenwood, casting.of(greenwood).teacher)
    assert teacher.get(ME).status_code == 200
    bus.client().flushdb()
    allow_only(greenwood, requests_per_minute=10)
    stranger = nobody(greenwood)
    assert [stranger.get(ME).status_code for _ in range(20)] == [401] * 8 + [429] * 12
    assert [teacher.get(ME).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.django_db
def test_what_is_refused_is_counted_for_nobody(inside: InstitutionContext, settings: Any) -> None:
    settings.RATE_LIMIT_USER = (2, 60)
    teacher = uuid7()
    ask = lambda: admission.admit(request_from("192.0.2.9"), user_id=teacher)  # noqa: E731
    assert [ask().allowed for _ in range(5)] == [True, True, False, False, False]
    assert admission.requests_of_this_minute() == 2, "an eager person's refusals are not their institution's"


@pytest.mark.django_db
def test_a_full_institution_is_turned_away_at_the_door(
    greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Redis, token and database: a refusal must cost less than what it refuses."""
    teacher = as_person(greenwood, casting.of(greenwood).teacher)
    assert teacher.get(ME).status_code == 200
    allow_only(greenwood, requests_per_minute=1)
    while teacher.get(ME).status_code != 429:
        pass

    def never(*args: Any) -> Any:
        raise AssertionError("Redis was asked")

    with monkeypatch.context() as patched:
        patched.setattr(admission, "run", never)
        answer = teacher.get(ME)
        assert (answer.status_code, answer.json()["code"]) == (429, "institution_rate_limited")
        assert 0 < int(answer["Retry-After"]) <= 60


@pytest.mark.django_db
def test_a_raised_limit_holds_at_once(greenwood: InstitutionContext) -> None:
    teacher = as_person(greenwood, casting.of(greenwood).teacher)
    assert teacher.get(ME).status_code == 200
    allow_only(greenwood, requests_per_minute=1)
    while teacher.get(ME).status_code != 429:
        pass
    allow_only(greenwood, requests_per_minute=100)
    assert teacher.get(ME).status_code == 200


@pytest.mark.django_db
@pytest.mark.usefixtures("redis_away")
def test_with_redis_away_this_process_goes_on_counting(greenwood: InstitutionContext) -> None:
    here = limited(greenwood, requests_per_minute=3)
    answers = together(1, here, lambda: [admission.admit(request_from("192.0.2.9"), user_id=uuid7()) for _ in range(5)])
    assert [answer.allowed for answer in answers[0]] == [True] * 3 + [False] * 2


@pytest.mark.django_db
def test_both_windows_are_counted_in_one_round_trip(
    inside: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips = []
    run = admission.run
    monkeypatch.setattr(admission, "run", lambda *asked: trips.append(asked) or run(*asked))
    admission.admit(request_from("192.0.2.9"), user_id=uuid7())
    assert len(trips) == 1
    assert admission.requests_of_this_minute() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(("allowed", "reached"), [(5, 5), (None, 60)], ids=["limited", "negative control: unlimited"])
def test_of_a_burst_only_the_limit_reaches_the_database(
    greenwood: InstitutionContext, allowed: int | None, reached: int
) -> None:
    """What a neighbour waits behind; `python -m tests.bench.neighbours` measures for how long."""
    teacher = as_person(greenwood, casting.of(greenwood).teacher)
    assert teacher.get(STUDENTS).status_code == 200
    bus.client().flushdb()
    allow_only(greenwood, requests_per_minute=allowed)
    lists = 0

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        nonlocal lists
        lists += "school_student" in sql
        return execute(sql, *rest)

    with connection.execute_wrapper(count):
        statuses = [teacher.get(STUDENTS).status_code for _ in range(60)]
    assert (lists, statuses.count(200)) == (reached, reached)
