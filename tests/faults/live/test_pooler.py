"""pgbouncer in transaction mode: two server sessions for everybody, each transaction on either of them.

With DATABASE_POOL_MODE=transaction nobody reads another institution's rows; without, they do, in the same setup.
"""

import os
import pwd
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import pytest
from django.db import close_old_connections, connection, connections, transaction

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution, platform
from tenant_apps.audit.models import Entry
from tenant_apps.school.models import Student
from tests import cast
from tests.api import Asker, host_of
from tests.faults.outage import Line
from tests.realtime.sockets import SignIn

PORT = 6432
THREADS = 8
TURNS = 60
STUDENTS = "/api/v1/school/students/"
CONFIGURATION = """
[databases]
* = host={home} port=5432 user={user} password={password}
[pgbouncer]
unix_socket_dir = {home}
listen_addr =
listen_port = {port}
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = 100
ignore_startup_parameters = extra_float_digits, options
logfile = {home}/log
pidfile = {home}/pid
query_wait_timeout = 10
log_connections = 0
"""


def unprivileged() -> dict[str, Any]:
    """pgbouncer refuses to be root."""
    if os.getuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@pytest.fixture
def bouncer(committed: None) -> Iterator[Path]:
    """The directory of its socket. This thread's own connection stays a direct one."""
    assert shutil.which("pgbouncer"), "pgbouncer is not installed: `apt-get install pgbouncer`."
    with platform():
        connection.ensure_connection()
    home, database, who = Path(mkdtemp(prefix="lyceum-bouncer-")), connections.settings["default"], unprivileged()
    # The suite's server lies in a directory that only the suite may enter.
    line = Line(home, database)
    line.up()
    (home / "ini").write_text(
        CONFIGURATION.format(home=home, user=database["USER"], password=database["PASSWORD"], port=PORT)
    )
    for place in (home, *home.iterdir()):
        os.chown(place, who.get("user", -1), who.get("group", -1))
    running = subprocess.Popen(["pgbouncer", "-q", str(home / "ini")], stderr=subprocess.DEVNULL, **who)
    deadline = time.monotonic() + 10
    while not (home / f".s.PGSQL.{PORT}").exists():
        assert running.poll() is None, (home / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield home
    finally:
        running.kill()
        running.wait()
        line.down()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=["TRANSACTION", "SESSION"], ids=["ours", "as if it had a session of its own"])
def way(bouncer: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Connections that threads make from here on; the second way is the negative control."""
    database = connections.settings["default"]
    through = {"HOST": str(bouncer), "PORT": str(PORT), "POOL_MODE": request.param, "DISABLE_SERVER_SIDE_CURSORS": True}
    for name, value in through.items():
        monkeypatch.setitem(database, name, value)
    return str(request.param)


def at_once(work: Callable[[int], int]) -> int:
    """What the threads count, together."""
    counted: list[int] = []

    def run(thread: int) -> None:
        try:
            with acting(command("test")):
                counted.append(work(thread))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(counted) == THREADS, "a thread died"
    return sum(counted)


def test_requests_of_two_institutions_over_two_sessions_never_mix(
    way: str, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn
) -> None:
    """Lists, records, searches, refusals and writes."""
    tokens = {place.id: sign_in(place, "principal").access for place in (greenwood, lumiere)}

    def serve(thread: int) -> int:
        chance, wrong = Random(thread), 0
        for _ in range(TURNS):
            place, other = chance.sample((greenwood, lumiere), 2)
            asker, ada = Asker(host_of(place), token=tokens[place.id]), str(cast.of(place).id("ada")).encode()
            foreign = cast.of(other).id("ada")
            answers = [
                (asker.get(f"{STUDENTS}?page_size=200"), 200, True),
                (asker.get(f"{STUDENTS}?search=Ada"), 200, True),
                (asker.get(f"{STUDENTS}{cast.of(place).id('ada')}/"), 200, True),
                (asker.get(f"{STUDENTS}{foreign}/"), 404, False),
                (asker.patch(f"{STUDENTS}{foreign}/", {"given_name": "Taken"}), 404, False),
                (asker.patch(f"{STUDENTS}{cast.of(place).id('ada')}/", {"birth_date": "never"}), 400, False),
            ]
            close_old_connections()
            wrong += sum(a.status_code != status or (own and ada not in a.content) for a, status, own in answers)
        return wrong

    wrong = at_once(serve)
    assert (wrong == 0) is (way == "TRANSACTION")


def test_transactions_savepoints_and_switches_read_where_they_stand(
    way: str, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    """The engine's own cases, all at once: reads outside of any transaction, rolled-back savepoints, kept cursors."""
    numbers = {place.id: {cast.of(place).id(name) for name in cast.STUDENTS} for place in (greenwood, lumiere)}

    def read(place: InstitutionContext) -> bool:
        return set(Student.objects.values_list("pk", flat=True)) == numbers[place.id]

    def visit(thread: int) -> int:
        chance, wrong = Random(thread), 0
        for _ in range(TURNS):
            place, other = chance.sample((greenwood, lumiere), 2)
            with institution(place):
                wrong += not read(place)
                with transaction.atomic():
                    wrong += not read(place)
                    with suppress(ZeroDivisionError), institution(other), transaction.atomic():
                        wrong += not read(other)
                        raise ZeroDivisionError
                    wrong += not read(place)
                with connection.cursor() as kept:
                    with institution(other):
                        wrong += not read(other)
                    kept.execute("SELECT current_schema()")
                    wrong += kept.fetchone() != (place.schema_name,)
        return wrong

    wrong = at_once(visit)
    assert (wrong == 0) is (way == "TRANSACTION")


@pytest.mark.parametrize("way", ["TRANSACTION"], indirect=True)
def test_what_is_written_is_logged_in_its_own_institution(
    way: str, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    """Writes outside of any transaction: the trigger is told who acts, and writes beside the row."""
    places = (greenwood, lumiere)

    def write(thread: int) -> int:
        place = places[thread % 2]
        with institution(place):
            for _ in range(TURNS):
                Student.objects.filter(pk=cast.of(place).id("ada")).update(notes=f"{place.slug} {uuid4()}")
        return 0

    before = [logged(place) for place in places]
    at_once(write)
    after = [logged(place) for place in places]
    assert [new - old for new, old in zip(after, before, strict=True)] == [TURNS * THREADS // 2] * 2
    for place in places:
        with institution(place), acting(command("test")):
            Student.objects.filter(pk=cast.of(place).id("ada")).update(notes="")


def logged(place: InstitutionContext) -> int:
    with institution(place):
        return Entry.objects.filter(table_name="school_student", after__notes__startswith=place.slug).count()
