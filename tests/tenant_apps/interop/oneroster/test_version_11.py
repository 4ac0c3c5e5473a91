"""OneRoster 1.1 reads as 1.2: the role in users.csv becomes a row of roles."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenant_apps.interop.oneroster import Code, Roster
from tests.tenant_apps.interop.oneroster.reading import codes, only, place, put, read, set_property
from tests.tenant_apps.interop.oneroster.rosters import Tables
from tests.tenant_apps.interop.oneroster.versions import FILES_11, as_11


def test_a_roster_of_11_reads_as_that_of_12(tmp_path: Path) -> None:
    old, new = read(tmp_path, mutate=as_11), read(tmp_path)
    assert (old.ok, old.findings, old.version) == (True, [], "1.1")
    assert (old.orgs, old.classes, old.enrollments, old.demographics) == (
        new.orgs, new.classes, new.enrollments, new.demographics,
    )  # fmt: skip
    assert [row._replace(primary_org_sourced_id="") for row in old.users] == [
        row._replace(primary_org_sourced_id="") for row in new.users
    ]

    def held(roster: Roster) -> set[tuple[str, str, str]]:
        rows = [row for row in roster.roles if row.role_type == "primary"]
        return {
            (row.user_sourced_id, row.role.replace("principal", "siteAdministrator"), row.org_sourced_id)
            for row in rows
        }

    assert held(old) == held(new)


def test_a_user_of_several_orgs_has_the_role_in_each(tmp_path: Path) -> None:
    def two(tables: Tables) -> None:
        as_11(tables)
        put(tables, "users.csv", 1, "orgSourcedIds", "school-1,school-2")

    roster = read(tmp_path, mutate=two)
    who = roster.users[0].sourced_id
    assert [(row.org_sourced_id, row.role_type) for row in roster.roles if row.user_sourced_id == who] == [
        ("school-1", "primary"), ("school-2", "secondary"),
    ]  # fmt: skip
    assert roster.findings == []


@pytest.mark.parametrize("name", FILES_11)
def test_each_of_its_files_needs_its_row(tmp_path: Path, name: str) -> None:
    def lose(tables: Tables) -> None:
        as_11(tables)
        set_property(tables, f"file.{name}", None)

    assert codes(read(tmp_path, mutate=lose)) == {Code.PROPERTY_MISSING}


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("role", "", Code.REQUIRED),
        ("role", "principal", Code.BAD_ENUM),
        ("orgSourcedIds", "", Code.REQUIRED),
        ("orgSourcedIds", "elsewhere", Code.DANGLING_REFERENCE),
    ],
)
def test_a_bad_role_is_found_at_its_place(tmp_path: Path, column: str, value: str, code: Code) -> None:
    def spoil(tables: Tables) -> None:
        as_11(tables)
        put(tables, "users.csv", 1, column, value)

    assert place(only(read(tmp_path, mutate=spoil), code)) == ("users.csv", 2, column)


def test_users_of_12_in_a_roster_of_11_lack_their_role(tmp_path: Path) -> None:
    def mixed(tables: Tables) -> None:
        users = [list(row) for row in tables["users.csv"]]
        as_11(tables)
        tables["users.csv"] = users

    roster = read(tmp_path, mutate=mixed)
    assert "role" in {finding.column for finding in roster.errors if finding.code == Code.COLUMN_MISSING}


def test_roles_in_a_class_that_only_11_knows_are_left_out(tmp_path: Path) -> None:
    def aide(tables: Tables) -> None:
        as_11(tables)
        put(tables, "enrollments.csv", 1, "role", "aide")

    roster = read(tmp_path, mutate=aide)
    assert roster.ok
    assert only(roster, Code.ROLE_UNKNOWN).severity == "warning"
