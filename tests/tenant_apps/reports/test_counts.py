"""The enrolment report's counts, against a naive count."""

from collections import defaultdict
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from tenant_apps.academics.models import Enrolment
from tenant_apps.reports import enrolment
from tenant_apps.school.models import Campus, Student, StudentStatus
from tests import cast as casting
from tests.tenant_apps.reports.running import DAY


def holds(row: Any, day: date) -> bool:
    return row.starts_on <= day and (row.ends_on is None or day < row.ends_on)


def naive(day: date) -> tuple[dict[tuple[str, str], int], dict[str, tuple[int, int]]]:
    """Counted by hand in Python: students of (section, grade), and (roll, unplaced) of a grade."""
    sections: dict[tuple[str, str], set[UUID]] = defaultdict(set)
    placed = set()
    for row in Enrolment.objects.select_related("section", "student__grade_level"):
        if holds(row, day):
            placed.add(row.student_id)
            sections[row.section.title, row.student.grade_level.name].add(row.student_id)
    grades: dict[str, list[UUID]] = defaultdict(list)
    for row in StudentStatus.objects.select_related("student__grade_level"):
        if row.state == "enrolled" and holds(row, day):
            grades[row.student.grade_level.name].append(row.student_id)
    return (
        {key: len(students) for key, students in sections.items()},
        {name: (len(students), len(set(students) - placed)) for name, students in grades.items()},
    )


def test_the_counts_are_those_of_a_naive_count_with_moves_leavers_and_returners(cast: casting.Cast) -> None:
    def ends(name: str, section: str, day: date) -> None:
        Enrolment.objects.filter(pk=cast.id(f"{name} in {section}")).update(ends_on=day)

    ends("ada", "maths", DAY)
    Enrolment.objects.create(student_id=cast.id("ada"), section_id=cast.id("science"), starts_on=DAY)
    ends("ben", "science", DAY)
    StudentStatus.objects.filter(student=cast.id("ben")).update(ends_on=DAY)
    StudentStatus.objects.create(student_id=cast.id("ben"), state="left", starts_on=DAY, ends_on=DAY + timedelta(3))
    StudentStatus.objects.create(student_id=cast.id("ben"), state="enrolled", starts_on=DAY + timedelta(3))
    seen = []
    for day in (DAY - timedelta(1), DAY, DAY + timedelta(2), DAY + timedelta(3)):
        counts = enrolment.count(on=day, campuses=None)
        sections, grades = naive(day)
        assert {(row.section, row.grade): row.students for row in counts.sections} == sections
        assert {row.grade: (row.students, row.unplaced) for row in counts.grades} == grades
        seen.append((sections, grades))
    assert seen[0] != seen[1], "the move is seen on its day"
    assert sum(unplaced for _, unplaced in seen[3][1].values()) == 1, "who came back is in no section yet"


def test_a_campus_counts_its_own_students_only(cast: casting.Cast) -> None:
    other = Campus.objects.create(code="EAST", name="East")
    Student.objects.filter(pk=cast.id("ada")).update(campus=other)
    assert sum(row.students for row in enrolment.count(on=DAY, campuses={other.pk}).grades) == 1
    assert enrolment.count(on=DAY, campuses={other.pk}).sections == []
