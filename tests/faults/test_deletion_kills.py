"""A deletion that is killed leaves an institution that serves nobody, is reported, and is completed by the next run."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared_apps.core.actors import Actor, ActorKind, acting
from shared_apps.core.context import InstitutionContext, State, platform
from shared_apps.core.ids import uuid7
from shared_apps.tenants.deleting import confirm_deletion, request_deletion
from shared_apps.tenants.lifecycle import change_state
from shared_apps.tenants.models import Deletion, Tenant
from tests.faults.test_institution_kills import tables_of

TOP = Path(__file__).resolve().parents[2]
SECONDS = 60


def tenant_command(*words: str) -> list[str]:
    return [sys.executable, "manage.py", "tenant", *words]


def test_a_deletion_killed_half_way_is_reported_and_completed(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    env = os.environ.copy()
    with platform():
        school = change_state(tenant=Tenant.objects.get(pk=greenwood.id), to=State.ARCHIVED, reason="")
        for verb in (lambda: request_deletion(tenant=school, reason="x"), lambda: confirm_deletion(tenant=school)):
            with acting(Actor(ActorKind.PERSON, "operator", user_id=uuid7())):
                verb()
        Deletion.objects.update(due_at=datetime.now(UTC) - timedelta(seconds=1))
    whole = tables_of(school.schema_name)

    deleting = subprocess.Popen(tenant_command("finish-deletions"), cwd=TOP, env=env, start_new_session=True)
    deadline = time.monotonic() + SECONDS
    while tables_of(school.schema_name) == whole:
        assert deleting.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    deleting.send_signal(signal.SIGKILL)
    deleting.wait()

    with platform():
        school.refresh_from_db()
    assert school.state == State.DELETING, "the kill came after the window"
    # The server notices the death of its client, and frees the lock, a moment later.
    while True:
        told = subprocess.run(tenant_command("check"), cwd=TOP, env=env, check=False, capture_output=True, text=True)
        if told.returncode or time.monotonic() > deadline:
            break
    assert "greenwood: its deletion has ended half way; manage.py tenant finish-deletions" in told.stdout
    for verb in ("finish-deletions", "check"):
        run = subprocess.run(tenant_command(verb), cwd=TOP, env=env, check=False, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    assert tables_of(school.schema_name) == 0
    with platform():
        school.refresh_from_db()
    assert school.state == State.DELETED
