"""One statement takes no longer than the institution's may, at no cost of its own."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from shared_apps.core.actors import Actor, ActorKind, acting, task
from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.engine.base import DatabaseWrapper
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.errors import TookTooLong
from shared_apps.core.problems import as_problem
from shared_apps.core.quotas import JOB_PATIENCE
from tenant_apps.accounts.api import auth
from tests import cast as casting
from tests.api import as_person
from tests.limited import allow_only, limited

ME = "/api/v1/auth/me/"


@pytest.fixture(autouse=True)
def as_in_a_request(_django_db_helper: None) -> Iterator[None]:
    with acting(Actor(ActorKind.PERSON, "somebody@greenwood.test")):
        yield


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The engine's own messages, each with its statements."""
    messages: list[list[str]] = []
    send = DatabaseWrapper._send

    def note(self: DatabaseWrapper, statements: list[str], *, begin: bool) -> None:
        messages.append(statements)
        send(self, statements, begin=begin)

    monkeypatch.setattr(DatabaseWrapper, "_send", note)
    return messages


def allowed_now() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return str(cursor.fetchone()[0])


def nap(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def test_a_statement_that_takes_too_long_is_stopped_and_said_so(db: None, greenwood: InstitutionContext) -> None:
    with institution(limited(greenwood, statement_seconds=1)), pytest.raises(OperationalError) as stopped:
        nap(3)
    problem = as_problem(stopped.value)
    assert isinstance(problem, TookTooLong)
    assert (problem.status, problem.code) == (504, "took_too_long")


def test_without_the_limit_it_would_have_gone_on(db: None, greenwood: InstitutionContext) -> None:
    """Negative control."""
    with institution(limited(greenwood)):
        nap(1.2)


def test_a_request_that_takes_too_long_is_a_problem_and_no_traceback(
    db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = as_person(greenwood, casting.of(greenwood).teacher)
    assert door.get(ME).status_code == 200
    allow_only(greenwood, statement_seconds=1)

    def slow(*args: Any, **kwargs: Any) -> None:
        nap(3)

    monkeypatch.setattr(auth.MeView, "get", slow)
    answer = door.get(ME)
    assert (answer.status_code, answer["Content-Type"]) == (504, "application/problem+json")
    assert answer.json()["code"] == "took_too_long"
    assert "took too long" in answer.json()["detail"]


def test_the_limit_goes_along_with_the_switch_and_in_no_message_of_its_own(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext, sent: list[list[str]]
) -> None:
    for _ in range(2):
        for place, seconds in ((greenwood, 7), (lumiere, 11)):
            with institution(limited(place, statement_seconds=seconds)):
                assert [allowed_now() for _ in range(3)] == [f"{seconds}s"] * 3
    with_path = [any("search_path" in one for one in statements) for statements in sent]
    with_time = [any("statement_timeout" in one for one in statements) for statements in sent]
    assert with_path == with_time
    if connection.pg_version >= 180000:
        assert len(sent) == 4, "one message for each switch"


def test_a_request_costs_as_many_messages_as_without_a_limit(
    db: None, greenwood: InstitutionContext, sent: list[list[str]]
) -> None:
    door = as_person(greenwood, casting.of(greenwood).teacher)
    least = []
    for seconds in (None, 30):
        allow_only(greenwood, statement_seconds=seconds)
        counts = []
        for _ in range(5):  # the listener may still make one of them look up the host again
            sent.clear()
            assert door.get(ME).status_code == 200
            counts.append(len(sent))
        least.append(min(counts))
    assert least[0] == least[1] <= 1


def test_a_job_and_a_command_may_take_longer(db: None, greenwood: InstitutionContext) -> None:
    with institution(limited(greenwood, statement_seconds=2)):
        assert allowed_now() == "2s"
        with acting(task("job")):
            assert allowed_now() == f"{2 * JOB_PATIENCE}s"
        assert allowed_now() == "2s"


def test_the_platform_and_the_owner_are_not_hurried(transactional_db: None, greenwood: InstitutionContext) -> None:
    here = limited(greenwood, statement_seconds=2)
    with institution(here):
        assert allowed_now() == "2s"
        with platform():
            assert allowed_now() == "0"
        assert allowed_now() == "2s"
        with platform(), owner_connection(), institution(here):
            assert allowed_now() == "0"


def test_a_rollback_leaves_no_other_limit_behind(transactional_db: None, greenwood: InstitutionContext) -> None:
    short, long = (limited(greenwood, statement_seconds=seconds) for seconds in (2, 9))
    with institution(short):
        assert allowed_now() == "2s"
    with pytest.raises(ZeroDivisionError), institution(long), transaction.atomic():
        assert allowed_now() == "9s"
        raise ZeroDivisionError
    with institution(long):
        assert allowed_now() == "9s"
    with institution(short), transaction.atomic():
        with pytest.raises(ZeroDivisionError), institution(long), transaction.atomic():
            assert allowed_now() == "9s"
            raise ZeroDivisionError
        assert allowed_now() == "2s"
    with institution(short):
        assert allowed_now() == "2s"


def test_an_engine_that_trusts_what_it_sent_last_keeps_a_limit_that_a_rollback_took_back(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of the test above."""
    monkeypatch.setattr(DatabaseWrapper, "_forget_patience", lambda self: None)
    short, long = (limited(greenwood, statement_seconds=seconds) for seconds in (2, 9))
    with institution(short):
        assert allowed_now() == "2s"
    with pytest.raises(ZeroDivisionError), institution(long), transaction.atomic():
        assert allowed_now() == "9s"
        raise ZeroDivisionError
    with institution(long):
        assert allowed_now() == ("2s" if connection.pg_version >= 180000 else "9s")
