"""A sealer that is killed with its work half done: the chain is whole, nothing is skipped, the next one goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from shared_apps.core.context import InstitutionContext, institution, platform
from tasks import sealer
from tenant_apps.audit import anchors, chain
from tenant_apps.audit.chain import seal_some, verify

TOP = Path(__file__).resolve().parents[2]
# Stops where it is told, says so, and waits to be killed.
WORK = """
import sys, time
import django
django.setup()
from django.db import transaction
from shared_apps.core.context import institution, platform
from shared_apps.tenants.services import find_tenant
from tenant_apps.audit import chain
with platform():
    place = find_tenant("greenwood").context
def wait():
    print("there", flush=True)
    time.sleep(60)
with institution(place):
    if sys.argv[1] == "before the commit":
        with transaction.atomic():
            assert chain.seal_some(7) == 7
            wait()
    assert chain.seal_some(7) == 7
    wait()
"""


@pytest.fixture
def here(committed: None, greenwood: InstitutionContext, settings: Any, tmp_path: Path) -> Iterator[InstitutionContext]:
    settings.AUDIT_ANCHORS = tmp_path
    with institution(greenwood):
        while seal_some():
            pass
        Group.objects.bulk_create(Group(name=f"{uuid4()}") for _ in range(20))
        yield greenwood
        Group.objects.all().delete()


@pytest.mark.parametrize(("moment", "left"), [("before the commit", 20), ("before the anchor", 13)])
def test_a_killed_sealer_leaves_a_whole_chain_and_the_next_goes_on(
    here: InstitutionContext, moment: str, left: int
) -> None:
    before = verify().head
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, moment], cwd=TOP, env=os.environ.copy(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    if moment == "before the commit":
        assert seal_some() == 0, "the killed one still holds the chain, so the kill hits its window"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    for _ in range(100):  # until the server has noticed
        verdict = verify()
        if (verdict.good, verdict.unsealed) == (True, left) and _free():
            break
    assert (verdict.good, verdict.unsealed, verdict.head) == (True, left, before + 20 - left)
    assert anchors.last_anchor(here.id) is None
    assert seal_some() == left
    with platform():
        sealer.anchor_everywhere({})
    verdict = verify()
    assert (verdict.good, verdict.unsealed, verdict.head) == (True, 0, before + 20)
    assert anchors.last_anchor(here.id) == chain.head()


def _free() -> bool:
    """Whether nobody holds a chain any more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return cursor.fetchone()[0] == 0
