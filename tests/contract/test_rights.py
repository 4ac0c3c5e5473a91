"""Every role asks for everything, on both kinds of hosts: what the tables allow is done, and nothing else.

Each answer, good or refused, must be what the host's OpenAPI document says of the operation: status, media type, body.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponse

from shared_apps.core.api.permissions import missing
from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.problems import as_problem
from tests import cast as casting
from tests.api import Asker, as_person, nobody
from tests.contract import making, rights
from tests.contract.documented import difference, document
from tests.contract.rights import COLUMNS, Cells
from tests.contract.served import operations, resources
from tests.tenant_apps.files.sending import send

KINDS = ("institution", "operator")
API = "/api/v1/"
GOOD = {"add": 201, "delete": 204, "import": 202}  # what else is allowed answers 200
SINGLE = ("add", "put", "patch", "delete")
BULK = {"b.add": "create", "b.chg": "update", "b.del": "delete"}
STRANGER = "x"
MISSING = r"Your roles do not include [a-z]+\.[a-z]+_[a-z_]+\."
Table = dict[str, str]


# Completeness


def named(grid: Cells, verbs: Cells, addresses: Table) -> set[str]:
    """The operations that tables name, as `served.operations` writes them."""
    found = set(addresses)
    for (resource, column), cell in grid.items():
        if cell != ".":
            method, _, below = COLUMNS[column].partition(" ")
            found.add(f"{method} {API}{resource}/{below}")
    return found | {f"POST {API}{resource}/{{id}}/{verb}/" for resource, verb in verbs}


def half_named(grid: Cells) -> list[str]:
    """The lists of bulk/ that a table names and the resource does not take, or the other way round."""
    single = {"b.add": "add", "b.chg": "patch", "b.del": "delete"}
    return [
        f"{resource} {column}"
        for (resource, column), cell in grid.items()
        if column in single and (cell == ".") != (grid[resource, single[column]] == ".")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_tables_name_exactly_what_is_served(kind: str) -> None:
    tables = rights.RESOURCES[kind], rights.VERBS[kind], rights.ADDRESSES[kind]
    assert operations(kind) - named(*tables) == set(), "these stand in no table of rights.py"
    assert named(*tables) - operations(kind) == set(), "these stand in rights.py and are not served"
    assert half_named(rights.RESOURCES[kind]) == []
    letters = {letter for role in rights.ROLES[kind] for letter in (role, role.upper())} | {"-", "."}
    assert {letter for cell in rights.RESOURCES[kind].values() for letter in cell} <= letters
    verbs = {f"{resource} {verb}" for resource, verb in rights.VERBS[kind]}
    assert verbs <= set(making.VERBS), "these verbs have no body in making.py"


def test_a_row_a_cell_a_verb_or_an_address_that_is_missing_would_be_found() -> None:
    """Negative control."""
    grid, verbs, addresses = (
        dict(found["institution"]) for found in (rights.RESOURCES, rights.VERBS, rights.ADDRESSES)
    )
    served = operations("institution")
    for key in (("school/students", "gone"), ("school/students", "import"), ("reports/runs", "add")):
        assert served - named({**grid, key: "."}, verbs, addresses), key
    assert half_named({**grid, ("school/rooms", "b.del"): "."}) == ["school/rooms b.del"]
    rowless = {key: cell for key, cell in grid.items() if key[0] != "school/rooms"}
    assert len(served - named(rowless, verbs, addresses)) == 13
    del verbs["school/students", "change-state"], addresses["GET /api/v1/files/{id}/"]
    assert served - named(grid, verbs, addresses) == {
        "POST /api/v1/school/students/{id}/change-state/",
        "GET /api/v1/files/{id}/",
    }
    assert named({**grid, ("school/lockers", "list"): "p"}, verbs, addresses) - served == {
        "GET /api/v1/school/lockers/"
    }


# Who asks


@dataclass
class Stage:
    """The people of one kind of host, on a ground of records that new ones refer to."""

    kind: str
    place: InstitutionContext
    askers: dict[str, Asker] = field(default_factory=dict)
    rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @property
    def cast(self) -> casting.Cast:
        return casting.of(self.place)

    @property
    def chief(self) -> Asker:
        """Who may most: the principal, the operator."""
        return self.askers[next(iter(rights.ROLES[self.kind]))]

    def inside(self) -> AbstractContextManager[Any]:
        return institution(self.place)

    def row(self, asker: Asker, path: str) -> dict[str, Any]:
        """A record that the person sees, as it is read; the chief's where the person sees none."""
        key = str(asker.person), path
        if key not in self.rows:
            answer = asker.get(f"{path}?page_size=200")
            rows = answer.json()["results"] if answer.status_code == 200 else []
            assert rows or asker is not self.chief, f"there is no record at {path}"
            self.rows[key] = rows[-1] if rows else self.row(self.chief, path)
        return self.rows[key]

    def new(self, path: str, number: int = 0) -> dict[str, Any]:
        with self.inside():
            return making.new(self.cast, path, resources(self.kind)[path], number)

    def written(self, asker: Asker, path: str) -> str:
        """The id of a record that the person has just added, who may: one that nothing refers to yet."""
        answer = asker.post(path, self.new(path))
        assert answer.status_code == 201, (path, answer.content)
        return answer.json()["id"]


@pytest.fixture
def stage(
    db: None, greenwood: InstitutionContext, console: InstitutionContext, settings: Any, tmp_path: Path
) -> Callable[[str], Stage]:
    settings.MEDIA_ROOT = tmp_path

    def build(kind: str) -> Stage:
        found = Stage(kind, greenwood if kind == "institution" else console)
        with found.inside():
            making.write_ground(found.cast)
        for letter, role in rights.ROLES[kind].items():
            found.askers[letter] = as_person(found.place, getattr(found.cast, role))
        stranger = casting.Person("", "stranger@lyceum.test", casting.user_id("stranger"), None)
        found.askers[STRANGER] = as_person(found.place, stranger)
        for asker in found.askers.values():
            assert asker.token
        return found

    return build


def ask(stage: Stage, asker: Asker, path: str, column: str, allowed: bool) -> HttpResponse:
    """Do what the column says as well as it can be done; who is refused need not have a record of their own for it."""
    resource = resources(stage.kind)[path]
    if column in ("delete", "b.del", "back"):
        key = stage.written(asker, path) if allowed else stage.row(stage.chief, path)["id"]
    match column:
        case "list":
            return asker.get(path)
        case "add":
            return asker.post(path, stage.new(path))
        case "read" | "past":
            tail = "history/" if column == "past" else ""
            return asker.get(f"{path}{stage.row(asker, path)['id']}/{tail}")
        case "put" | "patch":
            row = stage.row(asker, path)
            return asker.ask(column.upper(), f"{path}{row['id']}/", making.own(path, resource, row))
        case "delete":
            return asker.delete(f"{path}{key}/")
        case "b.add":
            return asker.post(f"{path}bulk/", {"create": [stage.new(path)]})
        case "b.chg":
            row = stage.row(asker, path)
            return asker.post(f"{path}bulk/", {"update": [{"id": row["id"], **making.own(path, resource, row)}]})
        case "b.del":
            return asker.post(f"{path}bulk/", {"delete": [key]})
        case "import":
            return send(asker, f"{path}import/", b"id\r\n", dry_run="true")
        case "back":
            if allowed:
                assert asker.delete(f"{path}{key}/").status_code == 204
            return asker.post(f"{path}{key}/restore/")
        case "export" | "blank" | "gone":
            return asker.get(f"{path}{COLUMNS[column].partition(' ')[2]}")
    row = stage.row(asker, path)
    body = making.VERBS[f"{path.removeprefix(API).strip('/')} {column}"](stage.cast, row)
    return asker.post(f"{path}{row['id']}/{column}/", body)


def undone(act: Callable[[], HttpResponse]) -> HttpResponse:
    with platform(), transaction.atomic():
        answer = act()
        transaction.set_rollback(True)
    return answer


# Resources

ROWS = [(kind, resource) for kind in KINDS for resource in dict.fromkeys(name for name, _ in rights.RESOURCES[kind])]


def told(stage: Stage, path: str, cells: Table) -> list[str]:
    """Where the answers differ from the table, one line for each."""
    wrong = []
    for column, cell in cells.items():
        for letter, asker in stage.askers.items():
            if cell == "." and asker is not stage.chief:
                continue
            if cell == ".":
                answer = undone(partial(refusal, stage, path, column))
            else:
                answer = undone(partial(ask, stage, asker, path, column, letter in cell))
            if answer.status_code not in expected(column, cell, letter):
                wrong.append(f"{letter} {column}: {answer.status_code} {getattr(answer, 'content', b'')[:200]!r}")
            elif answer.status_code == 403 and refused(answer) and not names_what_is_missing(answer.json()):
                wrong.append(f"{letter} {column}: {answer.json()['code']}: {answer.json()['detail']}")
            if cell != "." and (how := difference(stage.kind, *address(path, column), answer)):
                wrong.append(how)
    return wrong


def address(path: str, column: str) -> tuple[str, str]:
    """Method and documented path of a column or a verb."""
    method, _, below = COLUMNS.get(column, f"POST {{id}}/{column}/").partition(" ")
    return method, f"{path}{below}"


def expected(column: str, cell: str, letter: str) -> set[int]:
    """The statuses that a cell stands for."""
    if cell == ".":
        return {405} if column in SINGLE else {400, 404, 405}
    if letter in cell:
        return {GOOD.get(column, 200)}
    return {404} if letter.upper() in cell else {403}


def refusal(stage: Stage, path: str, column: str) -> HttpResponse:
    """The answer to who may everything, where something is not offered."""
    if column in BULK:
        wanted: Any = str(UUID(int=7)) if column == "b.del" else {"id": str(UUID(int=7))}
        return stage.chief.post(f"{path}bulk/", {BULK[column]: [wanted]})
    method, _, below = COLUMNS[column].partition(" ")
    return stage.chief.ask(method, f"{path}{below.replace('{id}', str(UUID(int=7)))}", {} if method != "GET" else None)


@pytest.mark.parametrize(("kind", "resource"), ROWS)
def test_each_role_may_do_what_the_table_says_and_nothing_else(
    stage: Callable[[str], Stage], kind: str, resource: str
) -> None:
    cells = {column: cell for table in (rights.RESOURCES, rights.VERBS)
             for (name, column), cell in table[kind].items() if name == resource}  # fmt: skip
    assert told(stage(kind), f"{API}{resource}/", cells) == []


def test_a_table_that_says_too_much_or_too_little_would_be_found(stage: Callable[[str], Stage]) -> None:
    """Negative control."""
    there = stage("institution")
    cells = {"list": "ptg", "add": "pt", "patch": ".", "b.chg": "-", "export": "p"}
    wrong = told(there, f"{API}school/rooms/", cells)
    assert [line[: line.index(":") + 5] for line in wrong] == [
        "s list: 200", "t add: 403", "p patch: 404", "p b.chg: 200", "t export: 200",
    ]  # fmt: skip


# The other addresses


@pytest.mark.parametrize("kind", KINDS)
def test_everything_else_is_open_to_whom_the_table_names(stage: Callable[[str], Stage], kind: str) -> None:
    there, wrong = stage(kind), []
    for operation, who in rights.ADDRESSES[kind].items():
        method, _, path = operation.partition(" ")
        for letter, asker in there.askers.items():
            answer = undone(partial(asker.ask, method, filled(path), body(method)))
            allowed = who in ("all", "any") or letter in who
            if refused(answer) == allowed:
                wrong.append(f"{letter} {operation}: {answer.status_code} {getattr(answer, 'content', b'')[:200]!r}")
            if refused(answer) and not names_what_is_missing(answer.json()):
                wrong.append(f"{letter} {operation}: {answer.json()['code']}: {answer.json()['detail']}")
            if path in document(kind)["paths"] and (how := difference(kind, method, path, answer)):
                wrong.append(how)
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_does_anything_without_signing_in(
    db: None, greenwood: InstitutionContext, console: InstitutionContext, kind: str
) -> None:
    asker, wrong = nobody(greenwood if kind == "institution" else console), []
    for operation in sorted(operations(kind)):
        method, _, path = operation.partition(" ")
        answer = asker.ask(method, filled(path), body(method))
        if refused(answer) == (rights.ADDRESSES[kind].get(operation) == "all"):
            wrong.append(f"{operation}: {answer.status_code}")
        if refused(answer):
            assert answer.status_code == 401
            assert answer["WWW-Authenticate"].startswith("Bearer")
    assert wrong == []


def refused(answer: HttpResponse) -> bool:
    """Whether the answer says who may, and not what was wrong with the request (a refresh without its token is 401)."""
    return answer.status_code in (401, 403) and answer.json()["code"] in (
        "unauthenticated",
        "forbidden",
        "permission_missing",
    )


def names_what_is_missing(told: dict[str, Any]) -> bool:
    """Whether a refusal of somebody who is signed in says which permission it was."""
    return told["code"] == "permission_missing" and bool(re.fullmatch(MISSING, told["detail"]))


def test_a_refusal_that_names_no_permission_would_be_found() -> None:
    """Negative control: what REST framework answers where a permission says no."""
    plain = as_problem(PermissionDenied())
    assert plain is not None
    assert not names_what_is_missing(plain.body(""))
    assert names_what_is_missing(missing("school.view_student").body(""))


def filled(path: str) -> str:
    for name in ("id", "backup"):
        path = path.replace(f"{{{name}}}", str(UUID(int=7)))
    return path.replace("{domain}", "school.example.org")


def body(method: str) -> dict[str, Any] | None:
    return None if method == "GET" else {}
