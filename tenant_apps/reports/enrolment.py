"""The report "enrolment by grade level and section", counted by PostgreSQL. End dates are exclusive."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from django.db.models import Count, Exists, OuterRef

from tenant_apps.academics.models import Enrolment
from tenant_apps.school.models import StudentStatus
from tenant_apps.school.models.people import StudentState
from tenant_apps.school.querysets import holding_on


@dataclass(frozen=True, slots=True)
class GradeRow:
    """Students on the roll of a grade level, and how many of them are in no section. "" is no grade level."""

    grade: str
    students: int
    unplaced: int


@dataclass(frozen=True, slots=True)
class SectionRow:
    """Students of one grade level in a section; `capacity` is its room's, None where none is known."""

    campus: str
    section: str
    grade: str
    students: int
    capacity: int | None


@dataclass(frozen=True, slots=True)
class Enrolments:
    """The report. `campuses` counts each student once for a campus, whatever number of its sections they are in."""

    grades: list[GradeRow]
    sections: list[SectionRow]
    campuses: dict[str, int]


def count(*, on: date, campuses: Collection[UUID] | None) -> Enrolments:
    """The counts of the day `on`; `campuses` narrows them (None: all). Four queries.

    Grade levels are those that the students have now: the platform keeps no history of them.
    """
    placed = Enrolment.objects.active_on(on)
    roll = StudentStatus.objects.filter(holding_on(on), state=StudentState.ENROLLED)
    in_sections = placed
    if campuses is not None:
        roll = roll.filter(student__campus__in=campuses)
        in_sections = placed.filter(section__campus__in=campuses)
    by_position = "student__grade_level__position"
    grade, place = "student__grade_level__name", "section__campus__name"
    unplaced = roll.exclude(Exists(placed.filter(student=OuterRef("student")))).values("student")
    grades = (
        roll.values_list(by_position, grade)
        .annotate(students=Count("student", distinct=True))
        .order_by(by_position, grade)
    )
    missing = dict(
        roll.filter(student__in=unplaced).values_list(grade).annotate(n=Count("student", distinct=True)).order_by()
    )
    sections = (
        in_sections.values_list(place, "section__title", "section", by_position, grade, "section__room__capacity")
        .annotate(students=Count("student", distinct=True))
        .order_by(place, "section__title", "section", by_position, grade)
    )
    totals = in_sections.values_list("section__campus", place).annotate(n=Count("student", distinct=True))
    return Enrolments(
        grades=[GradeRow(name or "", students, missing.get(name, 0)) for _, name, students in grades],
        sections=[
            SectionRow(campus, title, name or "", students, capacity)
            for campus, title, _, _, name, capacity, students in sections
        ],
        campuses={name: number for _, name, number in totals.order_by(place)},
    )
