"""Who sees whom: teachers their sections, guardians their children, students themselves, outsiders nobody."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from shared_apps.core.clock import local_date
from shared_apps.core.context import InstitutionContext
from shared_apps.core.permissions import Scope
from shared_apps.core.registry import Viewer, registry
from tenant_apps.academics.models import Enrolment, SectionTeacher
from tenant_apps.accounts.models import UserRole
from tenant_apps.school.models import Guardian, Staff, Student, StudentGuardian
from tests import cast as casting
from tests.api import as_person

TODAY = datetime.now(UTC).date()
TOMORROW = TODAY + timedelta(days=1)


@pytest.fixture
def cast(inside: InstitutionContext) -> casting.Cast:
    return casting.of(inside)


def listed(cast: casting.Cast, person: casting.Person, path: str) -> list[UUID]:
    """Ids of all rows that a person's list shows, in its order."""
    answer = as_person(cast.institution, person).get(f"/api/v1/{path}/?page_size=200")
    assert answer.status_code == 200, answer.content
    return [UUID(row["id"]) for row in answer.json()["results"]]


def exactly(rows: list[UUID], wanted: set[UUID]) -> bool:
    return len(rows) == len(wanted) and set(rows) == wanted


def reach(model: Any, scope: Scope, user_id: UUID, *, scope_id: UUID | None = None, today: date = TODAY) -> list[UUID]:
    """What a registered scope leaves of a table."""
    viewer = Viewer(user_id=user_id, scope_id=scope_id, today=today)
    return list(model.objects.filter(registry.scopes[model, scope](viewer)).values_list("pk", flat=True))


def test_each_of_the_cast_sees_exactly_their_students(cast: casting.Cast) -> None:
    seen = {
        "principal": casting.STUDENTS,
        "teacher": casting.IN_MATHS,
        "guardian": ("ada", "ben"),
        "student": ("cleo",),
    }
    for person in cast.people:
        assert exactly(listed(cast, person, "school/students"), cast.ids(*seen[person.role])), person.role


def test_a_student_out_of_scope_is_not_found(cast: casting.Cast) -> None:
    hidden = {"teacher": "ben", "guardian": "cleo", "student": "ada"}
    for role, name in hidden.items():
        asker = as_person(cast.institution, getattr(cast, role))
        assert asker.get(f"/api/v1/school/students/{cast.id(name)}/").status_code == 404, role
    principal = as_person(cast.institution, cast.principal)
    assert principal.get(f"/api/v1/school/students/{cast.id('ben')}/").status_code == 200


def test_sections_and_what_hangs_on_them_follow_the_same_scopes(cast: casting.Cast) -> None:
    sections = {"teacher": {"maths"}, "guardian": {"maths", "science"}, "student": {"maths"}}
    enrolments = {
        "teacher": {"ada in maths", "cleo in maths", "dan in maths"},
        "guardian": {"ada in maths", "ben in science"},
        "student": {"cleo in maths"},
    }
    for role, names in sections.items():
        person = getattr(cast, role)
        terms = {f"{name} in {term}" for name in names for term in ("autumn", "spring")}
        assert exactly(listed(cast, person, "academics/sections"), cast.ids(*names)), role
        assert exactly(listed(cast, person, "academics/section-terms"), cast.ids(*terms)), role
        assert exactly(listed(cast, person, "academics/enrolments"), cast.ids(*enrolments[role])), role


def test_a_teacher_sees_the_guardians_of_own_students_and_no_colleague(cast: casting.Cast) -> None:
    assert exactly(listed(cast, cast.teacher, "school/guardians"), cast.ids("guardian", "guardian of dan"))
    links = cast.ids("guardian for ada", "guardian of dan for dan")
    assert exactly(listed(cast, cast.teacher, "school/student-guardians"), links)
    assert exactly(listed(cast, cast.teacher, "school/staff"), cast.ids("teacher"))
    assert exactly(listed(cast, cast.teacher, "academics/section-teachers"), cast.ids("teacher of maths"))
    statuses = as_person(cast.institution, cast.teacher).get("/api/v1/school/student-statuses/").json()["results"]
    assert {UUID(row["student"]) for row in statuses} == cast.ids(*casting.IN_MATHS)


def test_guardians_and_students_see_no_staff_and_guardians_of_guardians_only_themselves(cast: casting.Cast) -> None:
    for person in (cast.guardian, cast.student):
        assert as_person(cast.institution, person).get("/api/v1/school/staff/").status_code == 403
    assert exactly(listed(cast, cast.guardian, "school/guardians"), cast.ids("guardian"))
    assert as_person(cast.institution, cast.student).get("/api/v1/school/guardians/").status_code == 403


def test_notes_are_in_no_answer(cast: casting.Cast) -> None:
    Student.objects.filter(pk=cast.id("ada")).update(notes="Not for the guardian")
    for person in (cast.guardian, cast.principal):
        answer = as_person(cast.institution, person).get(f"/api/v1/school/students/{cast.id('ada')}/")
        assert "notes" not in answer.json()


@pytest.mark.parametrize(
    ("change", "sees"),
    [
        ({}, True),
        ({"custody": "none"}, False),
        ({"custody": "none", "may_see_records": True}, False),
        ({"may_see_records": False}, False),
        ({"custody": "shared"}, True),
        ({"valid_from": TODAY}, True),
        ({"valid_from": TOMORROW}, False),
        ({"valid_until": TOMORROW}, True),
        ({"valid_until": TODAY}, False),
    ],
)
def test_a_guardian_sees_a_child_only_with_custody_and_within_the_days(
    cast: casting.Cast, change: dict[str, Any], sees: bool
) -> None:
    StudentGuardian.objects.filter(pk=cast.id("guardian for ada")).update(**change)
    children = {"ada", "ben"} if sees else {"ben"}
    assert exactly(reach(Student, Scope.OWN_CHILDREN, cast.guardian.user_id), cast.ids(*children))
    links = {f"guardian for {child}" for child in children}
    assert exactly(reach(StudentGuardian, Scope.OWN_CHILDREN, cast.guardian.user_id), cast.ids(*links))
    enrolments = {f"{child} in {'maths' if child == 'ada' else 'science'}" for child in children}
    assert exactly(reach(Enrolment, Scope.OWN_CHILDREN, cast.guardian.user_id), cast.ids(*enrolments))
    # Negative control: the bare link would show both children.
    bare = Student.objects.filter(guardian_links__guardian__user=cast.guardian.user_id)
    assert set(bare.values_list("pk", flat=True)) == cast.ids("ada", "ben")


def test_a_guardian_without_custody_is_told_that_the_child_is_not_there(cast: casting.Cast) -> None:
    address = f"/api/v1/school/students/{cast.id('ada')}/"
    guardian = as_person(cast.institution, cast.guardian)
    assert guardian.get(address).status_code == 200
    StudentGuardian.objects.filter(pk=cast.id("guardian for ada")).update(custody="none")
    assert guardian.get(address).status_code == 404


def test_custody_of_one_guardian_says_nothing_of_another(cast: casting.Cast) -> None:
    StudentGuardian.objects.filter(pk=cast.id("guardian for ada")).update(custody="none")
    other = Guardian.objects.get(pk=cast.id("guardian of dan"))
    StudentGuardian.objects.create(student_id=cast.id("ada"), guardian=other)
    assert exactly(reach(Student, Scope.OWN_CHILDREN, cast.guardian.user_id), cast.ids("ben"))


@pytest.mark.parametrize(
    ("starts_on", "ends_on", "sees"),
    [(TODAY, None, True), (TOMORROW, None, False), (TODAY, TOMORROW, True), (casting.YEAR[0], TODAY, False)],
)
def test_a_teacher_sees_who_is_enrolled_today(
    cast: casting.Cast, starts_on: date, ends_on: date | None, sees: bool
) -> None:
    Enrolment.objects.create(
        student_id=cast.id("ben"), section_id=cast.id("maths"), starts_on=starts_on, ends_on=ends_on
    )
    assert (cast.id("ben") in reach(Student, Scope.SECTION, cast.teacher.user_id)) is sees


def test_a_teacher_who_has_stopped_teaching_sees_nobody(cast: casting.Cast) -> None:
    SectionTeacher.objects.filter(pk=cast.id("teacher of maths")).update(ends_on=TODAY)
    assert reach(Student, Scope.SECTION, cast.teacher.user_id) == []
    assert len(reach(Student, Scope.SECTION, cast.teacher.user_id, today=TODAY - timedelta(days=1))) == 3


def test_a_student_of_two_own_sections_is_listed_once(cast: casting.Cast) -> None:
    teacher = cast.teacher.user_id
    SectionTeacher.objects.create(section_id=cast.id("science"), staff_id=cast.id("teacher"), starts_on=casting.YEAR[0])
    Enrolment.objects.create(student_id=cast.id("ada"), section_id=cast.id("science"), starts_on=casting.YEAR[0])
    assert exactly(reach(Student, Scope.SECTION, teacher), cast.ids(*casting.STUDENTS))
    assert exactly(listed(cast, cast.teacher, "school/students"), cast.ids(*casting.STUDENTS))
    # Negative control: the same condition as a join lists Ada twice.
    joined = Student.objects.filter(enrolments__section__section_teachers__staff__user=teacher)
    assert list(joined.values_list("pk", flat=True)).count(cast.id("ada")) == 2


def test_a_scope_that_names_a_section_shows_that_one(cast: casting.Cast) -> None:
    stranger = cast.guardian.user_id
    seen = reach(Student, Scope.SECTION, stranger, scope_id=cast.id("science"))
    assert exactly(seen, cast.ids("ben", "eva", "finn"))
    UserRole.objects.filter(user=cast.teacher.user_id).update(scope_id=cast.id("science"))
    assert exactly(listed(cast, cast.teacher, "school/students"), cast.ids("ben", "eva", "finn"))


def test_a_guardian_of_three_has_each_child_once(cast: casting.Cast) -> None:
    StudentGuardian.objects.create(student_id=cast.id("finn"), guardian_id=cast.id("guardian"))
    assert exactly(listed(cast, cast.guardian, "school/students"), cast.ids("ada", "ben", "finn"))


def test_a_teacher_sees_nobody_from_the_day_on_which_the_employment_ends(cast: casting.Cast) -> None:
    teacher = Staff.objects.filter(pk=cast.id("teacher"))
    teacher.update(employed_until=local_date() + timedelta(days=1))
    assert exactly(listed(cast, cast.teacher, "school/students"), cast.ids(*casting.IN_MATHS))
    teacher.update(employed_until=local_date())
    for path in ("school/students", "school/guardians", "academics/sections", "academics/enrolments"):
        assert listed(cast, cast.teacher, path) == [], path
    # Negative control: the days of the teaching itself still run.
    assert SectionTeacher.objects.get(pk=cast.id("teacher of maths")).ends_on is None


def test_a_guardian_is_hidden_from_teachers_from_the_day_on_which_the_link_ends(cast: casting.Cast) -> None:
    link = StudentGuardian.objects.filter(pk=cast.id("guardian of dan for dan"))
    link.update(valid_until=local_date() + timedelta(days=1))
    assert exactly(listed(cast, cast.teacher, "school/guardians"), cast.ids("guardian", "guardian of dan"))
    link.update(valid_until=local_date())
    assert exactly(listed(cast, cast.teacher, "school/guardians"), cast.ids("guardian"))
    assert exactly(listed(cast, cast.teacher, "school/student-guardians"), cast.ids("guardian for ada"))
    # Negative control: the office knows who was a guardian.
    assert cast.id("guardian of dan for dan") in listed(cast, cast.principal, "school/student-guardians")
