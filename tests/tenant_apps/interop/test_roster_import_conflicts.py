"""What a roster may not do to the institution is found before anything is written, with its place."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from shared_apps.core.errors import Conflict
from tenant_apps.academics.models import Enrolment, Section, SectionTeacher
from tenant_apps.interop import services
from tenant_apps.interop.roster import writing
from tenant_apps.interop.roster.draft import Plan
from tenant_apps.school.models import AcademicYear, Campus, Staff, Student, Term
from tests.tenant_apps.interop import importing
from tests.tenant_apps.interop.importing import bring_rows, digests, found, place, totals
from tests.tenant_apps.interop.oneroster.reading import put
from tests.tenant_apps.interop.oneroster.rosters import Tables, add, write_roster

pytestmark = pytest.mark.usefixtures("inside")
Mutate = Callable[[Tables], object]


def line_of(tables: Tables, file: str, sourced_id: str) -> int:
    """The row of a file by its sourcedId; its line in the file is one more."""
    return [row[0] for row in tables[file]].index(sourced_id)


def write_carelessly(plan: Plan) -> None:
    """The naive import: no comparison of numbers and days, the database will say so."""
    plan.log = type(plan.log)(1)
    with transaction.atomic():
        writing.write_plan(plan, importing.Quiet())


def refused(tmp_path: Path, code: str, mutate: Mutate | None = None, **more: Any) -> Plan:
    """An import that must end in this one error and leave the database as it was."""
    before = digests()
    plan = bring_rows(tmp_path, mutate=mutate, **more)
    assert digests() == before
    errors = [finding for finding in plan.findings if finding.severity == "error"]
    assert [str(finding.code) for finding in errors] == [code], [finding.detail for finding in errors]
    assert plan.error_count == 1
    return plan


@pytest.mark.parametrize(
    ("model", "values", "where"),
    [
        (Student, {"student_number": "student-4"}, ("users.csv", "identifier")),
        (Staff, {"staff_number": "staff-school-1"}, ("users.csv", "identifier")),
        (Campus, {"code": "S2"}, ("orgs.csv", "identifier")),
    ],
    ids=["student", "staff", "campus"],
)
def test_a_number_of_a_row_made_by_hand_is_not_taken(
    tmp_path: Path, model: Any, values: dict[str, str], where: tuple[str, str]
) -> None:
    names = {} if model is Campus else {"given_name": "Made", "family_name": "By hand"}
    campus = {"campus": Campus.objects.get(code="MAIN")} if model is Student else {}
    model.objects.create(**values, **names, **campus)
    plan = refused(tmp_path, "number-taken")
    file, line, column = place(found(plan, "number-taken")[0])
    assert ((file, column), line is not None) == (where, True)
    with pytest.raises(IntegrityError):
        write_carelessly(plan)


def test_a_number_that_two_rows_wish_for_goes_to_one_of_them(tmp_path: Path) -> None:
    def share(tables: Tables) -> None:
        put(tables, "users.csv", line_of(tables, "users.csv", "student-2"), "identifier", "student-1")

    plan = bring_rows(tmp_path, mutate=share)
    assert [finding.severity for finding in found(plan, "number-shared")] == ["warning"]
    numbers = dict(Student.objects.values_list("sourced_id", "student_number"))
    assert (numbers["student-1"], numbers["student-2"]) == ("student-1", "100001")
    again = bring_rows(tmp_path, mutate=share)
    assert totals(again, "updated") == (0,)


def test_an_enrolment_over_days_that_were_entered_by_hand_is_refused(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    Enrolment.objects.filter(sourced_id="enr-5").update(sourced_id=None)
    plan = refused(tmp_path, "enrollment-overlap")
    assert place(found(plan, "enrollment-overlap")[0]) == ("enrollments.csv", 6, "userSourcedId")
    with pytest.raises(IntegrityError):
        write_carelessly(plan)


def test_an_enrolment_beside_one_that_ended_before_is_taken(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    Enrolment.objects.filter(sourced_id="enr-5").update(
        sourced_id=None, starts_on=date(2025, 1, 1), ends_on=date(2025, 8, 25)
    )
    plan = bring_rows(tmp_path)
    assert (plan.error_count, totals(plan, "created")) == (0, (1,))


def test_an_enrolment_that_ends_before_its_term_begins_is_refused(tmp_path: Path) -> None:
    def early(tables: Tables) -> None:
        put(tables, "enrollments.csv", line_of(tables, "enrollments.csv", "enr-5"), "beginDate", "")
        put(tables, "enrollments.csv", line_of(tables, "enrollments.csv", "enr-5"), "endDate", "2025-08-25")

    plan = refused(tmp_path, "date-order", early)
    assert place(found(plan, "date-order")[0]) == ("enrollments.csv", 6, "endDate")


def test_an_enrolment_that_moves_to_another_class_is_refused(tmp_path: Path) -> None:
    bring_rows(tmp_path)

    def move(tables: Tables) -> None:
        row = line_of(tables, "enrollments.csv", "enr-5")
        other = {"class-1": "class-3", "class-3": "class-1", "class-2": "class-4", "class-4": "class-2"}
        place_of = tables["enrollments.csv"][0].index("classSourcedId")
        section = tables["enrollments.csv"][row][place_of]
        for at, other_row in enumerate(tables["enrollments.csv"]):
            if at != row and other_row[5] == tables["enrollments.csv"][row][5]:
                tables["enrollments.csv"][at][place_of] = section
        put(tables, "enrollments.csv", row, "classSourcedId", other[section])

    plan = bring_rows(tmp_path, mutate=move)
    assert plan.error_count
    assert found(plan, "enrollment-moved")[0].column == "sourcedId"


def test_a_teacher_who_was_entered_by_hand_for_the_same_day_is_refused(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    row = SectionTeacher.objects.filter(sourced_id__isnull=False).order_by("sourced_id")[0]
    SectionTeacher.objects.filter(pk=row.pk).update(sourced_id=None)
    plan = refused(tmp_path, "enrollment-overlap")
    with pytest.raises(IntegrityError):
        write_carelessly(plan)


def test_a_student_of_no_school_is_refused(tmp_path: Path) -> None:
    def homeless(tables: Tables) -> None:
        row = next(n for n, row in enumerate(tables["roles.csv"]) if row[3] == "student-1")
        put(tables, "roles.csv", row, "orgSourcedId", "district-1")
        put(tables, "users.csv", line_of(tables, "users.csv", "student-1"), "primaryOrgSourcedId", "")

    plan = refused(tmp_path, "no-campus", homeless)
    assert place(found(plan, "no-campus")[0])[0] == "roles.csv"


def test_a_class_of_no_school_is_refused(tmp_path: Path) -> None:
    plan = refused(tmp_path, "no-campus", lambda tables: put(tables, "classes.csv", 1, "schoolSourcedId", "district-1"))
    assert place(found(plan, "no-campus")[0]) == ("classes.csv", 2, "schoolSourcedId")


def test_a_term_that_no_year_holds_is_refused(tmp_path: Path) -> None:
    AcademicYear.objects.update(starts_on=date(2019, 1, 1), ends_on=date(2020, 1, 1))

    def orphan(tables: Tables) -> None:
        put(tables, "academicSessions.csv", 3, "parentSourcedId", "")
        put(tables, "academicSessions.csv", 3, "endDate", "2026-08-01")

    plan = refused(tmp_path, "session-without-year", orphan)
    assert place(found(plan, "session-without-year")[0]) == ("academicSessions.csv", 4, "parentSourcedId")


def test_a_name_that_does_not_fit_is_refused_and_a_phone_left_out(tmp_path: Path) -> None:
    def long(tables: Tables) -> None:
        row = line_of(tables, "users.csv", "student-1")
        put(tables, "users.csv", row, "familyName", "x" * 101)
        put(tables, "users.csv", row, "phone", "0" * 41)

    plan = refused(tmp_path, "too-long", long)
    assert found(plan, "cell-left-out")[0].column == "phone"


def test_a_term_that_shares_days_with_one_made_by_hand_is_warned_of(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    year = AcademicYear.objects.get(sourced_id="year-2026")
    days = {"starts_on": date(2025, 12, 1), "ends_on": date(2026, 3, 1)}
    Term.objects.create(academic_year=year, kind="semester", name="Winter", **days)
    plan = bring_rows(tmp_path)
    assert plan.error_count == 0
    assert {finding.line for finding in found(plan, "sessions-overlap")} == {3, 4}


def test_errors_of_reading_and_of_comparing_leave_the_database_as_it_was(tmp_path: Path) -> None:
    plan = refused(tmp_path, "bad-date", lambda tables: put(tables, "academicSessions.csv", 2, "endDate", "31.1.2026"))
    assert plan.counts == {}


def test_a_plan_with_errors_cannot_be_written(tmp_path: Path) -> None:
    plan = bring_rows(
        tmp_path, mutate=lambda tables: put(tables, "classes.csv", 1, "schoolSourcedId", "district-1"), dry_run=True
    )
    with pytest.raises(ValueError, match="without errors"):
        writing.write_plan(plan, importing.Quiet())


class Meanwhile(importing.Quiet):
    """While the students are being written, the office enters a telephone number."""

    def __init__(self, sourced_id: str) -> None:
        self.sourced_id = sourced_id

    def __call__(self, percent: float, step: str = "") -> None:
        if step == "Writing students":
            row = Student.objects.get(sourced_id=self.sourced_id)
            row.phone = "+49 30 1234"
            row.save(update_fields=["phone", "updated_at"])


def test_what_somebody_enters_during_an_import_is_not_overwritten(tmp_path: Path) -> None:
    """The roster leaves the telephone blank, so what was stored when it was compared would be written again."""
    bring_rows(tmp_path)

    def marry(tables: Tables) -> None:
        put(tables, "users.csv", line_of(tables, "users.csv", "student-3"), "familyName", "Zhou")

    path = write_roster(tmp_path / "again.zip", mutate=marry)
    options = {"path": path, "dry_run": False, "close_missing": False}
    with pytest.raises(Conflict) as conflict:
        services.import_roster(**options, steps=Meanwhile("student-3"))
    assert conflict.value.code == "changed_meanwhile"
    assert not Student.objects.filter(family_name="Zhou").exists()
    # Negative control: a row that the import leaves alone may be changed meanwhile, and both changes stay.
    services.import_roster(**options, steps=Meanwhile("student-4"))
    assert Student.objects.get(sourced_id="student-3").family_name == "Zhou"
    assert Student.objects.get(sourced_id="student-4").phone == "+49 30 1234"


def test_findings_are_bounded_and_counted_in_full(tmp_path: Path) -> None:
    def many(tables: Tables) -> None:
        at = tables["users.csv"][0].index("familyName")
        for row in tables["users.csv"][1:]:
            row[at] = "x" * 101

    plan = bring_rows(tmp_path, students=1500, sections=8, mutate=many)
    assert plan.error_count > 1500
    assert len(plan.findings) == 1000
    assert {finding.severity for finding in plan.findings} == {"error"}


def test_other_roles_in_a_class_are_counted_in_a_warning(tmp_path: Path) -> None:
    def proctor(tables: Tables) -> None:
        add(
            tables,
            "enrollments.csv",
            sourcedId="watching",
            classSourcedId="class-1",
            schoolSourcedId="school-1",
            userSourcedId="staff-school-1",
            role="proctor",
        )

    plan = bring_rows(tmp_path, mutate=proctor)
    assert [finding.severity for finding in found(plan, "enrollment-not-imported")] == ["warning"]
    assert not SectionTeacher.objects.filter(sourced_id="watching").exists()


def test_a_class_type_and_a_session_type_of_a_vendors_own_do_no_harm(tmp_path: Path) -> None:
    def vendor(tables: Tables) -> None:
        put(tables, "classes.csv", 1, "classType", "ext:club")
        put(tables, "classes.csv", 1, "termSourcedIds", "quarter")
        add(
            tables,
            "academicSessions.csv",
            sourcedId="quarter",
            title="Quarter",
            type="ext:quarter",
            startDate="2025-09-01",
            endDate="2025-12-01",
            parentSourcedId="year-2026",
            schoolYear="2026",
        )
        rows = tables["enrollments.csv"]
        at = rows[0].index("beginDate")
        for row in rows[1:]:
            row[at] = row[at] or "2025-09-01"

    plan = bring_rows(tmp_path, mutate=vendor)
    assert plan.error_count == 0
    assert found(plan, "session-not-imported")
    assert found(plan, "class-without-term")
    assert Section.objects.get(sourced_id="class-1").kind == "scheduled"
