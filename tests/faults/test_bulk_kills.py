"""A server that is killed between the rows of a bulk request: nothing is half written, and its key is free again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.db import OperationalError, connection, transaction

from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.eventlog.models import IdempotencyKey
from tenant_apps.school.models import Room
from tests import cast as casting
from tests.api import Asker, as_person

TOP = Path(__file__).resolve().parents[2]
ROOMS = "/api/v1/school/rooms/"
KEY = "bulk-of-the-attic"
PATIENCE = 15.0  # seconds
# Serves one bulk request, stops when rows are written and not yet read back, says so, and waits to be killed.
WORK = """
import sys, time
import django
django.setup()
from django.db import connection
from shared_apps.core.api import bulk
from tests.api import Asker
def wait(view, rows):
    if sys.argv[1] == "a commit on the way":
        connection.connection.commit()
    print("there", flush=True)
    time.sleep(60)
bulk._read_back = wait
Asker("greenwood.localhost", token=sys.argv[2]).ask(
    "POST", sys.argv[3], sys.argv[4].encode(), HTTP_IDEMPOTENCY_KEY=sys.argv[5]
)
"""


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.02)


def writers_in_the_middle() -> int:
    """Other connections that have written something and wait for their client to say how it ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND backend_xid IS NOT NULL"
            " AND pid <> pg_backend_pid() AND datname = current_database()"
        )
        return int(cursor.fetchone()[0])


def name_is_held(campus: Any, name: str) -> bool:
    """Whether an uncommitted row holds the name: whoever inserts it too would wait."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '50ms'")
            Room.objects.create(campus_id=campus, name=name)
            transaction.set_rollback(True)
    except OperationalError:
        return True
    return False


def rooms() -> list[tuple[Any, ...]]:
    return list(Room.objects.order_by("pk").values_list("pk", "name", "capacity", "updated_at"))


@pytest.mark.parametrize("way", ["as it is", "a commit on the way"])
def test_a_kill_between_the_rows_leaves_nothing_half_done(
    transactional_db: None, greenwood: InstitutionContext, way: str
) -> None:
    cast = casting.of(greenwood)
    principal = as_person(greenwood, cast.principal)
    campus = str(cast.id("campus"))
    kept, gone = (principal.post(ROOMS, {"campus": campus, "name": name}).json()["id"] for name in ("Kept", "Gone"))
    body = {
        "create": [{"campus": campus, "name": f"Attic {number}"} for number in range(50)],
        "update": [{"id": kept, "capacity": 12}],
        "delete": [gone],
    }
    with institution(greenwood):
        before = rooms()
        arguments = [way, principal.token, f"{ROOMS}bulk/", orjson.dumps(body).decode(), KEY]
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, *arguments], cwd=TOP, env=os.environ.copy(), stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"there\n"
            if way == "as it is":
                assert writers_in_the_middle() == 1
                assert name_is_held(campus, "Attic 49"), "the rows are written, so the kill hits its window"
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
        until(lambda: writers_in_the_middle() == 0, "the server notices that the client is gone")
        if way != "as it is":
            assert rooms() != before, "negative control: what is committed on the way stays"
            return
        assert rooms() == before
        assert not IdempotencyKey.objects.filter(key=KEY).exists()
    again = Asker(principal.host, token=principal.token).post(f"{ROOMS}bulk/", body, HTTP_IDEMPOTENCY_KEY=KEY)
    assert (again.status_code, again.json()["created"], "Idempotency-Replayed" in again) == (200, 50, False)
