"""The demo: the same people at every run, whole families, and nothing half done."""

from collections import Counter
from datetime import date
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password

from platform_config.demo import seed
from platform_config.demo.people import Population
from platform_config.demo.schools import GREENWOOD, LUMIERE, RHEINTAL, SCHOOLS, SchoolPlan
from platform_config.demo.seed import PASSWORD, School, seed_school
from shared_apps.core.context import institution, platform
from shared_apps.core.permissions import Scope
from shared_apps.core.registry import Viewer, registry
from shared_apps.tenants.services import create_institution
from tenant_apps.academics.models import Enrolment, Section
from tenant_apps.accounts.models import User
from tenant_apps.interop.roster.teaching import POSITIONS, grade_key
from tenant_apps.school.models import AcademicYear, GradeLevel, Guardian, Student, StudentGuardian

every_school = pytest.mark.parametrize("plan", SCHOOLS, ids=[plan.slug for plan in SCHOOLS])


@every_school
def test_a_school_has_the_same_people_at_every_run(plan: SchoolPlan) -> None:
    once, again = Population(plan), Population(plan)
    assert once.children == again.children
    assert once.place_in_homerooms(26) == again.place_in_homerooms(26)
    assert len(once.children) == plan.students
    # Negative control: another seed draws other people.
    assert once.children != Population(RHEINTAL if plan is not RHEINTAL else GREENWOOD).children


@every_school
def test_families_have_siblings_and_some_are_of_two_names(plan: SchoolPlan) -> None:
    population = Population(plan)
    by_guardian: dict[int, list[Any]] = {}
    for child in population.children:
        assert child.ties, child
        for tie in child.ties:
            by_guardian.setdefault(tie.adult.number, []).append(child)
    sizes = Counter(len(children) for children in by_guardian.values())
    assert sizes[2] > 50
    assert sizes[3] > 10
    patchwork = [c for c in by_guardian.values() if len({child.family_name for child in c}) > 1]
    assert len(patchwork) >= 5
    barred = [tie for child in population.children for tie in child.ties if tie.custody == "none"]
    assert barred
    assert not any(tie.may_see_records for tie in barred)
    assert any(not name.isascii() for name in {child.family_name for child in population.children})


@every_school
def test_the_demo_guardian_has_three_children_in_three_homerooms(plan: SchoolPlan) -> None:
    population = Population(plan)
    population.place_in_homerooms(26)
    own = [child for child in population.children if any(tie.adult.number == 0 for tie in child.ties)]
    assert len(own) == 3
    assert len({child.homeroom for child in own}) == 3
    assert len({plan.grades[child.grade].campus for child in own}) == 2


@every_school
def test_homerooms_are_even_and_none_is_too_large(plan: SchoolPlan) -> None:
    population = Population(plan)
    homerooms = population.place_in_homerooms(26)
    sizes = Counter(child.homeroom for child in population.children)
    assert set(sizes) == set(range(len(homerooms)))
    assert 18 <= min(sizes.values()) <= max(sizes.values()) <= 26
    assert all(homerooms[child.homeroom][0] == child.grade for child in population.children)


@pytest.mark.parametrize(
    ("today", "starts_on"),
    [
        (date(2026, 8, 31), date(2025, 9, 1)),
        (date(2026, 9, 1), date(2026, 9, 1)),
        (date(2027, 1, 1), date(2026, 9, 1)),
    ],
)
def test_the_school_year_is_the_one_of_the_day(today: date, starts_on: date) -> None:
    assert LUMIERE.year_start(today) == starts_on


@every_school
def test_a_roster_s_grades_fall_in_between_those_of_the_demo(plan: SchoolPlan) -> None:
    positions = [POSITIONS[grade.ceds] for grade in plan.grades]
    assert positions == sorted(set(positions))
    if plan is not LUMIERE:  # whose grades have names of their own
        assert [grade.ceds for grade in plan.grades] == [grade_key(grade.code) for grade in plan.grades]


def test_a_school_is_filled_once_and_never_by_half(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with platform():
        context = create_institution(new=RHEINTAL.new).context
    hashed = make_password(PASSWORD)
    with institution(context):
        with monkeypatch.context() as fault:
            fault.setattr(School, "_enrolments", lambda self: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                seed_school(RHEINTAL, hashed)
        assert (User.objects.count(), Student.objects.count()) == (0, 0)
        assert seed_school(RHEINTAL, hashed) is True
        first = set(Student.objects.values_list("pk", "family_name", "given_name"))
        assert seed_school(RHEINTAL, hashed) is False
        assert set(Student.objects.values_list("pk", "family_name", "given_name")) == first
        assert Student.objects.count() == 900
        _check_what_a_demo_shows()


def _check_what_a_demo_shows() -> None:
    today = seed.local_date()
    assert AcademicYear.objects.filter(starts_on__lte=today, ends_on__gt=today).count() == 1
    enrolled = Enrolment.objects.active_on(today).values("student").distinct().count()
    assert enrolled == 900
    sections = Section.objects.count()
    assert (
        Section.objects.filter(section_teachers__isnull=False, section_terms__isnull=False).distinct().count()
        == sections
    )
    levels = GradeLevel.objects.values_list("code", "position")
    assert all(POSITIONS[grade_key(code)] == position for code, position in levels)
    seen = {}
    for role, scope in (("teacher", Scope.SECTION), ("guardian", Scope.OWN_CHILDREN)):
        viewer = Viewer(user_id=User.objects.get(email=f"{role}@rheintal.test").pk, scope_id=None, today=today)
        seen[role] = Student.objects.filter(registry.scopes[Student, scope](viewer)).count()
    assert seen["guardian"] == 3
    assert 60 < seen["teacher"] < 200
    assert Student.objects.filter(user__email="student@rheintal.test").count() == 1
    assert User.objects.get(email="principal@rheintal.test").check_password(PASSWORD)
    assert Guardian.objects.filter(student_links__isnull=True).count() == 0
    assert StudentGuardian.objects.filter(custody="none", may_see_records=True).count() == 0


def test_production_knows_no_demo() -> None:
    from platform_config.settings import base

    assert "platform_config.demo" not in base.INSTALLED_APPS
