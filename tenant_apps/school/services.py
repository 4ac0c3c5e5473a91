"""Verbs of the school: the profile, a new student, a change of state, a term by hand."""

from collections.abc import Iterable
from datetime import date
from typing import Any, Protocol

from django.db import transaction

from shared_apps.core import bus
from shared_apps.core.clock import local_date
from shared_apps.core.context import current_institution
from shared_apps.core.errors import Conflict, Invalid
from shared_apps.core.limits import STUDENTS
from shared_apps.core.quotas import demand_room
from shared_apps.core.registry import NewInstitution
from shared_apps.core.storing import store
from tenant_apps.school.models import AcademicYear, Institution, Student, StudentStatus, Term
from tenant_apps.school.models.people import StudentState

MOVES: dict[str, frozenset[str]] = {
    StudentState.APPLIED: frozenset({StudentState.ENROLLED, StudentState.LEFT}),
    StudentState.ENROLLED: frozenset({StudentState.TRANSFERRED, StudentState.GRADUATED, StudentState.LEFT}),
    StudentState.TRANSFERRED: frozenset({StudentState.ENROLLED}),
    StudentState.GRADUATED: frozenset({StudentState.ENROLLED}),
    StudentState.LEFT: frozenset({StudentState.APPLIED, StudentState.ENROLLED}),
}
"""Which state may follow which. Who comes back is enrolled (or applies) again."""

GONE = frozenset({StudentState.TRANSFERRED, StudentState.GRADUATED, StudentState.LEFT})


class Departure(Protocol):
    def __call__(self, *, student: Student, on: date) -> None:
        """Settle what a student who is gone from `on` leaves behind, in the transaction of the change."""


departures: list[Departure] = []
"""What the rooms above do when a student leaves; they append it from their `apps.py`."""


def check_institution(new: NewInstitution) -> None:
    """Before anything is made: raises ValidationError for an unknown language, currency or time zone."""
    _profile(new).clean_fields()


def make_institution(new: NewInstitution) -> None:
    """The profile's row, from what the creator said."""
    _profile(new).save(force_insert=True)


def _profile(new: NewInstitution) -> Institution:
    return Institution(name=new.name, language=new.language, currency=new.currency, time_zone=new.time_zone)


def time_zone() -> str | None:
    """The institution's time zone (IANA), None where there is no profile (the operators' tenant)."""
    return Institution.objects.values_list("time_zone", flat=True).first()


def change_profile(*, profile: Institution, values: dict[str, Any]) -> Institution:
    """Change the institution's profile; a new time zone holds in every process at once. Raises ValidationError."""
    for name, value in values.items():
        setattr(profile, name, value)
    profile.full_clean()
    profile.save(update_fields=[*values, "updated_at"])
    institution_id = str(current_institution().id)
    transaction.on_commit(lambda: bus.tell("time_zone", institution_id))
    return profile


def enrolled_students() -> int:
    """How many the institution's limit counts."""
    return Student.objects.filter(state=StudentState.ENROLLED).count()


@transaction.atomic(savepoint=False)
def register_student(*, state: str = StudentState.ENROLLED, **values: Any) -> Student:
    """A new student with the first row of their history, which begins when they join (today without a date).

    Raises ValidationError, PaymentRequired beyond the institution's limit.
    """
    student = Student(state=state, **values)
    store(student, _first_status(student, local_date()))
    if student.state == StudentState.ENROLLED:
        demand_room(STUDENTS)
    return student


def open_histories(students: Iterable[Student], *, reason: str = "") -> None:
    """First history rows of students that were just written, in one statement."""
    today = local_date()
    StudentStatus.objects.bulk_create(_first_status(student, today, reason) for student in students)


def _first_status(student: Student, today: date, reason: str = "") -> StudentStatus:
    return StudentStatus(student=student, state=student.state, starts_on=student.joined_on or today, reason=reason)


@transaction.atomic
def change_student_state(*, student: Student, to: str, on: date, reason: str = "") -> Student:
    """Close the open row of the student's history on `on` (exclusive) and open one with the state `to`.

    Updates the cached `state`, and `left_on` when they go or come back; who goes is let go by the rooms above too
    (`departures`). Raises Conflict for a move that does not
    exist, Invalid for a day before the present state began or after today, PaymentRequired for one student too many.
    """
    # The student's row is the lock: two changes at once would both close the same stretch.
    locked = Student.objects.select_for_update().get(pk=student.pk)
    if to not in MOVES[locked.state]:
        after = ", ".join(sorted(MOVES[locked.state]))
        raise Conflict(f"A student who is {locked.state} cannot become {to}; possible: {after}.", code="bad_transition")
    if on > local_date():
        raise Invalid.at("/on", "The day lies in the future; record the change when it holds.", code="in_future")
    present = StudentStatus.objects.get(student=locked, ends_on=None)
    if on < present.starts_on:
        detail = f"The student is {locked.state} since {present.starts_on}; choose that day or a later one."
        raise Invalid.at("/on", detail, code="before_present_state")
    present.ends_on = on
    present.save(update_fields=["ends_on", "updated_at"])
    StudentStatus.objects.create(student=locked, state=to, starts_on=on, reason=reason)
    locked.state = to
    if to in GONE:
        locked.left_on = on
    elif to == StudentState.ENROLLED:
        locked.left_on = None
        locked.joined_on = locked.joined_on or on
    locked.full_clean()
    locked.save(update_fields=["state", "left_on", "joined_on", "updated_at"])
    if to in GONE:
        for settle in departures:
            settle(student=locked, on=on)
    if to == StudentState.ENROLLED:
        demand_room(STUDENTS)
    return locked


@transaction.atomic
def save_term(*, term: Term, values: dict[str, Any]) -> Term:
    """Add or change a term by hand; raises ValidationError when it overlaps with one of its kind.

    The year's row is the lock: two overlapping terms that are added at once would not see each other.
    """
    for name, value in values.items():
        setattr(term, name, value)
    # Checked against the year and the parent as they are under the lock: the caller's may have been cut short
    # meanwhile. One that is gone by now is left to `full_clean`, which says so.
    year = AcademicYear.objects.select_for_update().filter(pk=term.academic_year_id).first()
    if year is not None:
        term.academic_year = year
    parent = Term.objects.filter(pk=term.parent_id).first()
    if parent is not None:
        term.parent = parent
    term.full_clean()
    if term._state.adding:
        term.save(force_insert=True)
    else:
        term.save(update_fields=[*values, "updated_at"])
    return term
