"""startroom and startresource write what a developer would have written, once, and refuse what cannot be meant."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from shared_apps.core.scaffold import words
from shared_apps.core.scaffold.resources import Plan, plan, start_resource
from shared_apps.core.scaffold.rooms import start_room
from shared_apps.core.scaffold.tree import TOP, Tree
from tests.test_house import tracked

LOCKER = ["number:text(20)!", "campus:school.Campus!", "student:school.Student?", "remark:note"]
CARD = ["number:text(40)!", "holder:school.Student", "expires_on:day?"]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("tree")
    for path in tracked("*.py", "pyproject.toml"):
        target = top / path.relative_to(TOP)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return top


@pytest.fixture
def tree(copied: Path, tmp_path: Path) -> Tree:
    return Tree(Path(shutil.copytree(copied, tmp_path / "tree")))


@pytest.fixture(autouse=True)
def no_migrations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The migration needs a process with servers: `make test-scaffold` makes it."""
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(Tree, "migrate", lambda self, room, name: asked.append((room, name)))
    return asked


def locker() -> Plan:
    return plan("school", "Locker", words.columns(LOCKER))


def contents(tree: Tree) -> dict[str, str]:
    return {str(path.relative_to(tree.top)): path.read_text() for path in tree.top.rglob("*.py")}


def passes(tree: Tree, *command: str) -> None:
    asked = subprocess.run([sys.executable, *command], cwd=tree.top, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stdout + asked.stderr


def test_a_new_room_and_two_resources_pass_the_linters_at_once(
    tree: Tree, no_migrations: list[tuple[str, str]]
) -> None:
    start_room(tree, "library", neighbour="academics", above=True)
    start_resource(tree, plan("library", "LibraryCard", words.columns(CARD)))
    start_resource(tree, locker())
    assert no_migrations == [("library", "library_card"), ("school", "locker")]
    touched = ("tenant_apps", "platform_config", "tests/contract/rights.py", "tests/contract/test_schema.py")
    passes(tree, "-m", "ruff", "check", *touched)
    passes(tree, "-m", "ruff", "format", "--check", *touched)
    passes(tree, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())")
    floors = tree.floors()
    assert floors.index(["library"]) + 1 == floors.index(["academics"])


def test_asking_twice_changes_nothing(tree: Tree) -> None:
    start_room(tree, "library", neighbour="school", above=False)
    start_resource(tree, locker())
    before = contents(tree), (tree.top / "pyproject.toml").read_text()
    tree.done.clear()
    start_room(tree, "library", neighbour="school", above=False)
    start_resource(tree, locker())
    assert (contents(tree), (tree.top / "pyproject.toml").read_text()) == before
    assert tree.done == []


def test_the_declaration_is_about_ten_lines_and_shows_nothing_to_everybody(tree: Tree) -> None:
    start_resource(tree, locker())
    text = (tree.top / "tenant_apps/school/api.py").read_text()
    declared = text[text.index("class LockerViewSet") : text.index("routes = {")].strip().splitlines()
    assert len(declared) <= 13
    assert '    scopes = {Scope.CAMPUS: "campus", Scope.SELF: "student__user"}' in declared
    rights = (tree.top / "tests/contract/rights.py").read_text().splitlines()
    row, rooms = (next(line for line in rights if line.startswith(f"school/{name} ")) for name in ("lockers", "rooms"))
    assert row.split()[1:] == ["p"] * 10 + [".", "."] + ["p"] * 3
    assert (row.index("p"), len(row)) == (rooms.index("ptgs"), len(rooms)), "in columns under the others"


def test_whose_rows_they_are_must_be_said(tree: Tree) -> None:
    before = contents(tree)
    with pytest.raises(CommandError, match="whose rows"):
        start_resource(tree, plan("school", "House", words.columns(["name:text"])))
    assert contents(tree) == before
    start_resource(tree, plan("school", "House", words.columns(["name:text"]), reference=True))
    assert "scopes = EVERYONE" in (tree.top / "tenant_apps/school/api.py").read_text().partition("class HouseView")[2]


def test_a_relation_goes_downwards_only(tree: Tree) -> None:
    with pytest.raises(CommandError, match="does not lie below"):
        start_resource(tree, plan("school", "Desk", words.columns(["section:academics.Section", "at:school.Campus"])))
    with pytest.raises(CommandError, match="no room 'nowhere'"):
        start_resource(tree, plan("nowhere", "Desk", words.columns(["name:text"])))
    with pytest.raises(CommandError, match="no room 'nowhere'"):
        start_room(tree, "library", neighbour="nowhere", above=True)


@pytest.mark.parametrize(
    "field",
    ["class:text", "id:text", "page:text", "Name:text", "a__b:text", "a_:text", "name", "name:wood", "name:text(x)",
     "name:text?!", ":text", "match:text", "name:school.campus", "1st:text", "search:note", "fields:text"],
)  # fmt: skip
def test_a_field_that_cannot_be_is_refused(field: str) -> None:
    with pytest.raises(CommandError):
        words.columns([field])


def test_fields_come_once_and_at_all() -> None:
    for fields in ([], ["name:text", "name:note"]):
        with pytest.raises(CommandError):
            words.columns(fields)


@pytest.mark.parametrize("name", ["class", "match", "Library", "two words", "two_words", "auth", "../up", "", "1st"])
def test_a_room_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(CommandError):
        words.room_name(name)


@pytest.mark.parametrize("name", ["locker", "None", "Record", "Two Words", "Lib_Card", "", "../Up"])
def test_a_model_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(CommandError):
        words.model_name(name)


@pytest.mark.parametrize(
    ("name", "plural"),
    [("Locker", "lockers"), ("LibraryCard", "library cards"), ("Entry", "entries"), ("Day", "days"), ("Box", "boxes")],
)
def test_plurals_are_guessed(name: str, plural: str) -> None:
    assert words.plural_of(words.spaced(name)) == plural
