"""Rows against rows: references, cycles, duplicates, roles, overlaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenant_apps.interop.oneroster import Code
from tests.tenant_apps.interop.oneroster.reading import cell, codes, only, place, put, read
from tests.tenant_apps.interop.oneroster.rosters import Tables, add_enrolment, add_role, add_user

REFERENCES = [
    ("orgs.csv", 2, "parentSourcedId", "orgs.csv"),
    ("academicSessions.csv", 2, "parentSourcedId", "academicSessions.csv"),
    ("courses.csv", 1, "schoolYearSourcedId", "academicSessions.csv"),
    ("courses.csv", 1, "orgSourcedId", "orgs.csv"),
    ("classes.csv", 1, "courseSourcedId", "courses.csv"),
    ("classes.csv", 1, "schoolSourcedId", "orgs.csv"),
    ("classes.csv", 1, "termSourcedIds", "academicSessions.csv"),
    ("users.csv", 6, "agentSourcedIds", "users.csv"),
    ("users.csv", 6, "primaryOrgSourcedId", "orgs.csv"),
    ("roles.csv", 3, "userSourcedId", "users.csv"),
    ("roles.csv", 3, "orgSourcedId", "orgs.csv"),
    ("enrollments.csv", 7, "classSourcedId", "classes.csv"),
    ("enrollments.csv", 7, "schoolSourcedId", "orgs.csv"),
    ("enrollments.csv", 7, "userSourcedId", "users.csv"),
    ("demographics.csv", 2, "sourcedId", "users.csv"),
]


@pytest.mark.parametrize(("file", "row", "header", "target"), REFERENCES)
def test_a_dangling_reference_is_named(tmp_path: Path, file: str, row: int, header: str, target: str) -> None:
    def dangle(tables: Tables) -> None:
        good = cell(tables, file, row, header)
        put(tables, file, row, header, f"{good},nobody" if header.endswith("Ids") else "nobody")

    finding = only(read(tmp_path, mutate=dangle), Code.DANGLING_REFERENCE)
    assert place(finding) == (file, row + 1, header)
    assert f'"nobody" is no sourcedId of {target}' in finding.detail


@pytest.mark.parametrize(
    "file", ["orgs.csv", "academicSessions.csv", "courses.csv", "users.csv", "enrollments.csv", "demographics.csv"]
)
def test_a_sourced_id_that_stands_twice_names_both_lines(tmp_path: Path, file: str) -> None:
    def double(tables: Tables) -> None:
        tables[file].append([tables[file][1][0], *tables[file][2][1:]])

    roster = read(tmp_path, mutate=double)
    finding = only(roster, Code.DUPLICATE_ID)
    assert (finding.file, finding.column) == (file, "sourcedId")
    assert "also the sourcedId of line 2" in finding.detail


def test_a_duplicate_is_found_across_batches_of_rows(tmp_path: Path) -> None:
    def double(tables: Tables) -> None:
        put(tables, "enrollments.csv", 6000, "sourcedId", cell(tables, "enrollments.csv", 1, "sourcedId"))

    roster = read(tmp_path, students=1500, sections=40, enrolments_per_student=4, mutate=double)
    assert place(only(roster, Code.DUPLICATE_ID)) == ("enrollments.csv", 6001, "sourcedId")


def test_the_same_sourced_id_in_two_files_is_no_duplicate(tmp_path: Path) -> None:
    def share(tables: Tables) -> None:
        put(tables, "roles.csv", 1, "sourcedId", cell(tables, "users.csv", 1, "sourcedId"))

    assert read(tmp_path, mutate=share).findings == []


def test_a_row_that_is_refused_does_not_make_those_that_name_it_dangle(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: put(tables, "orgs.csv", 2, "type", "shool"))
    assert codes(roster) == {Code.BAD_ENUM}


@pytest.mark.parametrize("length", [1, 2, 3])
def test_parents_in_a_circle_are_one_finding(tmp_path: Path, length: int) -> None:
    def tie(tables: Tables) -> None:
        for row in range(length):
            put(tables, "orgs.csv", row + 1, "parentSourcedId", tables["orgs.csv"][1 + (row + 1) % length][0])

    roster = read(tmp_path, schools=4, mutate=tie)
    finding = only(roster, Code.REFERENCE_CYCLE)
    assert place(finding) == ("orgs.csv", 2, "parentSourcedId")
    assert finding.detail.count("→") == length


def test_sessions_in_a_circle_and_a_deep_line_of_parents_are_told_apart(tmp_path: Path) -> None:
    def deepen(tables: Tables) -> None:
        for number in range(3000):
            parent = f"deep-{number - 1}" if number else "district-1"
            tables["orgs.csv"].append([f"deep-{number}", "", "", "Deep", "department", "", parent])

    assert read(tmp_path, mutate=deepen).findings == []

    def tie(tables: Tables) -> None:
        put(tables, "academicSessions.csv", 1, "parentSourcedId", "sem-2")

    assert only(read(tmp_path, mutate=tie), Code.REFERENCE_CYCLE).file == "academicSessions.csv"


def test_a_person_who_is_their_own_guardian_is_an_error(tmp_path: Path) -> None:
    def tie(tables: Tables) -> None:
        put(tables, "users.csv", 6, "agentSourcedIds", cell(tables, "users.csv", 6, "sourcedId"))

    assert place(only(read(tmp_path, mutate=tie), Code.REFERENCE_SELF)) == ("users.csv", 7, "agentSourcedIds")


def test_terms_of_one_type_that_overlap_are_a_warning(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: put(tables, "academicSessions.csv", 2, "endDate", "2026-02-04"))
    assert roster.ok
    finding = only(roster, Code.SESSIONS_OVERLAP)
    assert (finding.severity, *place(finding)) == ("warning", "academicSessions.csv", 4, "startDate")
    assert "line 3" in finding.detail


def test_terms_that_meet_or_belong_to_another_year_do_not_overlap(tmp_path: Path) -> None:
    """Ends are exclusive: the first term ends on the day on which the second begins."""

    def add(tables: Tables) -> None:
        tables["academicSessions.csv"] += [
            ["year-b", "", "", "B", "schoolYear", "2026-07-01", "2027-07-01", "", "2027"],
            ["sem-b", "", "", "B1", "semester", "2026-01-01", "2026-06-01", "year-b", "2027"],
        ]

    assert read(tmp_path, mutate=add).findings == []


def test_a_class_without_a_teacher_is_a_warning(tmp_path: Path) -> None:
    def unteach(tables: Tables) -> None:
        tables["enrollments.csv"] = [
            row for row in tables["enrollments.csv"] if not (row[3] == "class-2" and row[6] == "teacher")
        ]

    roster = read(tmp_path, mutate=unteach)
    assert roster.ok
    assert place(only(roster, Code.CLASS_WITHOUT_TEACHER)) == ("classes.csv", 3, "sourcedId")


def test_a_person_without_a_role_is_left_out_with_all_that_hangs_on_them(tmp_path: Path) -> None:
    def add(tables: Tables) -> None:
        add_user(tables, "ghost", "ghost", ("No", "Role"), "school-1", "guardian")
        tables["roles.csv"].pop()
        put(tables, "users.csv", 6, "agentSourcedIds", "ghost,guardian-1-1")
        tables["demographics.csv"].append(["ghost", "", "", "1980-01-01", *[""] * 12])

    whole = read(tmp_path).counts
    roster = read(tmp_path, mutate=add)
    assert roster.ok
    assert only(roster, Code.USER_WITHOUT_ROLE).severity == "warning"
    assert roster.counts == whole
    assert roster.users[5].agent_sourced_ids == ("guardian-1-1",)


def test_a_person_without_a_role_who_is_enrolled_is_an_error(tmp_path: Path) -> None:
    def add(tables: Tables) -> None:
        add_user(tables, "ghost", "ghost", ("No", "Role"), "school-1", "student")
        tables["roles.csv"].pop()
        add_enrolment(tables, "class-1", "school-1", "ghost", "student")

    assert only(read(tmp_path, mutate=add), Code.ENROLLMENT_ROLE).column == "role"


def test_a_guardian_enrolled_as_teacher_is_an_error(tmp_path: Path) -> None:
    def add(tables: Tables) -> None:
        add_enrolment(tables, "class-1", "school-1", "guardian-1-1", "teacher")

    assert "teacher" in only(read(tmp_path, mutate=add), Code.ENROLLMENT_ROLE).detail


def test_staff_who_are_guardians_too_pass(tmp_path: Path) -> None:
    roster = read(tmp_path, students=60)
    both = {row.user_sourced_id for row in roster.roles if row.role == "guardian"} & {
        row.user_sourced_id for row in roster.roles if row.role == "teacher"
    }
    assert both
    assert roster.findings == []


def test_roles_of_a_vendor_s_own_are_left_out_with_a_warning(tmp_path: Path) -> None:
    def add(tables: Tables) -> None:
        add_user(tables, "nurse", "nurse", ("Flo", "N"), "school-1", "ext:nurse")
        put(tables, "enrollments.csv", 5, "role", "ext:observer")

    roster = read(tmp_path, mutate=add)
    assert roster.ok
    assert codes(roster) == {Code.ROLE_UNKNOWN, Code.USER_WITHOUT_ROLE}
    assert {row.role for row in roster.roles} <= {"student", "teacher", "principal", "guardian", "parent"}
    assert {row.role for row in roster.enrollments} == {"student", "teacher"}
    assert "nurse" not in {row.sourced_id for row in roster.users}


def test_no_primary_role_or_two_in_one_org_are_warnings(tmp_path: Path) -> None:
    def none(tables: Tables) -> None:
        put(tables, "roles.csv", 2, "roleType", "secondary")

    def two(tables: Tables) -> None:
        add_role(tables, "student-1", "school-1", "aide", "primary")

    def one_each(tables: Tables) -> None:
        add_role(tables, "student-1", "school-2", "student", "primary")

    without = read(tmp_path, mutate=none)
    assert without.ok
    assert place(only(without, Code.PRIMARY_ROLE)) == ("users.csv", 3, "sourcedId")
    assert only(read(tmp_path, mutate=two), Code.PRIMARY_ROLE).file == "roles.csv"
    assert read(tmp_path, mutate=one_each).findings == []


def test_another_school_than_the_class_s_is_a_warning(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: put(tables, "enrollments.csv", 1, "schoolSourcedId", "district-1"))
    assert roster.ok
    assert place(only(roster, Code.ENROLLMENT_SCHOOL)) == ("enrollments.csv", 2, "schoolSourcedId")


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        (("", ""), ("", ""), True),
        (("2025-08-25", "2025-12-01"), ("2025-11-30", ""), True),
        (("2025-08-25", "2025-12-01"), ("2025-12-01", ""), False),
        (("", "2025-12-01"), ("2025-12-01", ""), False),
        (("2025-12-01", ""), ("", "2025-12-02"), True),
    ],
)
def test_one_person_twice_in_a_class_for_the_same_days_is_an_error(
    tmp_path: Path, first: tuple[str, str], second: tuple[str, str], clash: bool
) -> None:
    def double(tables: Tables) -> None:
        rows = tables["enrollments.csv"]
        student = next(row for row in rows if row[6] == "student")
        rows.append(["again", *student[1:8], *second])
        student[8:] = first

    roster = read(tmp_path, mutate=double)
    assert (Code.ENROLLMENT_OVERLAP in codes(roster)) is clash
    assert roster.ok is not clash
