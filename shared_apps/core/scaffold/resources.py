"""A new resource of a room: model, migration, permission, declaration, address, and its lines of the tests.

The code is what a reader of adding-a-resource.md would have written; nothing of it is read again by a machine.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.core.management.base import CommandError

from shared_apps.core.scaffold.tree import Tree
from shared_apps.core.scaffold.words import RANGED, Column, plural_of, spaced


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made."""

    room: str
    model: str
    columns: list[Column]
    words: str  # "library card"
    plural: str  # "library cards"
    reference: bool

    @property
    def member(self) -> str:
        return self.words.upper().replace(" ", "_")

    @property
    def catalogue(self) -> str:
        return f"{self.room.capitalize()}Permission"

    @property
    def address(self) -> str:
        return f"/api/v1/{self.room}/{self.plural.replace(' ', '-')}/"

    @property
    def key(self) -> list[str]:
        return [column.name for column in self.columns if column.unique]


def plan(room: str, model: str, columns: list[Column], *, plural: str = "", reference: bool = False) -> Plan:
    words = spaced(model)
    many = plural.replace("-", " ").lower() or plural_of(words)
    return Plan(room, model, columns, words, many, reference)


def start_resource(tree: Tree, wanted: Plan) -> None:
    """Write the resource. Raises CommandError for a room of another form, or a relation upwards."""
    room = tree.room(wanted.room)
    floor = tree.floor_of(wanted.room)
    for path in (room / "api.py", room / "permissions.py"):
        if not path.exists():
            raise CommandError(f"{path.relative_to(tree.top)} is missing: declare this resource by hand.")
    for column in wanted.columns:
        if column.refers:
            other = column.kind.partition(".")[0]
            if other != wanted.room and tree.floor_of(other) <= floor:
                raise CommandError(f"{column.name} refers to {other}, which does not lie below {wanted.room}.")
    scopes = _scopes(wanted)
    models = _model(tree, wanted, room)
    _permission(tree, wanted, room / "permissions.py")
    _declaration(tree, wanted, room / "api.py", scopes)
    _rights(tree, wanted)
    _queries(tree, wanted)
    tree.tidy(*models, room / "permissions.py", room / "api.py")
    tree.migrate(wanted.room, wanted.words.replace(" ", "_"))


def _scopes(wanted: Plan) -> str:
    """How roles narrow the rows. Nothing is served to everybody unless that was said."""
    if wanted.reference:
        return "EVERYONE"
    lines = {}
    for column in wanted.columns:
        if column.kind == "school.Campus":
            lines["Scope.CAMPUS"] = f'"{column.name}"'
        elif column.kind == "school.Student":
            lines.setdefault("Scope.CAMPUS", f'"{column.name}__campus"')
            lines["Scope.SELF"] = f'"{column.name}__user"'
        elif column.kind == "school.Staff":
            lines["Scope.SELF"] = f'"{column.name}__user"'
    if not lines:
        raise CommandError(
            "Nothing says whose rows these are: give it a school.Campus, school.Student or school.Staff, or say "
            "--reference when every holder of the permission may see all of them."
        )
    return "{" + ", ".join(f"{scope}: {path}" for scope, path in lines.items()) + "}"


def _model(tree: Tree, wanted: Plan, room: Path) -> list[Path]:
    table = f"{wanted.room}_{wanted.model.lower()}"
    many = wanted.plural.replace(" ", "_")
    lines = [
        f"class {wanted.model}(Record):",
        f'    """{wanted.words.capitalize()} of the institution."""',
        "",
        *(f"    {column.name} = {column.code(many)}" for column in wanted.columns),
        "",
        "    class Meta:",
        "        default_permissions = ()",
        f'        verbose_name_plural = "{wanted.plural}"',
        f'        ordering = ("{_order(wanted)}", "id")',
    ]
    if wanted.key:
        name = f"{table}_once"
        lines.append(f'        constraints = [models.UniqueConstraint(fields={_tuple(wanted.key)}, name="{name}")]')
    shown = next((column.name for column in wanted.columns if column.kind == "text"), None)
    if shown:
        lines += ["", "    def __str__(self) -> str:", f"        return self.{shown}"]
    body = "\n".join(lines) + "\n"
    head = "from django.db import models\n\nfrom shared_apps.core.models import Record\n"
    sign = f"class {wanted.model}(Record):"
    if (room / "models").is_dir():
        path, package = room / "models" / f"{many}.py", room / "models/__init__.py"
        tree.create(path, f'"""{wanted.plural.capitalize()}."""\n\n{head}\n\n{body}')
        source = f"from tenant_apps.{wanted.room}.models.{many} import {wanted.model}\n"
        tree.insert(package, source, after=r"^from tenant_apps[^(\n]*\n(?=\n__all__)|^\)\n(?=\n__all__)", sign=source)
        tree.insert(package, f'\n    "{wanted.model}",', after=r"^__all__ = \[", sign=f'    "{wanted.model}",')
        tree.run("-m", "ruff", "check", "--fix", "--quiet", "--select", "I,RUF022", "--unsafe-fixes", str(package))
        return [path, package]
    path = room / "models.py"
    if sign not in path.read_text(encoding="utf-8"):
        tree.append(path, f"\n\n{body}", sign=sign)
        tree.imports(path, "from django.db import models", "from shared_apps.core.models import Record")
    return [path]


def _order(wanted: Plan) -> str:
    kinds = ("text", "day", "moment", "number", "count")
    return next((column.name for column in wanted.columns if column.kind in kinds), "created_at")


def _permission(tree: Tree, wanted: Plan, path: Path) -> None:
    line = (
        f'{wanted.member} = subject("{wanted.room}", "{wanted.model.lower()}", "{wanted.plural}", f"{{CRUD}} export")'
    )
    after = rf"^class {wanted.catalogue}\(PermissionCatalogue\):\n(?: {{4}}.*\n)+"
    if f"    {wanted.member} = " not in path.read_text(encoding="utf-8"):
        tree.insert(path, f"    {line}\n", after=after, sign=f"    {wanted.member} = ")
        tree.imports(path, "from shared_apps.core.permissions import CRUD, PermissionCatalogue, subject")


def _declaration(tree: Tree, wanted: Plan, path: Path, scopes: str) -> None:
    name = f"{wanted.model}ViewSet"
    columns = wanted.columns
    filters = ", ".join(
        f'"{column.name}": {"RANGE" if column.kind in RANGED else "EXACT"}'
        for column in columns
        if column.kind != "note"
    )
    texts = [column.name for column in columns if column.kind in ("text", "email")]
    relations = [column.name for column in columns if column.refers]
    lines = [
        f"class {name}(ResourceViewSet):",
        f'    """{wanted.plural.capitalize()} of the institution."""',
        "",
        f"    queryset = {wanted.model}.objects.all()",
        f"    permission = {wanted.catalogue}.{wanted.member}",
        *([f"    key = {_tuple(wanted.key)}"] if wanted.key else []),
        f"    scopes = {scopes}",
        f"    fields = {_tuple([column.name for column in columns])}",
        *([f"    includes = {_tuple(relations)}"] if relations else []),
        *([f"    filters = {{{filters}}}"] if filters else []),
        *([f"    search = {_tuple(texts)}"] if texts else []),
        *([f'    ordering = ("{_order(wanted)}",)'] if _order(wanted) != "created_at" else []),
    ]
    if f"class {name}(" in path.read_text(encoding="utf-8"):
        return
    tree.insert(path, "\n".join(lines) + "\n\n\n", after=r"\A(?s:.*)(?=^routes\b)", sign=f"class {name}(")
    used = {"ResourceViewSet"} | {word for word in ("EVERYONE", "RANGE", "EXACT") if word in filters + scopes}
    tree.imports(
        path,
        f"from shared_apps.core.api import {', '.join(sorted(used))}",
        *(["from shared_apps.core.permissions import Scope"] if "Scope." in scopes else []),
        f"from tenant_apps.{wanted.room}.models import {wanted.model}",
        f"from tenant_apps.{wanted.room}.permissions import {wanted.catalogue}",
    )
    plural = wanted.plural.replace(" ", "-")
    tree.insert(path, f'\n    "{plural}": {name},\n', after=r"^routes(?:: [^=]+)? = \{", sign=f'    "{plural}": {name}')


def _tuple(names: list[str]) -> str:
    """Without the comma that would make the formatter write a line for each."""
    listed = ", ".join(f'"{name}"' for name in names)
    return f"({listed})" if len(names) > 1 else f"({listed},)"


def _rights(tree: Tree, wanted: Plan) -> None:
    """The principal may all of it, nobody else anything: what others may is added by hand, here and in apps.py."""
    _row(tree, wanted, "rights.py", 'INSTITUTION = """\n', lambda name: "." if name in ("import", "blank") else "p")


def _queries(tree: Tree, wanted: Plan) -> None:
    """What a plain resource costs: one statement more for each record that a row must refer to."""
    relations = [column for column in wanted.columns if column.refers]
    needed = sum(not column.optional for column in relations)
    searched = any(column.kind in ("text", "email") for column in wanted.columns)
    cells = {
        "include": str(1 + needed) if relations else ".",
        "search": "1" if searched else ".",
        "export": "4",
        "past": "2",
        "add": str(4 + needed),
        "b.base": str(8 + needed),
        "b.row": "0",
    }
    _row(tree, wanted, "queries.py", 'COSTS = """\n', lambda name: cells.get(name, "1"))


def _row(tree: Tree, wanted: Plan, file: str, opening: str, cell: Callable[[str], str]) -> None:
    """A row of one of the tables of tests/contract, in its columns."""
    path = tree.top / "tests/contract" / file
    text = path.read_text(encoding="utf-8")
    line = wanted.address.removeprefix("/api/v1/").strip("/")
    if f"\n{line} " in text:
        return
    start = text.index(opening)
    for column in re.finditer(r"\S+", text[start:].splitlines()[1]):
        line = f"{line} ".ljust(column.start()) + cell(column[0])
    end = text.index('\n"""', start)
    path.write_text(f"{text[:end]}\n{line}{text[end:]}", encoding="utf-8")
    tree.done.append(f"added {wanted.address} to tests/contract/{file}")
