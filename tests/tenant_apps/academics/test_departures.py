"""Who leaves the school leaves its sections on the same day."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from shared_apps.core.context import InstitutionContext
from tenant_apps.academics.models import Enrolment
from tenant_apps.school.models import Student
from tenant_apps.school.services import change_student_state, departures
from tests import cast as casting
from tests.api import as_person

TODAY = datetime.now(UTC).date() - timedelta(days=2)
BEGUN = casting.YEAR[0]


@pytest.fixture
def cast(inside: InstitutionContext) -> casting.Cast:
    return casting.of(inside)


@pytest.fixture
def ada(cast: casting.Cast) -> Student:
    return Student.objects.get(pk=cast.id("ada"))


def days(student: Student) -> list[tuple[UUID, date, date | None]]:
    rows = Enrolment.objects.filter(student=student).order_by("starts_on")
    return list(rows.values_list("section_id", "starts_on", "ends_on"))


@pytest.mark.parametrize("state", ["left", "graduated", "transferred"])
def test_enrolments_end_with_the_first_day_away(ada: Student, cast: casting.Cast, state: str) -> None:
    change_student_state(student=ada, to=state, on=TODAY)
    assert days(ada) == [(cast.id("maths"), BEGUN, TODAY)]
    seen = as_person(cast.institution, cast.teacher).get(f"/api/v1/school/students/{ada.pk}/")
    assert seen.status_code == 404, "a teacher who kept the student would still read their record"


def test_without_the_listening_room_they_would_go_on(
    ada: Student, cast: casting.Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr("tenant_apps.school.services.departures", [])
    change_student_state(student=ada, to="left", on=TODAY)
    assert days(ada) == [(cast.id("maths"), BEGUN, None)]
    assert departures


def test_what_is_over_or_ends_sooner_stays_and_what_was_planned_holds_no_day(ada: Student, cast: casting.Cast) -> None:
    over, planned = TODAY - timedelta(days=30), TODAY + timedelta(days=30)
    Enrolment.objects.filter(student=ada).update(ends_on=over)
    Enrolment.objects.create(student=ada, section_id=cast.id("science"), starts_on=planned)
    change_student_state(student=ada, to="left", on=TODAY)
    assert days(ada) == [(cast.id("maths"), BEGUN, over), (cast.id("science"), planned, planned)]


def test_who_comes_back_is_enrolled_anew_beside_the_old_days(ada: Student, cast: casting.Cast) -> None:
    change_student_state(student=ada, to="left", on=TODAY - timedelta(days=10))
    change_student_state(student=ada, to="enrolled", on=TODAY)
    body = {"student": str(ada.pk), "section": str(cast.id("maths")), "starts_on": TODAY.isoformat()}
    answer = as_person(cast.institution, cast.principal).post("/api/v1/academics/enrolments/", body)
    assert answer.status_code == 201, answer.content
    assert [(start, end) for _, start, end in days(ada)] == [(BEGUN, TODAY - timedelta(days=10)), (TODAY, None)]


def test_a_refused_change_ends_no_enrolment(ada: Student, cast: casting.Cast) -> None:
    principal = as_person(cast.institution, cast.principal)
    path = f"/api/v1/school/students/{ada.pk}/change-state/"
    assert principal.post(path, {"to": "applied", "on": TODAY.isoformat()}).status_code == 409
    assert days(ada) == [(cast.id("maths"), BEGUN, None)]
