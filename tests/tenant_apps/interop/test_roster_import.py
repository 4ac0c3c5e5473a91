"""A checked roster in the institution: what becomes of each file, and a second import of the same."""

from datetime import date
from pathlib import Path
from uuid import UUID

import pytest

from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.academics.models import Course, Enrolment, Section, SectionTeacher, SectionTerm, Subject
from tenant_apps.interop import services
from tenant_apps.school.models import (
    AcademicYear,
    Campus,
    GradeLevel,
    Guardian,
    Institution,
    Staff,
    Student,
    StudentGuardian,
    StudentStatus,
    Term,
)
from tests.tenant_apps.interop.importing import bring, bring_rows, digests, found, holds_text, place, totals
from tests.tenant_apps.interop.oneroster.reading import cell, put
from tests.tenant_apps.interop.oneroster.rosters import Tables, add, add_role, write_roster

pytestmark = pytest.mark.usefixtures("inside")


def test_a_dry_run_says_what_the_import_does_and_writes_nothing(tmp_path: Path) -> None:
    path = write_roster(tmp_path / "roster.zip", students=40, sections=8)
    before = digests()
    preview = bring(path, dry_run=True)
    assert digests() == before
    imported = bring(path)
    assert imported.counts == preview.counts
    assert digests() != before
    assert imported.counts["students"] == {"created": 40, "updated": 0, "unchanged": 0, "closed": 0}
    assert imported.counts["enrolments"]["created"] == Enrolment.objects.filter(sourced_id__isnull=False).count() == 80


def test_a_second_import_of_the_same_file_touches_no_row(tmp_path: Path) -> None:
    path = write_roster(tmp_path / "roster.zip", students=40, sections=8)
    bring(path)
    before = digests()
    again = bring(path)
    assert totals(again, "created", "updated", "closed") == (0, 0, 0)
    assert again.counts["students"]["unchanged"] == 40
    assert digests() == before


def test_rows_in_another_order_are_the_same_roster(tmp_path: Path) -> None:
    def shuffle(tables: Tables) -> None:
        put(tables, "users.csv", 1, "identifier", "the same")
        put(tables, "users.csv", 2, "identifier", "the same")
        for file, rows in tables.items():
            if file != "manifest.csv":
                rows[1:] = rows[:0:-1]

    def straight(tables: Tables) -> None:
        shuffle(tables)
        for file, rows in tables.items():
            if file != "manifest.csv":
                rows[1:] = rows[:0:-1]

    bring_rows(tmp_path, students=30, mutate=straight)
    before = digests()
    again = bring_rows(tmp_path, students=30, mutate=shuffle)
    assert totals(again, "created", "updated", "closed") == (0, 0, 0)
    assert digests() == before


def test_a_changed_cell_changes_one_row(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    stamps = dict(Student.objects.values_list("sourced_id", "updated_at"))

    def marry(tables: Tables) -> None:
        row = next(row for row in tables["users.csv"] if row[0] == "student-3")
        row[tables["users.csv"][0].index("familyName")] = "Zhou"

    again = bring_rows(tmp_path, mutate=marry)
    assert totals(again, "created", "updated", "closed") == (0, 1, 0)
    assert Student.objects.get(sourced_id="student-3").family_name == "Zhou"
    after = dict(Student.objects.values_list("sourced_id", "updated_at"))
    assert {key for key in stamps if stamps[key] != after[key]} == {"student-3"}


def test_what_the_roster_leaves_blank_stays_as_it_was_entered(tmp_path: Path) -> None:
    bring_rows(tmp_path, demographics=False)
    Student.objects.filter(sourced_id="student-2").update(
        phone="+49 30 1234", birth_date=date(2012, 3, 4), birth_place="Pankow", notes="Allergic to nuts"
    )
    Guardian.objects.update(mobile_phone="+49 170 1")
    again = bring_rows(tmp_path, demographics=False)
    assert totals(again, "created", "updated", "closed") == (0, 0, 0)
    kept = Student.objects.get(sourced_id="student-2")
    assert (kept.phone, kept.birth_date, kept.birth_place) == ("+49 30 1234", date(2012, 3, 4), "Pankow")


def test_schools_become_campuses_and_the_root_the_institution(tmp_path: Path) -> None:
    name = Institution.objects.get().name
    bring_rows(tmp_path)
    profile = Institution.objects.get()
    assert (profile.sourced_id, profile.name) == ("district-1", name)
    campuses = Campus.objects.filter(sourced_id__isnull=False).order_by("code")
    assert [(campus.code, campus.name) for campus in campuses] == [
        ("S1", "École & Gymnasium 1"),
        ("S2", "École & Gymnasium 2"),
    ]


def test_sessions_become_years_and_terms_with_their_parents(tmp_path: Path) -> None:
    def add_parts(tables: Tables) -> None:
        add(
            tables,
            "academicSessions.csv",
            sourcedId="gp-1",
            title="First marks",
            type="gradingPeriod",
            startDate="2025-08-25",
            endDate="2025-11-01",
            parentSourcedId="sem-1",
            schoolYear="2026",
        )

    # The part stands before its parent in the file, too.
    def turned(tables: Tables) -> None:
        add_parts(tables)
        tables["academicSessions.csv"].insert(1, tables["academicSessions.csv"].pop())

    bring_rows(tmp_path, mutate=turned)
    year = AcademicYear.objects.get(sourced_id="year-2026")
    part = Term.objects.get(sourced_id="gp-1")
    assert (year.starts_on, year.ends_on) == (date(2025, 8, 25), date(2026, 7, 1))
    assert part.parent is not None
    assert (part.academic_year, part.parent.sourced_id, part.kind) == (year, "sem-1", "grading_period")
    assert Term.objects.get(sourced_id="sem-1").parent is None


def test_a_term_without_a_year_lies_in_the_one_that_holds_its_dates(tmp_path: Path) -> None:
    def orphan(tables: Tables) -> None:
        put(tables, "academicSessions.csv", 3, "parentSourcedId", "")

    plan = bring_rows(tmp_path, mutate=orphan)
    assert place(found(plan, "session-without-year")[0]) == ("academicSessions.csv", 4, "parentSourcedId")
    assert Term.objects.get(sourced_id="sem-2").academic_year.sourced_id == "year-2026"


def test_terms_that_overlap_are_taken_with_a_warning(tmp_path: Path) -> None:
    def stretch(tables: Tables) -> None:
        put(tables, "academicSessions.csv", 2, "endDate", "2026-02-15")

    plan = bring_rows(tmp_path, mutate=stretch)
    assert plan.error_count == 0
    assert [finding.severity for finding in found(plan, "sessions-overlap")] == ["warning"]
    assert Term.objects.get(sourced_id="sem-1").ends_on == date(2026, 2, 15)


def test_grades_become_levels_in_the_order_of_schooling(tmp_path: Path) -> None:
    GradeLevel.objects.create(code="5", name="Fifth form", position=205)

    def grades(tables: Tables) -> None:
        names = ["KG", "05", "PK", "12"]
        rows = [row for row in tables["users.csv"] if row[0].startswith("student-")]
        for row, grade in zip(rows, names, strict=False):
            row[tables["users.csv"][0].index("grades")] = grade

    bring_rows(tmp_path, students=4, mutate=grades)
    levels = list(GradeLevel.objects.order_by("position").values_list("code", flat=True))
    assert levels.index("PK") < levels.index("KG") < levels.index("01") < levels.index("12")
    assert "05" not in levels
    level = Student.objects.get(sourced_id="student-2").grade_level
    assert level is not None
    assert level.name == "Fifth form"


def test_courses_and_classes_become_sections_in_their_terms(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    section = Section.objects.get(sourced_id="class-1")
    assert (section.campus.sourced_id, section.course.sourced_id) == ("school-1", "course-school-1-0")
    assert section.course.subject is not None
    assert section.course.subject.name == "Mathematics"
    assert section.course.academic_year is not None
    terms = SectionTerm.objects.filter(section=section).values_list("term__sourced_id", flat=True)
    assert set(terms) == {"sem-1", "sem-2"}
    assert Course.objects.filter(subject__name="Mathematics", sourced_id__isnull=False).count() == 2
    assert Subject.objects.filter(name="Mathematics").count() == 1


def test_a_class_over_a_whole_year_is_in_all_its_terms(tmp_path: Path) -> None:
    bring_rows(tmp_path, mutate=lambda tables: put(tables, "classes.csv", 1, "termSourcedIds", "year-2026"))
    terms = SectionTerm.objects.filter(section__sourced_id="class-1").values_list("term__sourced_id", flat=True)
    assert set(terms) == {"sem-1", "sem-2"}


def test_a_person_of_two_roles_has_a_row_in_both_tables(tmp_path: Path) -> None:
    bring_rows(tmp_path, students=12)
    staff = Staff.objects.get(sourced_id="staff-school-1-0")
    parent = Guardian.objects.get(sourced_id="staff-school-1-0")
    assert (staff.given_name, staff.family_name) == (parent.given_name, parent.family_name)
    assert StudentGuardian.objects.filter(guardian=parent, student__sourced_id="student-1").exists()


def test_agents_named_at_the_guardian_are_linked_too(tmp_path: Path) -> None:
    def turn(tables: Tables) -> None:
        at = tables["users.csv"][0].index("agentSourcedIds")
        for row in tables["users.csv"][1:]:
            row[at] = {"guardian-1-1": "student-1", "guardian-2-1": "student-1"}.get(row[0], "")
        rows = tables["roles.csv"]
        next(row for row in rows if row[3] == "guardian-2-1")[5] = "relative"

    plan = bring_rows(tmp_path, mutate=turn)
    links = {link.guardian.sourced_id: link for link in StudentGuardian.objects.filter(student__sourced_id="student-1")}
    assert plan.counts["student_guardians"]["created"] == 2
    assert (links["guardian-1-1"].custody, links["guardian-1-1"].may_see_records) == ("full", True)
    # A relative is somebody to call; what they may see is for the office to say.
    assert (links["guardian-2-1"].relation, links["guardian-2-1"].custody) == ("relative", "none")
    assert not links["guardian-2-1"].may_see_records


def test_a_link_that_is_named_at_both_of_its_ends_is_one(tmp_path: Path) -> None:
    def both(tables: Tables) -> None:
        at = tables["users.csv"][0].index("agentSourcedIds")
        for row in tables["users.csv"][1:]:
            row[at] = {"guardian-1-1": "student-1", "student-1": "guardian-1-1"}.get(row[0], "")

    first, again = bring_rows(tmp_path, mutate=both), bring_rows(tmp_path, mutate=both)
    assert first.counts["student_guardians"] == {"created": 1, "updated": 0, "unchanged": 0, "closed": 0}
    assert again.counts["student_guardians"] == {"created": 0, "updated": 0, "unchanged": 1, "closed": 0}


@pytest.mark.parametrize(("day", "codes"), [("2026-03-02", ["birth-date"]), ("2026-03-01", [])])
def test_nobody_is_born_tomorrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day: str, codes: list[str]) -> None:
    monkeypatch.setattr(services, "local_date", lambda: date(2026, 3, 1))
    plan = bring_rows(tmp_path, mutate=lambda tables: put(tables, "demographics.csv", 3, "birthDate", day))
    assert [str(finding.code) for finding in plan.findings] == codes
    assert [place(finding) for finding in plan.findings] == [("demographics.csv", 4, "birthDate")] * len(codes)


def test_rights_of_a_guardian_that_were_set_by_hand_stay(tmp_path: Path) -> None:
    bring_rows(tmp_path)
    StudentGuardian.objects.update(custody="none", may_collect=False, relation="foster_parent")
    again = bring_rows(tmp_path)
    assert totals(again, "updated") == (0,)
    assert set(StudentGuardian.objects.values_list("custody", "relation")) == {("none", "foster_parent")}


def test_an_agent_who_is_no_guardian_is_warned_of(tmp_path: Path) -> None:
    def counsel(tables: Tables) -> None:
        row = next(row for row in tables["users.csv"] if row[0] == "student-2")
        row[tables["users.csv"][0].index("agentSourcedIds")] = "staff-school-2"

    plan = bring_rows(tmp_path, mutate=counsel)
    finding = found(plan, "agent-not-guardian")[0]
    assert (finding.severity, finding.file, finding.column) == ("warning", "users.csv", "agentSourcedIds")


def test_teachers_lead_or_assist_from_the_first_term_on(tmp_path: Path) -> None:
    def assist(tables: Tables) -> None:
        add(
            tables,
            "enrollments.csv",
            sourcedId="assisting",
            classSourcedId="class-1",
            schoolSourcedId="school-1",
            userSourcedId="staff-school-1",
            role="teacher",
            primary="false",
        )

    bring_rows(tmp_path, mutate=assist)
    teachers = SectionTeacher.objects.filter(section__sourced_id="class-1")
    assert set(teachers.values_list("staff__sourced_id", "role", "starts_on", "ends_on")) == {
        ("staff-school-1-0", "primary", date(2025, 8, 25), None),
        ("staff-school-1", "assistant", date(2025, 8, 25), None),
    }


def test_demographics_give_a_student_birth_and_sex_and_nothing_else(tmp_path: Path) -> None:
    def describe(tables: Tables) -> None:
        put(tables, "demographics.csv", 1, "asian", "true")
        put(tables, "demographics.csv", 1, "publicSchoolResidenceStatus", "residence-code-77")
        put(tables, "demographics.csv", 1, "sex", "female")
        put(tables, "demographics.csv", 1, "birthDate", "2010-05-06")

    bring_rows(tmp_path, mutate=describe)
    student = Student.objects.get(sourced_id="student-1")
    assert (student.birth_date, student.sex, student.birth_place) == (date(2010, 5, 6), "female", "Besançon, FR")
    assert holds_text("residence-code-77") == []


def test_a_password_of_the_roster_is_stored_nowhere(tmp_path: Path) -> None:
    def leak(tables: Tables) -> None:
        for row in range(1, 5):
            put(tables, "users.csv", row, "password", "hunter2-in-the-clear")
            put(tables, "users.csv", row, "phone", "phone-to-be-found")

    plan = bring_rows(tmp_path, mutate=leak)
    assert found(plan, "credentials-dropped")
    assert holds_text("hunter2") == []
    # The search itself works: another cell of the same rows is found.
    assert "school_staff" in holds_text("phone-to-be-found")


def test_new_students_begin_their_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "local_date", lambda: date(2026, 3, 1))

    def dates(tables: Tables) -> None:
        at = {row[3]: number for number, row in enumerate(tables["roles.csv"])}
        put(tables, "roles.csv", at["student-1"], "beginDate", "2025-08-25")
        put(tables, "roles.csv", at["student-2"], "beginDate", "2025-08-25")
        put(tables, "roles.csv", at["student-2"], "endDate", "2025-12-01")

    bring_rows(tmp_path, mutate=dates)
    histories = {
        sourced_id: list(
            StudentStatus.objects.filter(student__sourced_id=sourced_id)
            .order_by("starts_on")
            .values_list("state", "starts_on", "ends_on")
        )
        for sourced_id in ("student-1", "student-2", "student-3")
    }
    assert histories["student-1"] == [("enrolled", date(2025, 8, 25), None)]
    assert histories["student-2"] == [
        ("enrolled", date(2025, 8, 25), date(2025, 12, 1)),
        ("left", date(2025, 12, 1), None),
    ]
    # Nothing says when the third one joined: their first enrolment does.
    assert histories["student-3"] == [("enrolled", date(2025, 8, 25), None)]
    assert Student.objects.get(sourced_id="student-3").joined_on == date(2025, 8, 25)
    left = Student.objects.get(sourced_id="student-2")
    assert (left.state, left.left_on) == ("left", date(2025, 12, 1))


def test_a_student_without_an_identifier_is_numbered_by_user_name(tmp_path: Path) -> None:
    def unnumbered(tables: Tables) -> None:
        at = [row[0] for row in tables["users.csv"]].index("student-1")
        put(tables, "users.csv", at, "identifier", "")

    bring_rows(tmp_path, mutate=unnumbered)
    student = Student.objects.get(sourced_id="student-1")
    assert student.student_number == "100000"
    Student.objects.filter(pk=student.pk).update(student_number="By hand 7")
    again = bring_rows(tmp_path, mutate=unnumbered)
    assert totals(again, "updated") == (0,)


def test_two_students_may_exchange_their_numbers(tmp_path: Path) -> None:
    def swap(tables: Tables) -> None:
        at = {row[0]: number for number, row in enumerate(tables["users.csv"])}
        put(tables, "users.csv", at["student-1"], "identifier", "student-2")
        put(tables, "users.csv", at["student-2"], "identifier", "student-1")

    bring_rows(tmp_path)
    again = bring_rows(tmp_path, mutate=swap)
    assert totals(again, "created", "updated") == (0, 2)
    numbers = dict(Student.objects.values_list("sourced_id", "student_number"))
    assert (numbers["student-1"], numbers["student-2"]) == ("student-2", "student-1")


def test_a_boundary_between_two_enrolments_may_move(tmp_path: Path) -> None:
    def two_stays(begin: str) -> object:
        def mutate(tables: Tables) -> None:
            at = next(n for n, row in enumerate(tables["enrollments.csv"]) if row[5] == "student-1")
            put(tables, "enrollments.csv", at, "endDate", begin)
            row = [*tables["enrollments.csv"][at]]
            tables["enrollments.csv"].append(row)
            last = len(tables["enrollments.csv"]) - 1
            put(tables, "enrollments.csv", last, "sourcedId", "second-stay")
            put(tables, "enrollments.csv", last, "beginDate", begin)
            put(tables, "enrollments.csv", last, "endDate", "")

        return mutate

    bring_rows(tmp_path, mutate=two_stays("2026-01-10"))
    later = bring_rows(tmp_path, mutate=two_stays("2026-02-20"))
    assert (later.error_count, totals(later, "created", "updated")) == (0, (0, 2))
    earlier = bring_rows(tmp_path, mutate=two_stays("2025-11-11"))
    assert (earlier.error_count, totals(earlier, "created", "updated")) == (0, (0, 2))
    assert Enrolment.objects.get(sourced_id="second-stay").starts_on == date(2025, 11, 11)


def test_names_of_the_world_arrive_whole(tmp_path: Path) -> None:
    names = 'Ælfgifu 佐藤 "O\'Neill" \\N \t|, محمد'

    def name(tables: Tables) -> None:
        at = [row[0] for row in tables["users.csv"]].index("student-1")
        put(tables, "users.csv", at, "familyName", names)
        assert cell(tables, "users.csv", at, "familyName") == names

    bring_rows(tmp_path, mutate=name)
    # A tab, as a line break, is a space in a name.
    assert Student.objects.get(sourced_id="student-1").family_name == names.replace("\t", " ")


def test_disabled_users_are_imported_and_counted(tmp_path: Path) -> None:
    plan = bring_rows(tmp_path, mutate=lambda tables: put(tables, "users.csv", 1, "enabledUser", "false"))
    finding = found(plan, "users-disabled")[0]
    assert (finding.severity, place(finding)) == ("warning", ("users.csv", 2, "enabledUser"))
    assert Staff.objects.filter(sourced_id="staff-school-1").exists()


def test_staff_of_the_district_belong_to_no_campus(tmp_path: Path) -> None:
    def district(tables: Tables) -> None:
        at = next(n for n, row in enumerate(tables["roles.csv"]) if row[3] == "staff-school-1")
        put(tables, "roles.csv", at, "orgSourcedId", "district-1")
        put(tables, "roles.csv", at, "role", "districtAdministrator")
        user = [row[0] for row in tables["users.csv"]].index("staff-school-1")
        put(tables, "users.csv", user, "primaryOrgSourcedId", "district-1")

    bring_rows(tmp_path, mutate=district)
    member = Staff.objects.get(sourced_id="staff-school-1")
    assert (member.campus, member.position) == (None, "District administrator")


def test_a_department_counts_as_its_school(tmp_path: Path) -> None:
    def department(tables: Tables) -> None:
        add(
            tables,
            "orgs.csv",
            sourcedId="maths",
            name="Mathematics",
            type="department",
            parentSourcedId="school-2",
        )
        add_role(tables, "staff-school-1", "maths", "teacher", "primary")
        put(tables, "classes.csv", 2, "schoolSourcedId", "maths")

    plan = bring_rows(tmp_path, mutate=department)
    assert [place(finding) for finding in found(plan, "org-not-imported")] == [("orgs.csv", 5, "type")]
    assert Section.objects.get(sourced_id="class-2").campus.sourced_id == "school-2"


def test_another_institution_is_not_touched(
    tmp_path: Path, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    with institution(lumiere):
        before = digests()
    bring_rows(tmp_path)
    with institution(lumiere):
        assert digests() == before
        assert not Student.objects.filter(sourced_id="student-1").exists()
    with institution(greenwood):
        assert isinstance(Student.objects.get(sourced_id="student-1").pk, UUID)
