"""Enrolments are half-open: a move leaves no gap and no overlap, and the database lets none in."""

from collections.abc import Callable
from datetime import date, timedelta
from threading import Barrier, Thread

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, connection, connections, transaction

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.errors import Conflict, Invalid
from tenant_apps.academics.models import Enrolment, Section
from tenant_apps.academics.services import move_student
from tenant_apps.school.models import Student
from tests import cast as casting
from tests.api import as_person

DAY = date(2026, 2, 2)


@pytest.fixture
def cast(inside: InstitutionContext) -> casting.Cast:
    return casting.of(inside)


@pytest.fixture
def ada(cast: casting.Cast) -> Student:
    return Student.objects.get(pk=cast.id("ada"))


@pytest.fixture
def maths(cast: casting.Cast) -> Section:
    return Section.objects.get(pk=cast.id("maths"))


@pytest.fixture
def science(cast: casting.Cast) -> Section:
    return Section.objects.get(pk=cast.id("science"))


def sections_by_day(student: Student, around: date) -> list[list[str]]:
    """Titles of the sections that the student is in, on the five days around one."""
    days = [around + timedelta(days=offset) for offset in range(-2, 3)]
    return [
        list(Enrolment.objects.active_on(day).filter(student=student).values_list("section__title", flat=True))
        for day in days
    ]


def test_a_move_leaves_no_gap_and_no_overlap(ada: Student, maths: Section, science: Section) -> None:
    new = move_student(student=ada, from_section=maths, to_section=science, on=DAY)
    assert sections_by_day(ada, DAY) == [["Maths 5"], ["Maths 5"], ["Science 6"], ["Science 6"], ["Science 6"]]
    assert (new.starts_on, new.ends_on) == (DAY, None)


def test_an_end_read_as_inclusive_would_leave_a_gap(ada: Student, maths: Section, science: Section) -> None:
    """Negative control: the usual "day before" leaves the student nowhere for a day."""
    Enrolment.objects.filter(student=ada, section=maths).update(ends_on=DAY - timedelta(days=1))
    Enrolment.objects.create(student=ada, section=science, starts_on=DAY)
    assert sections_by_day(ada, DAY)[1] == []


def test_a_move_keeps_the_planned_end(ada: Student, maths: Section, science: Section) -> None:
    Enrolment.objects.filter(student=ada, section=maths).update(ends_on=date(2026, 7, 1))
    new = move_student(student=ada, from_section=maths, to_section=science, on=DAY)
    assert new.ends_on == date(2026, 7, 1)


def test_a_move_there_and_back_keeps_three_rows(ada: Student, maths: Section, science: Section) -> None:
    move_student(student=ada, from_section=maths, to_section=science, on=DAY)
    move_student(student=ada, from_section=science, to_section=maths, on=DAY + timedelta(days=30))
    rows = Enrolment.objects.filter(student=ada).values_list("section__title", flat=True)
    assert list(rows) == ["Maths 5", "Science 6", "Maths 5"]


def test_a_move_that_makes_no_sense_is_refused(ada: Student, maths: Section, science: Section) -> None:
    with pytest.raises(Invalid):
        move_student(student=ada, from_section=maths, to_section=maths, on=DAY)
    with pytest.raises(Conflict) as absent:
        move_student(student=ada, from_section=science, to_section=maths, on=DAY)
    assert absent.value.code == "not_enrolled"
    with pytest.raises(Conflict) as first_day:
        move_student(student=ada, from_section=maths, to_section=science, on=casting.YEAR[0])
    assert first_day.value.code == "moved_on_first_day"


def test_a_refused_move_changes_nothing(ada: Student, maths: Section, science: Section) -> None:
    Enrolment.objects.create(student=ada, section=science, starts_on=DAY + timedelta(days=10))
    with pytest.raises(Conflict) as refused:
        move_student(student=ada, from_section=maths, to_section=science, on=DAY)
    assert refused.value.code == "enrolment_overlap"
    assert Enrolment.objects.get(student=ada, section=maths).ends_on is None


@pytest.mark.parametrize(
    ("starts_on", "ends_on", "fits"),
    [
        (date(2026, 3, 1), None, True),  # begins on the day on which the first ends
        (date(2026, 2, 28), None, False),  # one day earlier
        (date(2026, 1, 1), date(2026, 2, 1), True),  # ends on the day on which the first begins
        (date(2026, 1, 1), date(2026, 2, 2), False),
        (date(2026, 1, 1), None, False),  # around it
        (date(2026, 2, 10), date(2026, 2, 11), False),  # within it
    ],
)
def test_days_in_one_section_never_overlap(
    cast: casting.Cast, maths: Section, starts_on: date, ends_on: date | None, fits: bool
) -> None:
    ben = cast.id("ben")
    Enrolment.objects.create(student_id=ben, section=maths, starts_on=date(2026, 2, 1), ends_on=date(2026, 3, 1))
    other = Enrolment(student_id=ben, section=maths, starts_on=starts_on, ends_on=ends_on)
    if fits:
        other.full_clean()
        other.save()
        return
    with pytest.raises(ValidationError) as refused:
        other.full_clean()
    assert refused.value.error_dict["__all__"][0].code == "enrolment_overlap"
    with pytest.raises(IntegrityError), transaction.atomic():
        other.save()


def test_an_enrolment_does_not_end_before_it_starts(cast: casting.Cast, maths: Section) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        before = DAY - timedelta(days=1)
        Enrolment.objects.create(student_id=cast.id("ben"), section=maths, starts_on=DAY, ends_on=before)


def at_once(context: InstitutionContext, jobs: list[Callable[[], object]]) -> list[Exception]:
    """Run the jobs in threads of their own that start together; returns what they raised."""
    gate, raised = Barrier(len(jobs)), []

    def run(job: Callable[[], object]) -> None:
        try:
            with institution(context), acting(command("test")):
                gate.wait()
                job()
        except (IntegrityError, OperationalError, Conflict) as error:
            raised.append(error)
        finally:
            connections.close_all()

    threads = [Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def careful_enrolment(context: InstitutionContext, looked: Barrier) -> Callable[[], None]:
    """Looks for an overlap first and then writes, as code without a constraint would. Both look before one writes."""
    cast = casting.of(context)

    def job() -> None:
        with transaction.atomic():
            taken = Enrolment.objects.active_on(DAY).filter(student=cast.id("ben"), section=cast.id("maths")).exists()
            looked.wait()
            assert not taken
            Enrolment.objects.create(student_id=cast.id("ben"), section_id=cast.id("maths"), starts_on=DAY)

    return job


def test_of_two_enrolments_at_once_one_is_refused(transactional_db: None, greenwood: InstitutionContext) -> None:
    looked = Barrier(2)
    raised = at_once(greenwood, [careful_enrolment(greenwood, looked)] * 2)
    # Each may wait for the other's row; then the database ends one of them as a deadlock.
    assert [type(error) for error in raised] in ([IntegrityError], [OperationalError])
    with institution(greenwood):
        cast = casting.of(greenwood)
        assert Enrolment.objects.filter(student=cast.id("ben"), section=cast.id("maths")).count() == 1


def test_without_the_constraint_both_would_stand(transactional_db: None, greenwood: InstitutionContext) -> None:
    """Negative control of the test above: looking first is not enough."""
    with institution(greenwood), owner_connection(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE academics_enrolment DROP CONSTRAINT academics_enrolment_no_overlap")
    looked = Barrier(2)
    assert at_once(greenwood, [careful_enrolment(greenwood, looked)] * 2) == []
    with institution(greenwood):
        cast = casting.of(greenwood)
        assert Enrolment.objects.filter(student=cast.id("ben"), section=cast.id("maths")).count() == 2


def test_of_two_moves_at_once_one_wins(transactional_db: None, greenwood: InstitutionContext) -> None:
    cast = casting.of(greenwood)
    with institution(greenwood):
        ada = Student.objects.get(pk=cast.id("ada"))
        maths, science = Section.objects.get(pk=cast.id("maths")), Section.objects.get(pk=cast.id("science"))
        third = Section.objects.create(course_id=maths.course_id, campus_id=maths.campus_id, title="Maths 5b")

    def to(section: Section) -> Callable[[], object]:
        return lambda: move_student(student=ada, from_section=maths, to_section=section, on=DAY)

    raised = at_once(greenwood, [to(science), to(third)])
    assert [type(error) for error in raised] == [Conflict]
    with institution(greenwood):
        assert Enrolment.objects.filter(student=ada, ends_on=None).count() == 1
        assert Enrolment.objects.get(student=ada, section=maths).ends_on == DAY


def test_the_verb_answers_the_new_enrolment(cast: casting.Cast, greenwood: InstitutionContext) -> None:
    principal = as_person(greenwood, cast.principal)
    address = f"/api/v1/academics/enrolments/{cast.id('ada in maths')}/"
    answer = principal.post(f"{address}move/", {"to_section": str(cast.id("science")), "on": "2026-02-02"})
    assert answer.status_code == 200, answer.content
    assert (answer.json()["section"], answer.json()["starts_on"]) == (str(cast.id("science")), "2026-02-02")
    assert principal.get(address).json()["ends_on"] == "2026-02-02"
    again = principal.post(f"{address}move/", {"to_section": str(cast.id("science")), "on": "2026-02-02"})
    assert again.status_code == 409, again.content
