"""What the documents name is there: addresses, commands, variables, tests."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
DOCUMENTS = [TOP / "README.md", TOP / "CHANGELOG.md", *sorted((TOP / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")
READERS = {"text", "integer", "flag", "words", "rate", "database", "_port"}

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))


def anchors(document: Path) -> set[str]:
    """The anchors that a code host makes of a document's headings."""
    found = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    bare = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in found)
    return {heading.strip().replace(" ", "-") for heading in bare}


def broken_links(document: Path) -> list[str]:
    """Relative links of a document that lead nowhere."""
    broken = []
    for target in LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (document.parent / name).resolve() if name else document
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    return broken


def variables_read(source: str) -> set[str]:
    """Environment variables that a module asks for: by `env`'s readers or of `os.environ`."""
    return {name for name in _asked_for(ast.parse(source)) if VARIABLE.fullmatch(name)}


def _asked_for(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=reader), args=[ast.Constant(value=str(name)), *_]) if reader in READERS:
                yield name
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="env"), attr=reader), args=[ast.Constant(value=str(name)), *_]
            ) if reader in READERS:
                yield name
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="environ")), args=[ast.Constant(value=str(name)), *_]
            ):
                yield name
            case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))):
                yield name


def all_variables_read() -> set[str]:
    sources = [*(TOP / "platform_config").rglob("*.py"), TOP / "manage.py"]
    return set().union(*(variables_read(path.read_text(encoding="utf-8")) for path in sources))


def variables_listed(document: Path) -> set[str]:
    """Names in the first column of a document's tables."""
    rows = re.findall(r"^\| (`[^|]+) \|", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {name for row in rows for name in re.findall(rf"`({VARIABLE.pattern})`", row)}


@each_document
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    assert broken_links(document) == []


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# A heading\n[a](a.md) [b](b.md) [c](#a-heading) [d](#nowhere) [e](https://example.org/)\n")
    assert broken_links(document) == ["b.md", "#nowhere"]


def test_every_variable_that_is_read_is_listed() -> None:
    assert all_variables_read() - variables_listed(TOP / "docs/operations/configuration.md") == set()


def test_the_readme_lists_every_variable_of_the_platform_s_own() -> None:
    """Those of the shell are for the longer list."""
    elsewhere = {"PATH", "XDG_RUNTIME_DIR"}
    assert all_variables_read() - variables_listed(TOP / "README.md") == elsewhere


def test_every_variable_that_is_listed_is_known_to_the_code() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (TOP / "platform_config").rglob("*.py"))
    listed = variables_listed(TOP / "README.md") | variables_listed(TOP / "docs/operations/configuration.md")
    assert {name for name in listed if name not in code} == set()


def test_each_way_of_reading_a_variable_is_seen() -> None:
    source = """
env.text("BY_READER"); flag("BY_NAME", False); _port("BY_PORT", 1); os.environ["BY_KEY"]
os.environ.get("BY_GET") or "x"; os.environ.setdefault("BY_DEFAULT", "x"); other.text("NOT_ONE"); print("NOR_THIS")
"""
    assert variables_read(source) == {"BY_READER", "BY_NAME", "BY_PORT", "BY_KEY", "BY_GET", "BY_DEFAULT"}


@each_document
def test_every_make_command_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|\s{2})make ([a-z][a-z-]*)", document.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


def test_the_readme_opens_with_its_two_commands() -> None:
    assert re.findall(r"^make ([a-z-]+)  ", (TOP / "README.md").read_text(encoding="utf-8"), re.MULTILINE) == [
        "demo",
        "test",
    ]


@each_document
def test_every_test_that_is_named_exists(document: Path) -> None:
    named = re.findall(r"\btest_\w+(?:\.py)?", document.read_text(encoding="utf-8"))
    files = list((TOP / "tests").rglob("test_*.py"))
    known = {path.name for path in files}
    for path in files:
        known |= set(re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8")))
    assert sorted(set(named) - known) == []


def test_the_index_of_decisions_lists_every_record_in_order() -> None:
    folder = TOP / "docs/adr"
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text(encoding="utf-8")) == records
    assert len({name[:4] for name in records}) == len(records)
    for name in records:
        text = (folder / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {name[:4]}. ")
        parts = ["Context", "Decision", "What lost", "Consequences", "Held by"]
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == parts, name
