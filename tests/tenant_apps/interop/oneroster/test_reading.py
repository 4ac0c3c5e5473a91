"""Whole rosters: the sound one, large ones, and thousands of findings."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from tenant_apps.interop.oneroster import Code, cells, read_roster
from tests.tenant_apps.interop.oneroster.reading import codes, only, put, read
from tests.tenant_apps.interop.oneroster.rosters import Tables, add_role, write_roster


def test_a_sound_roster_is_read_without_a_word(tmp_path: Path) -> None:
    roster = read(tmp_path, students=60, sections=8)
    assert (roster.ok, roster.findings, roster.not_imported) == (True, [], [])
    assert roster.counts["orgs"] == 3
    assert roster.counts["classes"] == 8
    assert roster.counts["enrollments"] == 60 * 2 + 8
    assert sum(role.role == "student" for role in roster.roles) == 60
    assert roster.users[0].line == 2
    assert {"ü", "é", "ł", "さ", "М"} <= set("".join(user.given_name + user.family_name for user in roster.users))


def test_the_issue_s_roster_is_read_within_seconds_and_little_memory(tmp_path: Path) -> None:
    """5,000 students, 400 sections, 40,000 enrolments: 0.7 s here; the bounds leave room for a busy machine."""
    path = write_roster(tmp_path / "roster.zip", students=5000, sections=400, enrolments_per_student=8, schools=4)
    started = time.perf_counter()
    assert read_roster(path).ok
    assert time.perf_counter() - started < 10
    tracemalloc.start()
    roster = read_roster(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert roster.counts["enrollments"] == 40_400
    assert peak < 120_000_000


def test_two_hundred_thousand_enrolments_pass(tmp_path: Path) -> None:
    def multiply(tables: Tables) -> None:
        rows = tables["enrollments.csv"]
        students = [row for row in rows[1:] if row[6] == "student"]
        for number in range(200_000):
            _, *middle, _, _ = students[number % len(students)]
            day = 1 + number // len(students) % 28
            month = 1 + number // len(students) // 28
            rows.append([f"more-{number}", *middle, f"{2010 + month}-01-{day:02}", f"{2010 + month}-01-{day + 1:02}"])

    roster = read(tmp_path, students=500, sections=20, enrolments_per_student=4, mutate=multiply)
    assert (roster.ok, roster.findings) == (True, [])
    assert roster.counts["enrollments"] == 202_020


def test_identifiers_are_held_once(tmp_path: Path) -> None:
    roster = read(tmp_path, students=60)
    classes = {row.sourced_id: row.sourced_id for row in roster.classes}
    assert all(row.class_sourced_id is classes[row.class_sourced_id] for row in roster.enrollments)


def test_a_thousand_findings_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    """Negative control: the first thousand in reading order would hide the one bad date behind bad references."""

    def spoil(tables: Tables) -> None:
        for row in range(1, len(tables["users.csv"])):
            put(tables, "users.csv", row, "enabledUser", "maybe")
            put(tables, "users.csv", row, "email", "none")
        put(tables, "demographics.csv", 900, "birthDate", "soon")

    roster = read(tmp_path, students=1500, sections=20, guardians=False, mutate=spoil)
    people = 1500 + roster.counts["classes"] // 4 + 3
    assert len(roster.findings) == 1000
    assert roster.error_count >= 1500
    assert roster.warning_count >= 1500
    assert roster.error_count <= people + 1
    assert {finding.severity for finding in roster.findings} == {"error"}
    assert only(roster, Code.BAD_DATE).line == 901


def test_thousands_of_different_wrong_words_are_not_all_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search for the word that was meant takes 0.1 ms: it is done for findings that are shown, not for all."""
    looked_up: list[str] = []

    def spy(word: str, words: frozenset[str]) -> str:
        looked_up.append(word)
        return "student"

    def spoil(tables: Tables) -> None:
        for number in range(5000):
            add_role(tables, "student-1", "school-1", f"studnt{number}", "secondary")

    monkeypatch.setattr(cells, "nearest", spy)
    roster = read(tmp_path, mutate=spoil)
    assert roster.error_count == 5000
    assert len(looked_up) == 1000
    assert 'Did you mean "student"?' in roster.findings[0].detail


def test_findings_come_by_file_and_line(tmp_path: Path) -> None:
    def spoil(tables: Tables) -> None:
        put(tables, "enrollments.csv", 3, "role", "x")
        put(tables, "users.csv", 9, "givenName", "")
        put(tables, "users.csv", 2, "primaryOrgSourcedId", "nowhere")
        put(tables, "orgs.csv", 1, "type", "x")

    roster = read(tmp_path, mutate=spoil)
    assert [(finding.file, finding.line) for finding in roster.findings] == [
        ("orgs.csv", 2),
        ("users.csv", 3),
        ("users.csv", 10),
        ("enrollments.csv", 4),
    ]


def test_a_finding_as_the_api_shows_it(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate=lambda tables: put(tables, "orgs.csv", 1, "name", ""))
    assert roster.findings[0].as_dict() == {
        "file": "orgs.csv",
        "line": 2,
        "column": "name",
        "code": "required",
        "detail": "This column must have a value here, and the cell is empty: fill it in.",
    }
    assert codes(roster) == {Code.REQUIRED}
