"""manifest.csv against the standard and against what the zip holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenant_apps.interop.oneroster import Code
from tests.tenant_apps.interop.oneroster.reading import codes, drop_file, only, place, read, set_property
from tests.tenant_apps.interop.oneroster.rosters import ALL_FILES, Members, Tables


def test_a_zip_without_a_manifest_is_refused(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: tables.pop("manifest.csv"))
    assert place(only(roster, Code.MANIFEST_MISSING)) == ("manifest.csv", None, None)
    assert roster.error_count == 1


@pytest.mark.parametrize("name", ALL_FILES)
def test_each_file_of_the_standard_needs_its_row(tmp_path: Path, name: str) -> None:
    roster = read(tmp_path, mutate=lambda tables: set_property(tables, f"file.{name}", None))
    assert f"file.{name}" in only(roster, Code.PROPERTY_MISSING).detail
    assert codes(roster) == {Code.PROPERTY_MISSING}  # and nothing is said of the rows that refer to that file


@pytest.mark.parametrize("name", ["orgs", "users", "demographics", "results"])
def test_a_file_that_the_manifest_names_must_be_in_the_zip(tmp_path: Path, name: str) -> None:
    def lose(tables: Tables) -> None:
        tables.pop(f"{name}.csv", None)
        set_property(tables, f"file.{name}", "bulk")

    roster = read(tmp_path, mutate=lose)
    finding = only(roster, Code.FILE_MISSING)
    assert place(finding) == ("manifest.csv", 4 + ALL_FILES.index(name), "value")
    assert f"{name}.csv" in finding.detail
    assert codes(roster) == {Code.FILE_MISSING}


def test_a_file_that_the_manifest_calls_absent_is_neither_read_nor_dropped_silently(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: set_property(tables, "file.enrollments", "absent"))
    assert only(roster, Code.FILE_UNDECLARED).severity == "error"
    assert roster.counts["enrollments"] == 0


def test_files_that_nobody_reads_are_accepted_and_named(tmp_path: Path) -> None:
    def add(tables: Tables) -> None:
        tables["results.csv"] = [["anything"]]
        set_property(tables, "file.results", "delta")
        tables["userProfiles.csv"] = [["anything"]]

    roster = read(tmp_path, mutate=add)
    assert roster.ok
    assert roster.not_imported == ["results.csv", "userProfiles.csv"]
    assert only(roster, Code.FILE_NOT_IMPORTED).file == "results.csv"
    assert only(roster, Code.FILE_UNDECLARED).severity == "warning"


@pytest.mark.parametrize("version", ["1.0", "1.3", "2.0", ""])
def test_another_version_is_refused_by_name(tmp_path: Path, version: str) -> None:
    roster = read(tmp_path, mutate=lambda tables: set_property(tables, "oneroster.version", version))
    finding = only(roster, Code.VERSION_UNSUPPORTED)
    assert place(finding) == ("manifest.csv", 3, "value")
    assert f'"{version}"' in finding.detail


def test_a_missing_version_is_an_error(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: set_property(tables, "oneroster.version", None))
    assert "oneroster.version" in only(roster, Code.PROPERTY_MISSING).detail


def test_another_version_of_the_manifest_is_a_warning(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: set_property(tables, "manifest.version", "1.2"))
    assert roster.ok
    assert place(only(roster, Code.PROPERTY_VALUE)) == ("manifest.csv", 2, "value")


def test_a_mode_that_does_not_exist_is_an_error_with_the_nearest_one(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: set_property(tables, "file.orgs", "bluk"))
    finding = only(roster, Code.PROPERTY_VALUE)
    assert "Did you mean bulk?" in finding.detail
    assert finding.line == 4 + ALL_FILES.index("orgs")


def test_a_mode_in_upper_case_is_taken_with_a_warning(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: set_property(tables, "file.orgs", "Bulk"))
    assert roster.ok
    assert only(roster, Code.PROPERTY_VALUE).severity == "warning"
    assert roster.counts["orgs"] == 3


def test_a_misspelt_property_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    def misspell(tables: Tables) -> None:
        tables["manifest.csv"][3][0] = "file.academicSesions"

    roster = read(tmp_path, mutate=misspell)
    assert "Did you mean file.academicSessions?" in only(roster, Code.PROPERTY_UNKNOWN).detail
    assert "file.academicSessions" in only(roster, Code.PROPERTY_MISSING).detail


def test_a_property_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: tables["manifest.csv"].append(["file.orgs", "absent"]))
    finding = only(roster, Code.PROPERTY_DUPLICATE)
    assert place(finding) == ("manifest.csv", 27, "propertyName")


def test_a_broken_header_or_row_of_the_manifest_is_named(tmp_path: Path) -> None:
    def spoil_header(members: Members) -> None:
        members["manifest.csv"] = members["manifest.csv"].replace(b"propertyName", b"property", 1)

    def spoil_row(tables: Tables) -> None:
        tables["manifest.csv"][4].append("extra")

    assert place(only(read(tmp_path, mutate_bytes=spoil_header), Code.HEADER_MISSPELT)) == ("manifest.csv", 1, None)
    assert place(only(read(tmp_path, mutate=spoil_row), Code.ROW_LENGTH)) == ("manifest.csv", 5, None)
    empty = read(tmp_path, mutate_bytes=lambda members: members.update({"manifest.csv": b""}))
    assert place(only(empty, Code.HEADER_MISSING)) == ("manifest.csv", 1, None)


def test_empty_cells_after_the_value_mean_nothing(tmp_path: Path) -> None:
    def pad(tables: Tables) -> None:
        for row in tables["manifest.csv"]:
            row += ["", ""]

    assert read(tmp_path, mutate=pad).findings == []


def test_the_source_system_is_kept(tmp_path: Path) -> None:
    roster = read(tmp_path)
    assert (roster.system_name, roster.system_code) == ("Lyceum test", "LT")


def test_rows_that_refer_to_an_absent_file_are_one_finding_and_not_thousands(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: drop_file(tables, "courses"))
    finding = only(roster, Code.REFERENCE_FILE_ABSENT)
    assert place(finding) == ("classes.csv", 2, "courseSourcedId")
    assert roster.error_count == 1


def test_users_without_a_file_of_roles_are_one_finding(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: drop_file(tables, "roles"))
    assert place(only(roster, Code.REFERENCE_FILE_ABSENT)) == ("users.csv", None, None)
    assert roster.error_count == 1


def test_a_roster_of_people_alone_is_complete(tmp_path: Path) -> None:
    def people_only(tables: Tables) -> None:
        for name in ("enrollments", "classes", "courses", "academicSessions", "demographics"):
            drop_file(tables, name)

    roster = read(tmp_path, mutate=people_only)
    assert roster.ok
    assert roster.counts["users"] > 12
