"""Two writers that have read the same record: over every resource that is changed or deleted, one of them is told."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.db import connections, models
from django.http import HttpResponse

from shared_apps.core.api import writes
from shared_apps.core.api.writes import Writes
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.permissions import Action
from tests import cast as casting
from tests.api import Asker, as_person
from tests.contract import making
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


Ask = Callable[[Asker, int], HttpResponse]  # the second argument is the writer's number, 0 or 1


def at_once(reader: Asker, ask: Ask) -> list[int]:
    """The statuses of two that ask at the same moment, each over a connection of its own."""
    start = Barrier(2)

    def write(number: int) -> int:
        try:
            asker = Asker(reader.host, token=reader.token)
            start.wait(timeout=10)
            return ask(asker, number).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        return sorted(pool.map(write, range(2)))


def ways(greenwood: InstitutionContext, reader: Asker, path: str) -> Iterator[tuple[str, Callable[[], Ask]]]:
    """Every way to change one record on condition of its tag; each reads the record anew when it is made."""
    resource = SERVED[path]

    def by_patch() -> Ask:
        read = a_row(reader, path)
        body = making.own(path, resource, read.json())
        return lambda asker, number: asker.patch(f"{path}{read.json()['id']}/", body, HTTP_IF_MATCH=read["ETag"])

    def by_bulk() -> Ask:
        read = a_row(reader, path)
        row = {"id": read.json()["id"], "if_match": read["ETag"], **making.own(path, resource, read.json())}
        return lambda asker, number: asker.post(f"{path}bulk/", {"update": [row]})

    def by_verb(name: str, below: str) -> Ask:
        read = a_row(reader, path)
        url = f"{path}{read.json()['id']}/{below}/"
        body = making.VERBS[name](casting.of(greenwood), read.json())
        return lambda asker, number: asker.post(url, body, HTTP_IF_MATCH=read["ETag"])

    if Action.CHANGE in resource.exposed:
        yield "patch", by_patch
        yield "bulk", by_bulk
    for verb in resource.verbs.values():
        name = f"{path.removeprefix('/api/v1/').strip('/')} {verb.path}"
        yield verb.path, partial(by_verb, name, verb.path)


def statuses(greenwood: InstitutionContext, *, paths: Iterable[str] = SERVED) -> dict[str, list[int]]:
    """Of two that hold one tag, by resource and way."""
    with institution(greenwood):
        making.write_ground(casting.of(greenwood))
    reader = as_person(greenwood, casting.of(greenwood).principal)
    return {f"{path} {name}": at_once(reader, make()) for path in paths for name, make in ways(greenwood, reader, path)}


def test_of_two_writers_with_one_tag_exactly_one_is_told_412(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    """All resources, by PATCH, by bulk/ and by each verb, in one test: a database for each would cost minutes."""
    found = statuses(greenwood)
    assert found == {key: [200, 412] for key in found}
    assert {path for path, resource in SERVED.items() if resource.verbs or Action.CHANGE in resource.exposed} == {
        name.partition(" ")[0] for name in found
    }


def test_without_the_comparison_both_would_be_told_that_they_wrote(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr(Writes, "demand_tag", staticmethod(lambda held, current: None))
    found = statuses(greenwood, paths=(LOSES, "/api/v1/communication/notifications/"))
    assert len(found) == 3
    assert found == {key: [200, 200] for key in found}


def two_columns(path: str) -> list[str]:
    """Two columns of any text that a writer may set, of the resources that have them."""
    resource = SERVED[path]
    fixed = set(resource.serializer_class.Meta.read_only_fields)
    fields = [resource.queryset.model._meta.get_field(name) for name in resource.all_fields if name not in fixed]
    return [field.name for field in fields if type(field) is models.CharField and not field.choices][:2]


def lost(greenwood: InstitutionContext, paths: Iterable[str] = CHANGED, *, bulk: bool = True) -> list[str]:
    """Resources at which a write was lost of two that change a column each, without a tag: one alone, one in bulk."""
    reader, found = as_person(greenwood, casting.of(greenwood).principal), []
    for path in paths:
        names = [name for name in two_columns(path) if name not in UNLIKE]
        if len(names) < 2:
            continue
        key = a_row(reader, path).json()["id"]

        def ask(asker: Asker, number: int, path: str = path, key: str = key, names: list[str] = names) -> HttpResponse:
            values = {names[number]: f"N{number}"}
            if number and bulk:
                return asker.post(f"{path}bulk/", {"update": [{"id": key, **values}]})
            return asker.patch(f"{path}{key}/", values)

        assert at_once(reader, ask) == [200, 200], path
        row = reader.get(f"{path}{key}/").json()
        if [row[name] for name in names] != ["N0", "N1"]:
            found.append(path)
    return found


# Columns whose values have a form of their own.
UNLIKE = ("language", "currency", "time_zone", "country", "resource", "query")


def test_without_a_tag_two_writers_of_one_record_both_have_their_way(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    with institution(greenwood):
        making.write_ground(casting.of(greenwood))
    assert lost(greenwood) == []
    assert sum(len(two_columns(path)) == 2 for path in CHANGED) > 8


def test_two_that_write_back_the_whole_row_as_they_read_it_would_lose_one(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: no lock, and every column."""
    both_read = Barrier(2)

    def unlocked(view: Any, asked: dict[Any, Any]) -> list[Any]:
        return list(view.queryset.filter(pk__in=[key for keys in asked.values() for key in keys]))

    def whole(record: models.Model, *, changed: list[str]) -> None:
        both_read.wait(timeout=10)
        record.save()

    monkeypatch.setattr(Writes, "lock_rows", unlocked)
    monkeypatch.setattr(writes, "store", whole)
    campuses = "/api/v1/school/campuses/"
    assert lost(greenwood, [campuses], bulk=False) == [campuses]


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
        answer = principal.ask(method, url, making.own(path, SERVED[path], read.json()), HTTP_IF_MATCH=STALE)
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed"), (method, answer.content)
        assert (answer.json()["current"], answer["ETag"]) == (read.json(), read["ETag"])
    assert principal.get(url).content == read.content
