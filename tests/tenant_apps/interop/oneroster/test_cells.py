"""Single cells: required, enumerations, dates, booleans, identifiers, and what a bulk file leaves blank."""

from __future__ import annotations

import gc
from datetime import date
from pathlib import Path

import pytest

from tenant_apps.interop.oneroster import Code
from tenant_apps.interop.oneroster.layout import IMPORTED
from tests.tenant_apps.interop.oneroster.reading import cell, codes, only, place, put, read
from tests.tenant_apps.interop.oneroster.rosters import HEADERS, Tables, write_roster

BAD_CELLS = [
    ("orgs.csv", 2, "type", "shool", Code.BAD_ENUM, 'Did you mean "school"?'),
    ("orgs.csv", 2, "type", "School", Code.BAD_ENUM, 'Did you mean "school"?'),
    ("orgs.csv", 2, "type", "ext:", Code.BAD_ENUM, "ext:<name>"),
    ("orgs.csv", 2, "name", "", Code.REQUIRED, "fill it in"),
    ("orgs.csv", 2, "name", "   ", Code.REQUIRED, "fill it in"),
    ("orgs.csv", 2, "name", "x" * 256, Code.TOO_LONG, "256 characters"),
    ("roles.csv", 3, "roleType", "ext:main", Code.BAD_ENUM, "primary, secondary"),
    ("roles.csv", 3, "role", "Techer", Code.BAD_ENUM, 'Did you mean "teacher"?'),
    ("enrollments.csv", 5, "role", "pupil", Code.BAD_ENUM, "student"),
    ("classes.csv", 1, "classType", "", Code.REQUIRED, "fill it in"),
    ("classes.csv", 1, "termSourcedIds", "", Code.REQUIRED, "fill it in"),
    ("classes.csv", 1, "termSourcedIds", " , ", Code.REQUIRED, "at least one"),
    ("classes.csv", 1, "termSourcedIds", "sem-1;sem-2", Code.BAD_IDENTIFIER, "separated by commas"),
    ("demographics.csv", 1, "sex", "M", Code.BAD_ENUM, "male"),
    ("demographics.csv", 1, "birthDate", "2012-02-30", Code.BAD_DATE, "YYYY-MM-DD"),
    ("demographics.csv", 1, "birthDate", "30/01/2012", Code.BAD_DATE, "YYYY-MM-DD"),
    ("demographics.csv", 1, "birthDate", "00/00/0000", Code.BAD_DATE, "leave the cell empty"),
    ("enrollments.csv", 5, "endDate", "0000-00-00", Code.BAD_DATE, "leave the cell empty"),
    ("enrollments.csv", 5, "endDate", "NULL", Code.BAD_DATE, "leave the cell empty"),
    ("academicSessions.csv", 3, "endDate", "0000-00-00", Code.BAD_DATE, "YYYY-MM-DD"),
    ("demographics.csv", 1, "birthDate", "20120130", Code.BAD_DATE, "YYYY-MM-DD"),
    ("demographics.csv", 1, "birthDate", "2012-W05-1", Code.BAD_DATE, "YYYY-MM-DD"),
    ("demographics.csv", 1, "birthDate", "2012-01-30T00:00:00.000Z", Code.BAD_DATE, "YYYY-MM-DD"),
    ("demographics.csv", 1, "asian", "yes", Code.BAD_BOOLEAN, "true nor false"),
    ("users.csv", 1, "enabledUser", "1", Code.BAD_BOOLEAN, "true nor false"),
    ("users.csv", 1, "enabledUser", "", Code.REQUIRED, "fill it in"),
    ("users.csv", 1, "givenName", "", Code.REQUIRED, "fill it in"),
    ("academicSessions.csv", 1, "startDate", "", Code.REQUIRED, "fill it in"),
    ("academicSessions.csv", 1, "schoolYear", "2025/26", Code.BAD_YEAR, "in which the school year ends"),
    ("academicSessions.csv", 2, "endDate", "2025-08-25", Code.DATE_ORDER, "the day after the last one"),
    ("academicSessions.csv", 2, "endDate", "2025-08-01", Code.DATE_ORDER, "exchange or correct"),
    ("enrollments.csv", 5, "endDate", "2024-08-01", Code.DATE_ORDER, "exchange or correct"),
    ("enrollments.csv", 5, "classSourcedId", "", Code.REQUIRED, "empty"),
    ("enrollments.csv", 5, "sourcedId", "", Code.REQUIRED, "empty"),
    ("enrollments.csv", 5, "sourcedId", "a b", Code.BAD_IDENTIFIER, "A-Z"),
    ("enrollments.csv", 5, "sourcedId", "ab ", Code.BAD_IDENTIFIER, "space around"),
    ("enrollments.csv", 5, "sourcedId", "ä1", Code.BAD_IDENTIFIER, "A-Z"),
    ("enrollments.csv", 5, "sourcedId", "x" * 256, Code.BAD_IDENTIFIER, "256 characters"),
    ("users.csv", 1, "familyName", "Mül\x07ler", Code.CONTROL_CHARACTER, "U+0007"),
    ("users.csv", 1, "givenName", "Anna\u202e", Code.CONTROL_CHARACTER, "U+202E"),
    ("orgs.csv", 2, "name", "Lyc\x0cée", Code.CONTROL_CHARACTER, "U+000C"),
    ("courses.csv", 1, "subjects", "Mathe\x9fmatik", Code.CONTROL_CHARACTER, "U+009F"),
    ("demographics.csv", 1, "birthDate", "1899-12-30", Code.BAD_DATE, "can't be meant"),
    ("roles.csv", 1, "beginDate", "0001-01-01", Code.BAD_DATE, "can't be meant"),
    ("enrollments.csv", 5, "beginDate", "9999-12-31", Code.BAD_DATE, "can't be meant"),
    ("enrollments.csv", 5, "status", "tobedeleted", Code.DELETION_IN_BULK, "remove the row"),
    ("enrollments.csv", 5, "status", "ToBeDeleted", Code.DELETION_IN_BULK, "remove the row"),
    ("enrollments.csv", 5, "status", "inactive", Code.BAD_ENUM, "leave the cell empty"),
]


@pytest.mark.parametrize(("file", "row", "header", "value", "code", "words"), BAD_CELLS)
def test_a_bad_cell_is_named_by_file_line_and_column(
    tmp_path: Path, file: str, row: int, header: str, value: str, code: Code, words: str
) -> None:
    roster = read(tmp_path, mutate=lambda tables: put(tables, file, row, header, value))
    finding = only(roster, code)
    assert finding.severity == "error"
    assert place(finding) == (file, row + 1, header)
    assert words in finding.detail
    assert len(finding.detail) < 300


@pytest.mark.parametrize("file", ["roles.csv", "enrollments.csv"])
def test_an_end_in_the_year_9999_is_an_open_one(tmp_path: Path, file: str) -> None:
    roster = read(tmp_path, mutate=lambda tables: put(tables, file, 1, "endDate", "9999-12-31"))
    assert (only(roster, Code.BAD_DATE).severity, roster.ok) == ("warning", True)
    assert (roster.roles if file == "roles.csv" else roster.enrollments)[0].end_date is None


def test_the_first_day_that_databases_know_is_none(tmp_path: Path) -> None:
    def fill(tables: Tables) -> None:
        put(tables, "demographics.csv", 1, "birthDate", "1900-01-01")
        put(tables, "enrollments.csv", 1, "endDate", "1900-01-01")
        put(tables, "demographics.csv", 2, "birthDate", "1900-01-02")

    roster = read(tmp_path, mutate=fill)
    assert roster.ok
    assert [place(finding) for finding in roster.findings] == [
        ("enrollments.csv", 2, "endDate"),
        ("demographics.csv", 2, "birthDate"),
    ]
    assert [row.birth_date for row in roster.demographics[:2]] == [None, date(1900, 1, 2)]
    assert roster.enrollments[0].end_date is None


GOOD_CELLS = [
    ("orgs.csv", 2, "type", "ext:lycée".replace("é", "e")),
    ("users.csv", 1, "enabledUser", "TRUE"),
    ("users.csv", 1, "enabledUser", "False"),
    ("users.csv", 1, "username", "123456"),
    ("users.csv", 1, "email", ""),
    ("users.csv", 1, "familyName", "O'Neill-Ðorđević 王"),
    ("users.csv", 1, "userIds", "{LDAP:x1},{SIS:2}"),
    ("classes.csv", 1, "termSourcedIds", "sem-1, sem-2"),
    ("academicSessions.csv", 3, "endDate", "9999-12-31"),
    ("enrollments.csv", 5, "sourcedId", "x" * 255),
    ("enrollments.csv", 5, "sourcedId", "A.b-c_d/e@f.org"),
]


@pytest.mark.parametrize(("file", "row", "header", "value"), GOOD_CELLS)
def test_what_real_exports_hold_passes_without_a_word(
    tmp_path: Path, file: str, row: int, header: str, value: str
) -> None:
    roster = read(tmp_path, mutate=lambda tables: put(tables, file, row, header, value))
    assert (roster.ok, roster.findings) == (True, [])


def test_a_bad_address_is_left_out_with_a_warning(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: put(tables, "users.csv", 2, "email", "n/a"))
    assert roster.ok
    assert place(only(roster, Code.BAD_EMAIL)) == ("users.csv", 3, "email")
    assert roster.users[1].email == ""


def test_a_quoted_value_in_a_message_is_shortened_and_printable(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: put(tables, "orgs.csv", 2, "type", "\x1b[31m" + "x" * 500))
    detail = only(roster, Code.BAD_ENUM).detail
    assert "\x1b" not in detail
    assert "…" in detail


@pytest.mark.parametrize("status", ["active", "Active", "ACTIVE", "active "])
def test_a_status_of_active_is_one_warning_for_the_file(tmp_path: Path, status: str) -> None:
    def fill(tables: Tables) -> None:
        for row in range(2, len(tables["users.csv"])):
            put(tables, "users.csv", row, "status", status)
            put(tables, "users.csv", row, "dateLastModified", "2025-08-01T00:00:00.000Z")

    roster = read(tmp_path, mutate=fill)
    assert roster.ok
    assert [place(finding) for finding in roster.findings] == [
        ("users.csv", 3, "status"),
        ("users.csv", 3, "dateLastModified"),
    ]
    assert codes(roster) == {Code.STATUS_IN_BULK}


def test_passwords_are_dropped_while_reading(tmp_path: Path) -> None:
    """Negative control: the file itself, read plainly, does hold them."""
    secret = "correct-horse-battery"

    def fill(tables: Tables) -> None:
        for row in range(1, len(tables["users.csv"])):
            put(tables, "users.csv", row, "password", f"{secret}-{row}")
        put(tables, "users.csv", 3, "enabledUser", "maybe")
        assert secret in cell(tables, "users.csv", 1, "password")

    roster = read(tmp_path, mutate=fill)
    assert "passwords are never read or stored" in only(roster, Code.CREDENTIALS_DROPPED).detail
    seen: set[int] = set()
    pending: list[object] = [roster]
    while pending:
        thing = pending.pop()
        if id(thing) in seen or isinstance(thing, type):
            continue
        seen.add(id(thing))
        assert not (isinstance(thing, str) and secret in thing)
        pending.extend(gc.get_referents(thing))
    assert len(seen) > 100


def test_a_password_in_a_row_that_is_too_long_is_not_quoted(tmp_path: Path) -> None:
    def spoil(tables: Tables) -> None:
        put(tables, "users.csv", 2, "password", "hunter2")
        tables["users.csv"][2].append("extra")

    roster = read(tmp_path, mutate=spoil)
    assert "hunter2" not in only(roster, Code.ROW_LENGTH).detail


def test_an_enrolment_without_a_day_is_left_out_with_a_warning(tmp_path: Path) -> None:
    whole = read(tmp_path).counts["enrollments"]
    roster = read(tmp_path, mutate=lambda tables: put(tables, "enrollments.csv", 5, "endDate", "2025-08-25"))
    assert roster.ok
    assert place(only(roster, Code.DATE_ORDER)) == ("enrollments.csv", 6, "endDate")
    assert roster.counts["enrollments"] == whole - 1


def test_values_are_typed(tmp_path: Path) -> None:
    def fill(tables: Tables) -> None:
        put(tables, "users.csv", 1, "grades", "09, 10,")
        put(tables, "enrollments.csv", 1, "primary", "True")

    roster = read(tmp_path, mutate=fill)
    assert roster.academic_sessions[0].end_date == date(2026, 7, 1)
    assert roster.academic_sessions[0].school_year == 2026
    assert roster.users[0].grades == ("09", "10")
    assert roster.users[0].enabled_user is True
    assert roster.enrollments[0].primary is True
    assert roster.enrollments[0].begin_date is None
    assert roster.classes[0].term_sourced_ids == ("sem-1", "sem-2")
    assert roster.demographics[0].birth_date == date(2008, 1, roster.demographics[0].birth_date.day)


def test_the_layout_s_columns_are_the_standard_s_and_the_rows_fields() -> None:
    assert {layout.file for layout in IMPORTED} == set(HEADERS)
    for layout in IMPORTED:
        assert ",".join(layout.headers) == HEADERS[layout.file]
        kept = ["sourcedId", *(column.header for column in layout.columns if column.kind)]
        fields = layout.make.__self__._fields
        assert fields == ("line", *("".join(f"_{c.lower()}" if c.isupper() else c for c in name) for name in kept))
        for reference in layout.references:
            assert layout.place(reference.column) == 1 + kept.index(reference.column)


def test_the_generator_writes_the_same_bytes_every_time(tmp_path: Path) -> None:
    first = write_roster(tmp_path / "a.zip", students=30).read_bytes()
    assert first == write_roster(tmp_path / "b.zip", students=30).read_bytes()
    assert first != write_roster(tmp_path / "c.zip", students=30, seed=8).read_bytes()
