"""A creation that is killed leaves no half institution: nobody is served, and the same command finishes it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from django.db import connection
from django.test import Client

from shared_apps.core.context import State, institution, platform
from shared_apps.tenants import hosts
from shared_apps.tenants.models import Tenant
from tenant_apps.accounts.models import User

TOP = Path(__file__).resolve().parents[2]
CREATE = [sys.executable, "manage.py", "tenant", "create", "half", "Half", "--admin-email", "head@half.test"]
SECONDS = 30


def tables_of(schema: str) -> int:
    with platform(), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = %s", [schema])
        return int(cursor.fetchone()[0])


def the_half() -> Tenant | None:
    with platform():
        return Tenant.objects.filter(domains__slug="half").first()


def the_schema_of_greenwood() -> str:
    with platform():
        return Tenant.objects.get(domains__slug="greenwood").schema_name


def test_a_creation_killed_half_way_serves_nobody_and_is_finished_by_the_next(transactional_db: None) -> None:
    making = subprocess.Popen(CREATE, cwd=TOP, env=os.environ.copy(), start_new_session=True)
    deadline = time.monotonic() + SECONDS
    while the_half() is None:
        assert making.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    making.send_signal(signal.SIGKILL)
    making.wait()

    left = the_half()
    assert left is not None
    assert left.state == State.PROVISIONING, "the kill came after the window"
    assert tables_of(left.schema_name) in (0, tables_of(the_schema_of_greenwood())), "a schema is whole or not there"
    hosts.forget()
    assert Client().get("/", HTTP_HOST="half.localhost").status_code == 503

    finished = subprocess.run(CREATE, cwd=TOP, env=os.environ.copy(), check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    hosts.forget()
    whole = the_half()
    assert whole is not None
    assert (whole.pk, whole.state) == (left.pk, State.ACTIVE)
    assert tables_of(whole.schema_name) == tables_of(the_schema_of_greenwood())
    with platform():
        context = Tenant.objects.prefetch_related("domains").get(pk=whole.pk).context
    with institution(context):
        assert [user.email for user in User.objects.all()] == ["head@half.test"]
    assert Client().get("/", HTTP_HOST="half.localhost").status_code == 200
