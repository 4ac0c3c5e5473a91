"""What lacks in a roster: stays by default, is closed on request, and comes back with a later roster."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from tenant_apps.academics.models import Enrolment, SectionTeacher
from tenant_apps.interop import services
from tenant_apps.school.models import Student, StudentStatus
from tenant_apps.school.services import change_student_state
from tests.tenant_apps.interop.importing import bring_rows, digests, found, totals
from tests.tenant_apps.interop.oneroster.rosters import Tables

pytestmark = pytest.mark.usefixtures("inside")
TODAY = date(2026, 3, 1)


@pytest.fixture(autouse=True)
def on_a_school_day(monkeypatch: pytest.MonkeyPatch) -> Callable[[date], None]:
    """The import's date; the roster's school year runs. Tests may move it."""

    def move(day: date) -> None:
        monkeypatch.setattr(services, "local_date", lambda: day)
        monkeypatch.setattr("tenant_apps.school.services.local_date", lambda: day)

    move(TODAY)
    return move


def without_student_1(tables: Tables) -> None:
    """The roster after a student has gone, with their guardians' only child."""
    for file, column in (("users.csv", 0), ("roles.csv", 3), ("enrollments.csv", 5), ("demographics.csv", 0)):
        tables[file][:] = [row for row in tables[file] if row[column] != "student-1"]


def history(sourced_id: str) -> list[tuple[str, date, date | None]]:
    rows = StudentStatus.objects.filter(student__sourced_id=sourced_id).order_by("starts_on", "id")
    return list(rows.values_list("state", "starts_on", "ends_on"))


def open_enrolments(sourced_id: str) -> int:
    return Enrolment.objects.active_on(TODAY).filter(student__sourced_id=sourced_id).count()


def begin_earlier() -> None:
    """As if the first import had been made at the start of the year."""
    StudentStatus.objects.filter(student__sourced_id__isnull=False).update(starts_on=date(2025, 8, 25))


def test_by_default_nothing_is_closed(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    before = digests()
    plan = bring_rows(tmp_path, mutate=without_student_1)
    assert totals(plan, "created", "updated", "closed") == (0, 0, 0)
    assert digests() == before


def test_closing_is_previewed_and_then_done(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    begin_earlier()
    before = digests()
    preview = bring_rows(tmp_path, mutate=without_student_1, close_missing=True, dry_run=True)
    assert digests() == before
    assert (preview.counts["students"]["closed"], preview.counts["enrolments"]["closed"]) == (1, 2)
    assert totals(preview, "created", "updated", "closed") == (0, 0, 3)
    plan = bring_rows(tmp_path, mutate=without_student_1, close_missing=True)
    assert plan.counts == preview.counts
    gone = Student.objects.get(sourced_id="student-1")
    assert (gone.state, gone.left_on) == ("left", TODAY)
    assert history("student-1") == [("enrolled", date(2025, 8, 25), TODAY), ("left", TODAY, None)]
    assert set(Enrolment.objects.filter(student=gone).values_list("ends_on", flat=True)) == {TODAY}
    assert open_enrolments("student-2") == 2
    again = bring_rows(tmp_path, mutate=without_student_1, close_missing=True)
    assert totals(again, "created", "updated", "closed") == (0, 0, 0)


def test_rows_made_by_hand_are_never_closed(tmp_path: Path) -> None:
    by_hand = list(Student.objects.filter(sourced_id=None).values_list("pk", "state"))
    bring_rows(tmp_path)
    bring_rows(tmp_path, close_missing=True)
    assert list(Student.objects.filter(sourced_id=None).values_list("pk", "state")) == by_hand
    assert Enrolment.objects.filter(sourced_id=None, ends_on=None).count() == len(by_hand) == 6


def test_who_is_back_in_the_roster_is_enrolled_again(tmp_path: Path, on_a_school_day: Callable[[date], None]) -> None:
    bring_rows(tmp_path)
    begin_earlier()
    bring_rows(tmp_path, mutate=without_student_1, close_missing=True)
    on_a_school_day(date(2026, 3, 9))
    preview = bring_rows(tmp_path, dry_run=True)
    plan = bring_rows(tmp_path)
    assert (plan.counts, totals(plan, "updated")) == (preview.counts, (3,))
    back = Student.objects.get(sourced_id="student-1")
    assert (back.state, back.left_on) == ("enrolled", None)
    assert history("student-1")[1:] == [("left", TODAY, date(2026, 3, 9)), ("enrolled", date(2026, 3, 9), None)]
    assert open_enrolments("student-1") == 2
    again = bring_rows(tmp_path, close_missing=True)
    assert totals(again, "created", "updated", "closed") == (0, 0, 0)


def test_one_day_may_see_a_student_go_and_come_back(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    begin_earlier()
    bring_rows(tmp_path, mutate=without_student_1, close_missing=True)
    bring_rows(tmp_path)
    assert history("student-1")[1:] == [("left", TODAY, TODAY), ("enrolled", TODAY, None)]


def test_a_state_that_was_set_by_hand_stays(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    student = Student.objects.get(sourced_id="student-1")
    change_student_state(student=student, to="graduated", on=TODAY)
    plan = bring_rows(tmp_path, close_missing=True)
    assert [finding.severity for finding in found(plan, "state-differs")] == ["warning"]
    assert Student.objects.get(sourced_id="student-1").state == "graduated"


def test_the_enrolments_of_a_student_who_is_gone_stay_ended(tmp_path: Path) -> None:
    """The naive way: blank end dates open them again, and teachers read the record of a student who has left."""
    bring_rows(tmp_path)
    begin_earlier()
    student = Student.objects.get(sourced_id="student-1")
    change_student_state(student=student, to="left", on=TODAY)
    assert open_enrolments("student-1") == 0
    before = digests()
    for close_missing in (False, True):
        plan = bring_rows(tmp_path, close_missing=close_missing)
        assert [finding.severity for finding in found(plan, "state-differs")] == ["warning"]
        assert (open_enrolments("student-1"), digests()) == (0, before)


def role_ended(tables: Tables) -> None:
    """What an export says of a student who has left: they are in it, their role and their enrolments are over."""
    for file, column in (("roles.csv", 3), ("enrollments.csv", 5)):
        ends = tables[file][0].index("endDate")
        for row in tables[file]:
            if row[column] == "student-1":
                row[ends] = "2026-03-01"


def test_a_role_that_is_over_calls_no_student_back(tmp_path: Path) -> None:
    """The naive way: whoever is named is enrolled again, and a roster of yesterday undoes a leave."""
    bring_rows(tmp_path)
    begin_earlier()
    bring_rows(tmp_path, mutate=without_student_1, close_missing=True)
    before = digests()
    plan = bring_rows(tmp_path, mutate=role_ended)
    assert (totals(plan, "created", "updated", "closed"), found(plan, "state-differs")) == ((0, 0, 0), [])
    assert digests() == before
    assert Student.objects.get(sourced_id="student-1").state == "left"


def test_a_student_whose_roles_are_over_stays_and_is_named(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    plan = bring_rows(tmp_path, mutate=role_ended)
    assert Student.objects.get(sourced_id="student-1").state == "enrolled"
    (finding,) = found(plan, "state-differs")
    assert "have all ended" in finding.detail


def test_a_roster_without_enrolments_closes_none(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    begin_earlier()

    def absent(tables: Tables) -> None:
        del tables["enrollments.csv"]
        row = next(row for row in tables["manifest.csv"] if row[0] == "file.enrollments")
        row[1] = "absent"

    plan = bring_rows(tmp_path, mutate=absent, close_missing=True)
    assert totals(plan, "closed") == (0,)
    assert len(found(plan, "nothing-to-close-by")) == 2


def test_an_enrolment_that_has_not_begun_is_left_to_the_office(
    tmp_path: Path, on_a_school_day: Callable[[date], None]
) -> None:
    on_a_school_day(date(2025, 8, 1))
    bring_rows(tmp_path)
    plan = bring_rows(tmp_path, mutate=without_student_1, close_missing=True)
    assert totals(plan, "closed") == (0,)
    assert len(found(plan, "not-closed")) == 3


def test_a_teacher_who_lacks_no_longer_teaches(tmp_path: Path) -> None:
    bring_rows(tmp_path)

    def without_teachers_of_class_1(tables: Tables) -> None:
        rows = tables["enrollments.csv"]
        rows[:] = [row for row in rows if not (row[3] == "class-1" and row[6] == "teacher")]

    plan = bring_rows(tmp_path, mutate=without_teachers_of_class_1, close_missing=True)
    assert plan.counts["section_teachers"]["closed"] == 1
    assert SectionTeacher.objects.get(section__sourced_id="class-1").ends_on == TODAY


def test_days_that_closing_frees_may_be_taken_by_the_same_roster(tmp_path: Path) -> None:
    """The system names enrolments anew: the old one lacks, a new one of the same class begins today."""
    bring_rows(tmp_path)
    begin_earlier()

    def renamed(tables: Tables) -> None:
        rows = tables["enrollments.csv"]
        for row in rows[1:]:
            if row[6] == "student":
                row[0], row[8] = f"new-{row[0]}", TODAY.isoformat()

    refused = bring_rows(tmp_path, mutate=renamed)
    assert len(found(refused, "enrollment-overlap")) == refused.error_count == 24
    plan = bring_rows(tmp_path, mutate=renamed, close_missing=True)
    assert (plan.error_count, totals(plan, "created", "closed")) == (0, (24, 24))
