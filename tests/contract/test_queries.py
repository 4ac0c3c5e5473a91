"""Over every resource: what a request asks of the database, and that rows do not ask for themselves."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import connection, transaction
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext

from shared_apps.core.api import resources
from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.tables import exporting
from tenant_apps.school.models import Room
from tests import cast as casting
from tests.api import Asker, as_person
from tests.contract import making
from tests.contract.queries import QUERIES
from tests.contract.served import SERVED, operations
from tests.tenant_apps.files.sending import content

API, ROOMS, STUDENTS = "/api/v1/", "school/rooms", "school/students"
MANY = 19  # rows of the larger bulk; `making` has ground for two more


@pytest.fixture
def principal(db: None, deaf: None, greenwood: InstitutionContext) -> Asker:
    cast = casting.of(greenwood)
    with institution(greenwood):
        making.write_ground(cast)
    asker = as_person(greenwood, cast.principal)
    assert asker.token
    return asker


def spent(ask: Callable[[], HttpResponse], *, warm: bool = False) -> int:
    """The statements of a request that is then undone; unless `warm`, a first one fills what the process remembers."""
    for _ in range(1 if warm else 2):
        with platform(), transaction.atomic():
            with CaptureQueriesContext(connection) as asked:
                answer = ask()
                told = content(answer)
            transaction.set_rollback(True)
        assert answer.status_code in (200, 201), told
    return len(asked)


def costs(principal: Asker, greenwood: InstitutionContext, resource: str) -> dict[str, int]:
    """What each request at the resource costs, by the heads of the table."""
    path, served = f"{API}{resource}/", operations("institution")
    declared = SERVED[path]
    key = principal.get(f"{path}?page_size=200").json()["results"][-1]["id"]
    found = {
        "list": spent(lambda: principal.get(path)),
        "fields": spent(lambda: principal.get(f"{path}?fields={declared.all_fields[-1]}")),
        "read": spent(lambda: principal.get(f"{path}{key}/")),
        "export": spent(lambda: principal.get(f"{path}export/")),
    }
    if declared.includes:
        found["include"] = spent(lambda: principal.get(f"{path}?include={','.join(declared.includes)}"))
    if declared.search:
        found["search"] = spent(lambda: principal.get(f"{path}?search=somebody"))
    if f"GET {path}{{id}}/history/" in served:
        found["past"] = spent(lambda: principal.get(f"{path}{key}/history/"))
    if f"POST {path}" not in served:
        return found
    with institution(greenwood):
        bodies = [making.new(casting.of(greenwood), path, declared, n) for n in range(2 + MANY)]
    found["add"] = spent(lambda: principal.post(path, bodies[0]))
    two = spent(lambda: principal.post(f"{path}bulk/", {"create": bodies[:2]}))
    many = spent(lambda: principal.post(f"{path}bulk/", {"create": bodies[2:]}), warm=True)
    each, rest = divmod(many - two, MANY - 2)
    assert rest == 0, f"{two} statements for two rows, {many} for {MANY}"
    return {**found, "b.base": two - 2 * each, "b.row": each}


def test_the_table_names_exactly_the_served_resources() -> None:
    assert {f"{API}{name}/" for name in QUERIES} == set(SERVED)


@pytest.mark.parametrize("resource", QUERIES)
def test_a_request_costs_what_the_table_says(principal: Asker, greenwood: InstitutionContext, resource: str) -> None:
    assert costs(principal, greenwood, resource) == QUERIES[resource]


def test_rows_that_ask_for_themselves_would_be_found(
    principal: Asker, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: a rule, an include and an export that ask the database once for each row."""
    check, included, values = Room.clean, resources.included, exporting.Export._values

    def clean(room: Room) -> None:
        check(room)
        Room.objects.filter(name=room.name).exists()

    def one_by_one(model: Any, names: Any, person: Any, marks: Sequence[Any]) -> bytes:
        return [included(model, names, person, [mark]) for mark in marks][-1]

    def with_a_look(export: Any, paths: list[str], told: Any) -> Any:
        for row in values(export, paths, told):
            Room.objects.exists()
            yield row

    monkeypatch.setattr(Room, "clean", clean)
    monkeypatch.setattr(resources, "included", one_by_one)
    monkeypatch.setattr(exporting.Export, "_values", with_a_look)
    found = costs(principal, greenwood, ROOMS)
    assert {name: count for name, count in found.items() if count != QUERIES[ROOMS][name]} == {
        "add": QUERIES[ROOMS]["add"] + 1,
        "b.row": 1,
        "export": QUERIES[ROOMS]["export"] + 1,
    }
    found = costs(principal, greenwood, STUDENTS)
    people = len(casting.STUDENTS) + making.MANY
    assert found["export"] == QUERIES[STUDENTS]["export"] + people
    assert found["include"] > people
