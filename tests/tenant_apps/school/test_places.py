"""An institution has as many enrolled students as its limit says, whichever way and however many at once."""

import itertools
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext

from shared_apps.core import quotas
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.errors import PaymentRequired
from shared_apps.core.storing import store
from tenant_apps.eventlog import jobs
from tenant_apps.files import tables
from tenant_apps.school.models import Student
from tenant_apps.school.services import change_student_state, enrolled_students, open_histories, register_student
from tests import cast as casting
from tests.api import Asker, as_person
from tests.limited import allow_only, limited
from tests.tenant_apps.accounts.together import together
from tests.tenant_apps.files.sending import SameConnection, bring

STUDENTS = "/api/v1/school/students/"
HERE = 6  # students of the cast, all enrolled
numbers = itertools.count(1)


def values(context: InstitutionContext) -> dict[str, Any]:
    number = next(numbers)
    return {
        "student_number": f"N{number}",
        "given_name": "New",
        "family_name": f"Student{number}",
        "campus_id": casting.of(context).id("campus"),
    }


def body(context: InstitutionContext) -> dict[str, Any]:
    sent = values(context)
    campus = sent.pop("campus_id")
    return {**sent, "campus": str(campus)}


def how_many(context: InstitutionContext) -> int:
    with institution(context):
        return enrolled_students()


@pytest.fixture
def principal(db: None, greenwood: InstitutionContext) -> Asker:
    return as_person(greenwood, casting.of(greenwood).principal)


def test_where_there_is_ample_room_a_count_of_a_moment_ago_is_believed(
    db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new student costs no count of them all, but near the limit."""
    monkeypatch.setattr(quotas, "_last_counts", {})
    monkeypatch.setattr(quotas, "BELIEVED", 60.0)

    def statements(students: int) -> list[str]:
        with institution(limited(greenwood, students=students)), CaptureQueriesContext(connection) as asked:
            register_student(**values(greenwood))
        return [one["sql"] for one in asked if "advisory" in one["sql"] or "COUNT(*)" in one["sql"]]

    assert [len(statements(100_000)) for _ in range(3)] == [1, 0, 0]
    assert [len(statements(20_000)) for _ in range(2)] == [2, 2], "negative control: it might be used up in a moment"


def test_bulk_requests_are_counted_however_much_room_there_is(
    principal: Asker, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = itertools.count()
    monkeypatch.setattr(quotas, "_demand_exactly", lambda name, allowed: next(counts))
    assert principal.post(f"{STUDENTS}bulk/", {"create": [body(greenwood) for _ in range(3)]}).status_code == 200
    assert next(counts) == 1, "once for all of them"


# Many at once


def outcomes(answers: list[HttpResponse]) -> list[int]:
    return sorted(answer.status_code for answer in answers)


def test_of_twenty_at_once_exactly_as_many_succeed_as_have_room(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    allow_only(greenwood, students=HERE + 3)
    principal = as_person(greenwood, casting.of(greenwood).principal)
    token = principal.token
    bodies = [body(greenwood) for _ in range(20)]
    answers = together(
        20, greenwood, lambda: Asker(principal.host, principal.person, token).post(STUDENTS, bodies.pop())
    )
    assert outcomes(answers) == [201] * 3 + [402] * 17
    assert how_many(greenwood) == HERE + 3


def naive_registration(values: dict[str, Any]) -> bool:
    """Counts, then inserts."""
    with transaction.atomic():
        allowed = quotas.limits_of(quotas.current_institution()).students
        if allowed is not None and enrolled_students() >= allowed:
            return False
        student = Student(**values)
        store(student)
        open_histories([student])
    return True


def test_counting_before_the_insert_lets_more_in(transactional_db: None, greenwood: InstitutionContext) -> None:
    """Negative control."""
    here = limited(greenwood, students=HERE + 3)
    several = [values(greenwood) for _ in range(20)]
    assert sum(together(20, here, lambda: naive_registration(several.pop()))) > 3
    assert how_many(greenwood) > HERE + 3


def test_two_bulks_at_once_do_not_share_the_last_places(transactional_db: None, greenwood: InstitutionContext) -> None:
    allow_only(greenwood, students=HERE + 9)
    principal = as_person(greenwood, casting.of(greenwood).principal)
    token = principal.token
    bulks = [{"create": [body(greenwood) for _ in range(5)]} for _ in range(2)]
    answers = together(
        2, greenwood, lambda: Asker(principal.host, principal.person, token).post(f"{STUDENTS}bulk/", bulks.pop())
    )
    assert outcomes(answers) == [200, 402]
    assert how_many(greenwood) == HERE + 5


# What the refusal says, and what it leaves


def test_the_refusal_says_which_limit_how_much_and_whom_to_ask(principal: Asker, greenwood: InstitutionContext) -> None:
    allow_only(greenwood, students=HERE)
    answer = principal.post(STUDENTS, body(greenwood))
    assert answer.status_code == 402
    said = answer.json()
    assert answer["Content-Type"] == "application/problem+json"
    assert (said["code"], said["limit"], said["allowed"], said["used"]) == ("quota_exceeded", "students", 6, 7)
    assert "operators" in said["detail"]
    assert "/api/v1/school/entitlements/" in said["detail"]
    assert how_many(greenwood) == HERE


def test_one_institutions_limit_is_not_another_s(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    allow_only(greenwood, students=HERE)
    assert as_person(lumiere, casting.of(lumiere).principal).post(STUDENTS, body(lumiere)).status_code == 201


def test_a_lower_limit_takes_nobody_away_and_lets_nobody_in(principal: Asker, greenwood: InstitutionContext) -> None:
    allow_only(greenwood, students=2)
    ada = f"{STUDENTS}{casting.of(greenwood).id('ada')}/"
    assert principal.patch(ada, {"given_name": "Augusta"}).status_code == 200
    renamed = {"update": [{"id": str(casting.of(greenwood).id("ada")), "given_name": "Ada"}]}
    assert principal.post(f"{STUDENTS}bulk/", renamed).status_code == 200
    assert principal.post(STUDENTS, body(greenwood)).status_code == 402


def test_who_left_makes_room_and_needs_it_again_on_coming_back(inside: InstitutionContext) -> None:
    ada = Student.objects.get(pk=casting.of(inside).id("ada"))
    with institution(limited(inside, students=HERE)):
        change_student_state(student=ada, to="left", on=date(2026, 11, 1))
        register_student(**values(inside))
        with pytest.raises(PaymentRequired), transaction.atomic():
            change_student_state(student=ada, to="enrolled", on=date(2026, 11, 2))
        ada.refresh_from_db()
        assert ada.state == "left"


def test_who_only_applies_needs_no_place(inside: InstitutionContext) -> None:
    with institution(limited(inside, students=HERE)):
        applicant = register_student(state="applied", joined_on=date(2026, 9, 1), **values(inside))
        with pytest.raises(PaymentRequired), transaction.atomic():
            change_student_state(student=applicant, to="enrolled", on=date(2026, 11, 2))


# Many in one request or file


@pytest.mark.parametrize("atomic", [True, False])
def test_a_bulk_beyond_the_limit_is_refused_whole(
    principal: Asker, greenwood: InstitutionContext, atomic: bool
) -> None:
    allow_only(greenwood, students=HERE + 2)
    rows = [body(greenwood) for _ in range(3)]
    answer = principal.post(f"{STUDENTS}bulk/", {"create": rows, "atomic": atomic})
    assert (answer.status_code, answer.json()["used"]) == (402, HERE + 3)
    assert how_many(greenwood) == HERE
    assert principal.post(f"{STUDENTS}bulk/", {"create": rows[:2], "atomic": atomic}).status_code == 200


def test_a_bulk_may_put_new_ones_in_place_of_old_ones(principal: Asker, greenwood: InstitutionContext) -> None:
    allow_only(greenwood, students=HERE + 1)
    made = principal.post(STUDENTS, body(greenwood)).json()
    swapped = {"create": [body(greenwood)], "delete": [made["id"]]}
    with institution(greenwood):
        Student.objects.get(pk=made["id"]).statuses.all().delete()
    assert principal.post(f"{STUDENTS}bulk/", swapped).status_code == 200
    assert how_many(greenwood) == HERE + 1


@pytest.fixture
def in_one_transaction(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(jobs, "SecondConnection", SameConnection)
    monkeypatch.setattr(tables, "SecondConnection", SameConnection)


@pytest.mark.usefixtures("in_one_transaction")
@pytest.mark.parametrize("rows", [3, 130])
@pytest.mark.parametrize("mode", ["all_or_nothing", "valid_rows_only"])
def test_a_table_beyond_the_limit_is_refused_whole_and_its_dry_run_says_so(
    principal: Asker, greenwood: InstitutionContext, mode: str, rows: int
) -> None:
    lines = [f"{one['student_number']},{one['given_name']},{one['family_name']},MAIN" for one in several(rows)]
    table = "\n".join(["student_number,given_name,family_name,campus", *lines]).encode()
    here = limited(greenwood, students=HERE + rows - 1)
    dry = bring(principal, here, f"{STUDENTS}import/", table, mode=mode, dry_run="true")
    told = bring(principal, here, f"{STUDENTS}import/", table, mode=mode)
    assert (dry["state"], told["state"]) == ("succeeded", "failed")
    assert told["errors"][0]["code"] == "quota_exceeded"
    for each in (dry, told):
        assert each["result"]["errors"][0]["code"] == "quota_exceeded"
        counts = each["result"]["counts"]
        assert (counts["created"], counts["refused"]) == (0, rows)
    assert how_many(greenwood) == HERE
    fits = bring(principal, here, f"{STUDENTS}import/", table.rpartition(b"\n")[0], mode=mode)
    assert (fits["state"], how_many(greenwood)) == ("succeeded", HERE + rows - 1)


def several(rows: int) -> list[dict[str, Any]]:
    return [{"student_number": f"T{next(numbers)}", "given_name": "Tab", "family_name": f"Le{n}"} for n in range(rows)]


def test_a_deleted_student_comes_back_only_while_there_is_room(principal: Asker, greenwood: InstitutionContext) -> None:
    made = principal.post(STUDENTS, body(greenwood)).json()
    with institution(greenwood):
        Student.objects.get(pk=made["id"]).statuses.all().delete()
    assert principal.delete(f"{STUDENTS}{made['id']}/").status_code == 204
    allow_only(greenwood, students=HERE)
    back = f"{STUDENTS}{made['id']}/restore/"
    assert principal.post(back).status_code == 402
    allow_only(greenwood, students=HERE + 1)
    assert principal.post(back).status_code == 200


def test_the_naive_bulk_that_asks_for_each_row_alone_writes_half(inside: InstitutionContext) -> None:
    """Negative control: what a bulk did if each row were judged by itself and kept."""
    written = 0
    with institution(limited(inside, students=HERE + 2)):
        for _ in range(3):
            written += tried(lambda: register_student(**values(inside)))
    assert written == 2


def tried(make: Callable[[], Any]) -> bool:
    try:
        with transaction.atomic():
            make()
    except PaymentRequired:
        return False
    return True
