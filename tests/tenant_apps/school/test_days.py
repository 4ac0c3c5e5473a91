"""A date is a day that can be meant."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from time_machine import travel

from shared_apps.core import clock
from shared_apps.core.context import InstitutionContext
from tenant_apps.school.models import Institution, Staff
from tenant_apps.school.services import change_profile
from tenant_apps.school.standards import possible_birth_date
from tests import cast as casting
from tests.api import as_person

SCHOOL = "/api/v1/school/"
FAR = (datetime.now(UTC).date() + timedelta(days=3)).isoformat()


@pytest.mark.parametrize(
    ("path", "name", "values"),
    [
        ("students", "ada", {"birth_date": "1899-12-31"}),
        ("students", "ada", {"birth_date": FAR}),
        ("guardians", "guardian", {"birth_date": "0001-01-01"}),
        ("staff", "teacher", {"birth_date": FAR}),
        ("students", "ada", {"joined_on": "0020-09-01"}),
        ("staff", "teacher", {"employed_from": "1024-09-01"}),
        ("staff", "teacher", {"employed_until": "9999-12-31"}),
    ],
)
def test_a_day_that_nobody_can_mean_is_refused_at_its_place(
    inside: InstitutionContext, path: str, name: str, values: dict[str, Any]
) -> None:
    cast = casting.of(inside)
    answer = as_person(inside, cast.principal).patch(f"{SCHOOL}{path}/{cast.id(name)}/", values)
    assert answer.status_code == 400, answer.content
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{next(iter(values))}"]


def test_the_first_and_the_last_possible_days_are_taken(inside: InstitutionContext) -> None:
    cast = casting.of(inside)
    principal = as_person(inside, cast.principal)
    student, staff = f"{SCHOOL}students/{cast.id('ada')}/", f"{SCHOOL}staff/{cast.id('teacher')}/"
    assert principal.patch(student, {"birth_date": "1900-01-01"}).status_code == 200
    assert principal.patch(staff, {"employed_until": "2199-12-31"}).status_code == 200


def test_today_is_the_day_at_the_institution(inside: InstitutionContext) -> None:
    """At noon in Greenwich it is the next day already on Kiritimati."""
    with travel(datetime(2026, 5, 1, 12, tzinfo=UTC), tick=False):
        with pytest.raises(ValidationError):
            possible_birth_date(date(2026, 5, 2))
        change_profile(profile=Institution.objects.get(), values={"time_zone": "Pacific/Kiritimati"})
        clock.forget()
        possible_birth_date(date(2026, 5, 2))


def test_commands_and_services_are_held_to_the_same_days(inside: InstitutionContext) -> None:
    staff = Staff(staff_number="X", given_name="A", family_name="B", employed_from=date(24, 9, 1))
    with pytest.raises(ValidationError, match="must lie between"):
        staff.full_clean()
