"""Bytes, lines and headers: encodings, line ends, quotation marks, columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from tenant_apps.interop.oneroster import Code, Limits
from tests.tenant_apps.interop.oneroster.reading import codes, drop_file, only, place, put, read
from tests.tenant_apps.interop.oneroster.rosters import HEADERS, Members, Tables


def replace(file: str, old: bytes, new: bytes, count: int = 1) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        assert old in members[file]
        members[file] = members[file].replace(old, new, count)

    return change


def rename(file: str, old: str, new: str) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        header = tables[file][0]
        header[header.index(old)] = new

    return change


def test_latin_1_bytes_are_named_by_line_and_column(tmp_path: Path) -> None:
    def spoil(tables: Tables) -> None:
        put(tables, "users.csv", 3, "familyName", "Muller")

    roster = read(tmp_path, mutate=spoil, mutate_bytes=replace("users.csv", b"Muller", "Müller".encode("latin-1")))
    finding = only(roster, Code.NOT_UTF8)
    assert place(finding) == ("users.csv", 4, "familyName")
    assert "CSV UTF-8" in finding.detail
    assert codes(roster) == {Code.NOT_UTF8}


def test_a_file_that_is_latin_1_throughout_names_every_such_row(tmp_path: Path) -> None:
    """Negative control: read as Latin-1, as a lenient reader would, every name of the good file comes out wrong."""

    def recode(members: Members) -> None:
        text = members["users.csv"].decode()
        members["users.csv"] = text.encode("latin-1", errors="replace")

    roster = read(tmp_path, students=40, mutate_bytes=recode)
    assert codes(roster) == {Code.NOT_UTF8}
    assert roster.error_count > 10
    assert "Ã¼" in "ü".encode().decode("latin-1")


def test_utf_16_is_refused_by_name(tmp_path: Path) -> None:
    def recode(members: Members) -> None:
        members["orgs.csv"] = members["orgs.csv"].decode().encode("utf-16")

    finding = only(read(tmp_path, mutate_bytes=recode), Code.NOT_UTF8)
    assert place(finding) == ("orgs.csv", 1, None)
    assert "UTF-16" in finding.detail


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    """Negative control: the csv module alone makes it part of the first header."""

    def mark(members: Members) -> None:
        for name in members:
            members[name] = b"\xef\xbb\xbf" + members[name]
        naive = next(csv.reader(io.StringIO(members["users.csv"].decode())))
        assert naive[0] != "sourcedId"

    roster = read(tmp_path, mutate_bytes=mark)
    assert (roster.ok, roster.findings) == (True, [])


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_both_usual_line_ends_are_read(tmp_path: Path, line_end: str) -> None:
    roster = read(tmp_path, line_end=line_end)
    assert (roster.ok, roster.findings) == (True, [])
    assert roster.users[1].line == 3


def test_a_carriage_return_alone_is_no_line_end(tmp_path: Path) -> None:
    finding = only(read(tmp_path, line_end="\r", mutate_bytes=lambda members: None), Code.LINE_ENDINGS)
    assert place(finding) == ("manifest.csv", 1, None)


def test_a_nul_character_is_named_by_line_and_column(tmp_path: Path) -> None:
    def spoil(tables: Tables) -> None:
        put(tables, "courses.csv", 2, "title", "Ma\0ths")

    roster = read(tmp_path, mutate=spoil)
    assert place(only(roster, Code.NUL_CHARACTER)) == ("courses.csv", 3, "title")
    assert codes(roster) == {Code.NUL_CHARACTER}


def test_a_line_break_inside_quotation_marks_belongs_to_the_cell(tmp_path: Path) -> None:
    def spoil(tables: Tables) -> None:
        put(tables, "classes.csv", 1, "title", "Two\nlines")
        put(tables, "classes.csv", 2, "classType", "weekly")

    roster = read(tmp_path, mutate=spoil)
    assert roster.classes[0].title == "Two lines"  # a title has one line here
    assert place(only(roster, Code.BAD_ENUM)) == ("classes.csv", 4, "classType")


@pytest.mark.parametrize(("cells", "word"), [(8, "fill it up"), (12, "quotation marks")])
def test_a_row_of_the_wrong_length_is_named_with_both_counts(tmp_path: Path, cells: int, word: str) -> None:
    def spoil(tables: Tables) -> None:
        row = tables["enrollments.csv"][5]
        row[:] = ([*row, "x", "y"])[:cells]

    roster = read(tmp_path, mutate=spoil)
    finding = only(roster, Code.ROW_LENGTH)
    assert place(finding) == ("enrollments.csv", 6, None)
    assert f"has {cells} cells, the header 10" in finding.detail
    assert word in finding.detail
    assert codes(roster) == {Code.ROW_LENGTH}


def test_empty_cells_after_the_last_are_one_warning_for_the_file(tmp_path: Path) -> None:
    def pad(tables: Tables) -> None:
        for row in tables["users.csv"][1:]:
            row.append("")
        tables["users.csv"][3] += ["", ""]

    sound, padded = read(tmp_path), read(tmp_path, mutate=pad)
    assert padded.users == sound.users
    finding = only(padded, Code.ROW_LENGTH)
    assert (finding.severity, place(finding)) == ("warning", ("users.csv", 2, None))
    assert f"{len(sound.users)} rows have empty cells beyond the header's 22" in finding.detail

    def spill(tables: Tables) -> None:
        pad(tables)
        tables["users.csv"][3][-1] = "x"

    # With something in it, a surplus cell is what a comma without quotation marks makes.
    errors = [found for found in read(tmp_path, mutate=spill).findings if found.severity == "error"]
    assert [place(found) for found in errors] == [("users.csv", 4, None)]
    assert "quotation marks" in errors[0].detail


def test_a_short_row_of_a_person_is_not_reported_again_where_others_name_them(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: tables["users.csv"][8].pop())
    assert codes(roster) == {Code.ROW_LENGTH}


def test_a_quotation_mark_that_is_not_doubled_is_named(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate_bytes=replace("courses.csv", b",MAT,", b',"M"AT,'))
    finding = only(roster, Code.MALFORMED_CSV)
    assert (finding.file, finding.line) == ("courses.csv", 2)
    assert codes(roster) == {Code.MALFORMED_CSV}


def test_a_quotation_mark_that_is_never_closed_is_named_where_it_opens(tmp_path: Path) -> None:
    roster = read(tmp_path, demographics=True, mutate_bytes=replace("demographics.csv", b",male,", b',"male,'))
    finding = only(roster, Code.MALFORMED_CSV)
    assert finding.file == "demographics.csv"
    assert "never closed" in finding.detail


def test_a_cell_beyond_the_csv_module_s_limit_is_named(tmp_path: Path) -> None:
    big = b'"' + b"n" * 200_000 + b'"'
    roster = read(tmp_path, mutate_bytes=replace("orgs.csv", b"Bezirk S\xc3\xbcd", big))
    assert place(only(roster, Code.MALFORMED_CSV)) == ("orgs.csv", 2, None)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    roster = read(
        tmp_path,
        limits=Limits(line_bytes=10_000),
        mutate_bytes=replace("orgs.csv", b"Bezirk S\xc3\xbcd", b"n" * 20_000),
    )
    assert place(only(roster, Code.LINE_TOO_LONG)) == ("orgs.csv", 2, None)


def test_an_empty_file_and_one_without_rows_are_told_apart(tmp_path: Path) -> None:
    empty = read(tmp_path, mutate_bytes=lambda members: members.update({"demographics.csv": b""}))
    assert place(only(empty, Code.HEADER_MISSING)) == ("demographics.csv", 1, None)
    header = HEADERS["demographics.csv"].encode()
    bare = read(tmp_path, mutate_bytes=lambda members: members.update({"demographics.csv": header}))
    assert bare.ok
    assert only(bare, Code.NO_ROWS).severity == "warning"


def test_blank_lines_are_skipped_and_blank_rows_reported(tmp_path: Path) -> None:
    roster = read(
        tmp_path,
        mutate_bytes=lambda members: members.update(
            {"orgs.csv": members["orgs.csv"] + b"\r\n\r\n,,,,,,\r\n"},
        ),
    )
    assert roster.ok
    assert place(only(roster, Code.ROW_BLANK)) == ("orgs.csv", 7, None)


def test_columns_separated_by_semicolons_are_named(tmp_path: Path) -> None:
    def recode(members: Members) -> None:
        members["orgs.csv"] = members["orgs.csv"].replace(b",", b";")

    assert "commas" in only(read(tmp_path, mutate_bytes=recode), Code.MALFORMED_CSV).detail


@pytest.mark.parametrize(
    ("file", "header", "found"),
    [
        ("users.csv", "dateLastModified", "dataLastModified"),
        ("orgs.csv", "dateLastModified", "dataLastModified"),
        ("users.csv", "preferredGivenName", "prefferedGivenName"),
        ("users.csv", "preferredFamilyName", "prefferedFamilyName"),
        ("enrollments.csv", "classSourcedId", "classSourceId"),
        ("academicSessions.csv", "schoolYear", "schoolyears"),
    ],
)
def test_a_misspelt_header_is_named_with_the_right_one(tmp_path: Path, file: str, header: str, found: str) -> None:
    roster = read(tmp_path, mutate=rename(file, header, found))
    finding = only(roster, Code.HEADER_MISSPELT)
    assert place(finding) == (file, 1, found)
    assert f'"{found}". Did you mean {header}?' in finding.detail
    assert roster.error_count == 1


def test_the_rows_below_a_misspelt_header_are_checked_all_the_same(tmp_path: Path) -> None:
    def spoil(tables: Tables) -> None:
        put(tables, "academicSessions.csv", 2, "startDate", "25.08.2025")
        rename("academicSessions.csv", "startDate", "startdates")(tables)

    roster = read(tmp_path, mutate=spoil)
    assert place(only(roster, Code.BAD_DATE)) == ("academicSessions.csv", 3, "startdates")
    assert codes(roster) == {Code.HEADER_MISSPELT, Code.BAD_DATE}


def test_a_header_in_other_case_is_taken_with_a_warning(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=rename("users.csv", "givenName", "GivenName "))
    assert roster.ok
    assert place(only(roster, Code.HEADER_CASE)) == ("users.csv", 1, "GivenName ")


def test_columns_in_another_order_are_an_error_that_names_the_first(tmp_path: Path) -> None:
    def swap(tables: Tables) -> None:
        for row in tables["orgs.csv"]:
            row[3], row[4] = row[4], row[3]

    roster = read(tmp_path, mutate=swap)
    finding = only(roster, Code.HEADER_ORDER)
    assert place(finding) == ("orgs.csv", 1, "type")
    assert "Column 4 is type, where the standard has name" in finding.detail
    assert roster.error_count == 1


def without_column(file: str, header: str) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        at = tables[file][0].index(header)
        for row in tables[file]:
            del row[at]

    return change


def test_a_missing_required_column_is_an_error(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=without_column("users.csv", "username"))
    finding = only(roster, Code.COLUMN_MISSING)
    assert place(finding) == ("users.csv", 1, "username")
    assert "after enabledUser" in finding.detail
    assert roster.error_count == 1


def test_a_missing_optional_column_is_an_error_in_the_middle_and_a_warning_at_the_end(tmp_path: Path) -> None:
    middle = read(tmp_path, mutate=without_column("users.csv", "phone"))
    assert only(middle, Code.COLUMN_MISSING).severity == "error"
    end = read(tmp_path, mutate=without_column("users.csv", "pronouns"))
    assert only(end, Code.COLUMN_MISSING).severity == "warning"
    assert end.ok
    assert {user.pronouns for user in end.users} == {""}


def with_column(file: str, header: str, at: int) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        for number, row in enumerate(tables[file]):
            row.insert(at, "x" if number else header)

    return change


def test_extension_columns_at_the_end_are_accepted_with_a_warning(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=with_column("orgs.csv", "metadata.boardingStatus", 7))
    assert roster.ok
    assert place(only(roster, Code.COLUMN_EXTENSION)) == ("orgs.csv", 1, "metadata.boardingStatus")


@pytest.mark.parametrize("at", [0, 4, 7])
def test_an_unknown_column_is_a_warning_wherever_it_stands(tmp_path: Path, at: int) -> None:
    roster = read(tmp_path, mutate=with_column("orgs.csv", "motto", at))
    assert roster.ok
    assert only(roster, Code.COLUMN_UNKNOWN).severity == "warning"
    assert place(only(roster, Code.COLUMN_UNKNOWN)) == ("orgs.csv", 1, "motto")
    assert roster.orgs[0].name == "Bezirk Süd"


def test_a_column_that_is_nearly_the_standard_s_is_an_error_and_not_left_aside(tmp_path: Path) -> None:
    def misspell(tables: Tables) -> None:
        tables["users.csv"][0][tables["users.csv"][0].index("givenName")] = "given_name"

    assert "Did you mean givenName?" in only(read(tmp_path, mutate=misspell), Code.HEADER_MISSPELT).detail


def test_an_endless_header_and_endless_manifest_are_refused_at_once(tmp_path: Path) -> None:
    wide = read(tmp_path, mutate=lambda tables: tables["orgs.csv"][0].extend(f"x{n}" for n in range(100_000)))
    assert "100007 columns" in only(wide, Code.MALFORMED_CSV).detail
    long = read(tmp_path, mutate=lambda tables: tables["manifest.csv"].extend([f"file.x{n}", ""] for n in range(9000)))
    assert only(long, Code.TOO_MANY_ROWS).line == 502
    name = read(tmp_path, mutate=with_column("orgs.csv", "m" * 50_000, 7))
    assert len(only(name, Code.COLUMN_UNKNOWN).column or "") == 100


def test_a_header_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=with_column("orgs.csv", "name", 7))
    assert "Columns 4 and 8" in only(roster, Code.HEADER_DUPLICATE).detail


def test_files_are_judged_without_their_absent_neighbours(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: drop_file(tables, "demographics"))
    assert (roster.ok, roster.findings) == (True, [])
