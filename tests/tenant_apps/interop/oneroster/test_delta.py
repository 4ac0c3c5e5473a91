"""Delta files: what every row must say, and what a package may refer to without holding it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenant_apps.interop.oneroster import Code
from tests.tenant_apps.interop.oneroster.reading import codes, only, place, put, read, set_property
from tests.tenant_apps.interop.oneroster.rosters import Tables
from tests.tenant_apps.interop.oneroster.versions import STAMP, as_delta

ONE = as_delta(active=["enr-3"], deleted=["enr-4"])


def test_rows_are_parted_into_those_that_hold_and_those_to_be_deleted(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=ONE)
    assert (roster.ok, roster.findings) == (True, [])
    assert roster.delta == {"enrollments.csv"}
    assert [row.sourced_id for row in roster.enrollments] == ["enr-3"]
    assert [row.sourced_id for row in roster.ended["enrollments.csv"]] == ["enr-4"]


def test_what_the_package_lacks_is_asked_of_the_institution(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=ONE)
    assert {(row.column, row.target) for row in roster.outside} == {
        ("classSourcedId", "classes.csv"),
        ("schoolSourcedId", "orgs.csv"),
        ("userSourcedId", "users.csv"),
    }
    assert all(row.line == 2 for row in roster.outside)


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("status", "", Code.REQUIRED),
        ("status", "gone", Code.BAD_ENUM),
        ("dateLastModified", "", Code.REQUIRED),
        ("dateLastModified", "2026-02-27", Code.BAD_DATE),
        ("dateLastModified", "yesterday", Code.BAD_DATE),
    ],
)
def test_status_and_moment_are_required_of_every_row(tmp_path: Path, column: str, value: str, code: Code) -> None:
    def spoil(tables: Tables) -> None:
        ONE(tables)
        put(tables, "enrollments.csv", 1, column, value)

    roster = read(tmp_path, mutate=spoil)
    assert place(only(roster, code)) == ("enrollments.csv", 2, column)
    assert roster.enrollments == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "toBeDeleted"),
        ("status", "Active"),
        ("dateLastModified", "2026-02-27T08:15:30Z"),
        ("dateLastModified", "2026-02-27T08:15:30.123456+01:00"),
    ],
)
def test_what_systems_write_is_understood(tmp_path: Path, column: str, value: str) -> None:
    def write(tables: Tables) -> None:
        ONE(tables)
        put(tables, "enrollments.csv", 1, column, value)

    assert read(tmp_path, mutate=write).findings == []


def test_a_row_to_be_deleted_need_only_be_named(tmp_path: Path) -> None:
    def bare(tables: Tables) -> None:
        ONE(tables)
        tables["enrollments.csv"][2] = ["enr-4", "tobedeleted", STAMP, *[""] * 7]

    roster = read(tmp_path, mutate=bare)
    assert roster.findings == []
    assert [row.sourced_id for row in roster.ended["enrollments.csv"]] == ["enr-4"]


def test_a_row_that_holds_must_be_whole(tmp_path: Path) -> None:
    def bare(tables: Tables) -> None:
        ONE(tables)
        tables["enrollments.csv"][1] = ["enr-3", "active", STAMP, *[""] * 7]

    assert codes(read(tmp_path, mutate=bare)) == {Code.REQUIRED}


def test_a_bulk_file_beside_a_delta_holds_everything_that_is_named(tmp_path: Path) -> None:
    def mixed(tables: Tables) -> None:
        as_delta(active=["enr-3"], keep=["orgs.csv", "users.csv", "roles.csv"])(tables)
        put(tables, "enrollments.csv", 1, "userSourcedId", "nobody")

    assert place(only(read(tmp_path, mutate=mixed), Code.DANGLING_REFERENCE)) == ("enrollments.csv", 2, "userSourcedId")


def test_an_empty_delta_says_that_nothing_has_changed(tmp_path: Path) -> None:
    def empty(tables: Tables) -> None:
        header = tables["enrollments.csv"][0]
        as_delta()(tables)
        tables["enrollments.csv"] = [header]
        set_property(tables, "file.enrollments", "delta")

    roster = read(tmp_path, mutate=empty)
    assert (roster.ok, roster.findings) == (True, [])
