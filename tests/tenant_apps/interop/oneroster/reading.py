"""Short ways to write, spoil and read a roster, and to ask what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tenant_apps.interop.oneroster import Code, Finding, Limits, Roster, read_roster
from tests.tenant_apps.interop.oneroster.rosters import Tables, write_roster


def read(tmp_path: Path, *, limits: Limits | None = None, **roster: Any) -> Roster:
    """Write a roster with these arguments of `write_roster` and read it."""
    path = write_roster(tmp_path / "roster.zip", **roster)
    return read_roster(path, limits=limits) if limits else read_roster(path)


def only(roster: Roster, code: Code) -> Finding:
    """The one finding with `code`; fails when there are none or several."""
    found = [finding for finding in roster.findings if finding.code == code]
    assert len(found) == 1, f"{code}: {len(found)} of {codes(roster)}"
    return found[0]


def place(finding: Finding) -> tuple[str | None, int | None, str | None]:
    return finding.file, finding.line, finding.column


def codes(roster: Roster) -> set[Code]:
    return {finding.code for finding in roster.findings}


def put(tables: Tables, file: str, row: int, header: str, value: str) -> None:
    """Set one cell; `row` counts from 1, the first row after the header."""
    tables[file][row][tables[file][0].index(header)] = value


def cell(tables: Tables, file: str, row: int, header: str) -> str:
    return tables[file][row][tables[file][0].index(header)]


def set_property(tables: Tables, name: str, value: str | None) -> None:
    """Set a row of the manifest, or take it out (None)."""
    manifest = tables["manifest.csv"]
    at = next(index for index, row in enumerate(manifest) if row[0] == name)
    if value is None:
        del manifest[at]
    else:
        manifest[at][1] = value


def drop_file(tables: Tables, name: str) -> None:
    """Take a file out of the zip and declare it absent."""
    del tables[f"{name}.csv"]
    set_property(tables, f"file.{name}", "absent")
