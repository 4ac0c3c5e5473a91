"""Two writes that wait for each other crosswise: the one that the database gives up is done once more."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.http import HttpResponse
from django.test import RequestFactory

from shared_apps.core.actors import acting, command
from shared_apps.core.api import idempotency
from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.academics.models import Enrolment
from tests import cast as casting
from tests.api import Asker, as_person

BULK = "/api/v1/academics/enrolments/bulk/"
CHILDREN = ("ada", "ben", "cleo", "dan")
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"


class Undone(Exception):
    """Takes the gate's rows back."""


def new(cast: casting.Cast, child: str) -> dict[str, str]:
    """An enrolment that overlaps no other, until it is made twice."""
    section = "science" if child in casting.IN_MATHS else "maths"
    return {"student": str(cast.id(child)), "section": str(cast.id(section)), "starts_on": str(casting.TURN)}


def deadlocked(greenwood: InstitutionContext, **headers: str) -> list[HttpResponse]:
    """The answers to two bulk requests: one enrols Ada, Cleo, Ben, the other Ben, Dan, Ada.

    A third transaction holds Cleo's and Dan's days: both have written their first row when they wait at their second,
    and want each other's at the third. That is a deadlock in every order of events.
    """
    cast = casting.of(greenwood)
    token = as_person(greenwood, cast.principal).token

    def enrol(children: tuple[str, ...]) -> HttpResponse:
        try:
            asker = Asker("greenwood.localhost", token=token)
            return asker.post(BULK, {"create": [new(cast, child) for child in children]}, **headers)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool, institution(greenwood), acting(command("test")):
        asked = []
        try:
            with transaction.atomic():
                for child in ("cleo", "dan"):
                    row = new(cast, child)
                    Enrolment.objects.create(
                        student_id=row["student"], section_id=row["section"], starts_on=row["starts_on"]
                    )
                asked = [pool.submit(enrol, some) for some in (("ada", "cleo", "ben"), ("ben", "dan", "ada"))]
                wait_for_two()
                raise Undone
        except Undone:
            pass
        return [one.result(timeout=30) for one in asked]


def wait_for_two() -> None:
    """Until both wait for the gate."""
    deadline = time.monotonic() + 20
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(WAITING)
            if cursor.fetchone()[0] == 2:
                return
            time.sleep(0.02)
    raise AssertionError("The two requests never waited for the gate.")


def test_the_write_that_the_database_gives_up_is_done_again_and_told_what_is_in_its_way(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    answers = sorted(deadlocked(greenwood), key=lambda answer: answer.status_code)
    assert [answer.status_code for answer in answers] == [200, 409], [answer.content for answer in answers]
    assert {error["code"] for error in answers[1].json()["errors"]} == {"enrolment_overlap"}
    with institution(greenwood):
        assert Enrolment.objects.filter(starts_on=casting.TURN).count() == 3


def test_without_the_repetition_it_would_be_told_that_the_database_is_away(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr(idempotency, "REPEATS", 0)
    assert sorted(answer.status_code for answer in deadlocked(greenwood)) == [200, 503]


class GivenUp(Exception):
    """Stands for psycopg's error."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


# What the database says, how often, and how often the work is then done: None where the caller is told.
CASES: tuple[tuple[str, int, bytes | None, int | None], ...] = (
    ("40P01", 1, None, 2),
    ("40001", 1, None, 2),
    ("40001", 2, None, None),  # once more, not for ever
    ("57P01", 1, None, None),  # admin_shutdown: the database is away
    ("40P01", 1, b"digest", None),  # an upload: its file has been moved
)


def test_only_what_the_database_gave_up_is_repeated_and_only_once(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    for sqlstate, failures, content, done in CASES:
        tries: list[str] = []

        def work(sqlstate: str = sqlstate, failures: int = failures, tries: list[str] = tries) -> HttpResponse:
            tries.append(sqlstate)
            if len(tries) <= failures:
                raise OperationalError from GivenUp(sqlstate)
            return HttpResponse()

        expected = nullcontext() if done else pytest.raises(OperationalError)
        with institution(greenwood), expected:
            person = casting.of(greenwood).principal.user_id
            assert idempotency.once(RequestFactory().post("/"), person, work, content=content).status_code == 200
            assert len(tries) == done
