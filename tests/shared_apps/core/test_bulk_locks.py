"""Two bulk requests over the same rows, crosswise: one waits for the other, and neither is shot down."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from django.db import connections

from shared_apps.core.api import idempotency
from shared_apps.core.api.writes import Writes
from shared_apps.core.context import InstitutionContext
from tests import cast as casting
from tests.api import Asker, as_person

ROOMS = "/api/v1/school/rooms/"
MEETING = 1.0  # seconds; who holds every row waits in vain for the other and goes on
Asked = dict[Any, Any]


def crosswise(
    greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch, statements: Callable[[Asked], list[Asked]]
) -> list[int]:
    """Each changes the row that the other deletes; after each statement of locks it gives the other time."""
    cast = casting.of(greenwood)
    principal = as_person(greenwood, cast.principal)
    campus = str(cast.id("campus"))
    one, two = (principal.post(ROOMS, {"campus": campus, "name": name}).json()["id"] for name in ("One", "Two"))
    lock, barrier = Writes.lock_rows, Barrier(2)

    def lock_and_meet(self: Any, asked: Asked) -> list[Any]:
        found = []
        for some in statements(asked):
            found += lock(self, some)
            with suppress(BrokenBarrierError):
                barrier.wait(timeout=MEETING)
        return found

    monkeypatch.setattr(Writes, "lock_rows", lock_and_meet)

    def write(body: dict[str, Any]) -> int:
        try:
            return Asker(principal.host, token=principal.token).post(f"{ROOMS}bulk/", body).status_code
        finally:
            connections.close_all()

    bodies = [{"update": [{"id": a, "capacity": 5}], "delete": [b]} for a, b in ((one, two), (two, one))]
    with ThreadPoolExecutor(2) as pool:
        return sorted(pool.map(write, bodies))


def test_rows_are_locked_in_the_order_of_their_ids_whatever_is_done_to_them(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert crosswise(greenwood, monkeypatch, lambda asked: [asked]) == [200, 404]


def test_with_a_statement_for_each_operation_one_would_be_shot_down(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: a deadlock, and a kit that does not repeat the write that the database gives up."""
    monkeypatch.setattr(idempotency, "REPEATS", 0)
    found = crosswise(greenwood, monkeypatch, lambda asked: [{action: keys} for action, keys in asked.items()])
    assert found == [200, 503]
