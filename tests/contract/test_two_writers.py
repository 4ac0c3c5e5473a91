"""Two writers that have read the same record: over every resource that is changed or deleted, one of them is told."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connections

from shared_apps.core.api.writes import Writes
from shared_apps.core.context import InstitutionContext
from shared_apps.core.permissions import Action
from tests import cast as casting
from tests.api import Asker, as_person
from tests.contract.served import SERVED

CHANGED = [path for path, resource in SERVED.items() if Action.CHANGE in resource.exposed]
STALE = '"00000000000000000000000000000000"'
LOSES = "/api/v1/school/rooms/"
ROLES = "/api/v1/accounts/roles/"


@pytest.fixture
def principal(db: None, greenwood: InstitutionContext) -> Asker:
    return as_person(greenwood, casting.of(greenwood).principal)


def make_own_roles(asker: Asker) -> None:
    """Roles of the school's own, last in their list: those of the platform are not changed."""
    parent, role = (asker.post(ROLES, {"code": code, "name": code}).json()["id"] for code in ("zy", "zz"))
    answer = asker.post("/api/v1/accounts/role-inheritances/", {"role": role, "parent": parent})
    assert answer.status_code == 201, answer.content


def a_row(asker: Asker, path: str) -> Any:
    """A record of the resource as it is read, with its tag."""
    rows = asker.get(f"{path}?page_size=200").json()["results"]
    assert rows, f"the cast has no record at {path}"
    return asker.get(f"{path}{rows[-1]['id']}/")


def written(path: str, row: dict[str, Any]) -> dict[str, Any]:
    """The row's own writable values: a change that every resource must take, and that moves its time stamp."""
    fixed = set(SERVED[path].serializer_class.Meta.read_only_fields)
    return {name: value for name, value in row.items() if name not in fixed}


def two_at_once(greenwood: InstitutionContext, path: str) -> list[int]:
    reader = as_person(greenwood, casting.of(greenwood).principal)
    read, start = a_row(reader, path), Barrier(2)
    url, body = f"{path}{read.json()['id']}/", written(path, read.json())

    def write(number: int) -> int:
        try:
            asker = Asker(reader.host, token=reader.token)
            start.wait(timeout=10)
            return asker.patch(url, body, HTTP_IF_MATCH=read["ETag"]).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        return sorted(pool.map(write, range(2)))


def test_of_two_writers_with_one_tag_exactly_one_is_told_412(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    """All resources in one test: a database of its own for each would cost a minute."""
    make_own_roles(as_person(greenwood, casting.of(greenwood).principal))
    found = {path: two_at_once(greenwood, path) for path in CHANGED}
    assert found == {path: [200, 412] for path in CHANGED}


def test_without_the_comparison_both_would_be_told_that_they_wrote(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr(Writes, "_demand_match", lambda self, record, action: None)
    assert two_at_once(greenwood, LOSES) == [200, 200]


@pytest.mark.parametrize("path", SERVED)
def test_a_stale_tag_changes_and_deletes_nothing(principal: Asker, path: str) -> None:
    exposed = SERVED[path].exposed & {Action.CHANGE, Action.DELETE}
    if not exposed:
        return
    make_own_roles(principal)
    read = a_row(principal, path)
    url = f"{path}{read.json()['id']}/"
    methods = [
        *(["PATCH", "PUT"] if Action.CHANGE in exposed else []),
        *(["DELETE"] if Action.DELETE in exposed else []),
    ]
    for method in methods:
        answer = principal.ask(method, url, written(path, read.json()), HTTP_IF_MATCH=STALE)
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed"), (method, answer.content)
        assert (answer.json()["current"], answer["ETag"]) == (read.json(), read["ETag"])
    assert principal.get(url).content == read.content
