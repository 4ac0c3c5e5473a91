"""The plan of the house, held by the tree: packages on floors, files of a readable size, locks without addresses."""

import re
import subprocess
import tomllib
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
MOST_LINES = 500


def tracked(*patterns: str) -> list[Path]:
    """Files of the tree that git knows or would take."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(asked, cwd=TOP, check=True, capture_output=True, text=True).stdout
    return [TOP / line for line in listed.splitlines() if (TOP / line).is_file()]


def contracts() -> list[dict[str, list[str]]]:
    return tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_every_top_level_package_stands_on_a_floor() -> None:
    floors = {name.strip() for layer in contracts()[0]["layers"] for name in layer.split("|")}
    packages = {path.parent.name for path in TOP.glob("*/__init__.py")} - {"tests"}
    assert packages == floors


def test_every_room_stands_on_a_floor_of_its_house() -> None:
    for contract in contracts()[1:]:
        (house,) = contract["containers"]
        assert contract["exhaustive"]
        floors = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
        assert {path.parent.name for path in (TOP / house).glob("*/__init__.py")} == floors


def test_no_file_of_the_platform_is_too_long_to_read() -> None:
    long = {
        str(path.relative_to(TOP)): lines
        for path in tracked("*.py")
        if "migrations" not in path.parts
        and "tests" not in path.parts
        and (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not long


def test_nothing_names_a_dumping_ground() -> None:
    assert not [p for p in tracked("*.py") if p.name in {"utils.py", "helpers.py", "misc.py", "common.py"}]


def test_lock_files_pin_by_hash_and_carry_no_address() -> None:
    for path in (TOP / "requirements").glob("*.txt"):
        text = path.read_text()
        assert not re.search(r"^\s*(--(extra-)?index-url|--find-links|-f |--trusted-host)", text, re.MULTILINE)
        assert "://" not in text
        pinned = re.findall(r"^[A-Za-z0-9._-]+(?:\[[a-z0-9,-]+\])?==", text, re.MULTILINE)
        assert len(re.findall(r"^\s+--hash=sha256:", text, re.MULTILINE)) >= len(pinned) > 0


def test_pages_and_styles_call_no_other_host() -> None:
    for path in tracked("*.html", "*.css", "*.js"):
        outside = re.findall(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//[^"')\s]+""", path.read_text())
        assert not outside, path


def test_extensions_are_made_by_the_platform_alone() -> None:
    """One made inside an institution takes every other's constraints along when that institution is dropped."""
    made = {
        path.relative_to(TOP).parts[0]
        for path in tracked("*_apps/*/migrations/*.py")
        if re.search(
            r"CREATE EXTENSION|Extension\(|BtreeGistExtension|TrigramExtension|UnaccentExtension", path.read_text()
        )
    }
    assert made == {"shared_apps"}
