"""The steps of docs/operations/backups.md, "Disaster recovery, step by step": a machine is lost with all its disks, and
another one starts with nothing but the store, an identity and the secret."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyrage
import pytest

from platform_config.embedded import EmbeddedServers
from tests.objects import BUCKET, object_server

TOP = Path(__file__).resolve().parents[3]
Environment = dict[str, str]
# Rows about what a recovery does: which schema, when, the backups on record, and the template's text after a replay.
OF_THE_PLATFORM = {"tenants_tenant", "tenants_transition", "tenants_backup", "tenants_schematemplate"}
OF_AN_INSTITUTION = {"accounts_session", "accounts_refreshtoken", "audit_entry"}  # everybody signs in again, on record


@contextmanager
def machine(home: Path, endpoint: str, identity: str) -> Iterator[Environment]:
    """The environment of a machine with servers of its own, which are lost at the end."""
    with EmbeddedServers(home / "servers", durable=False) as servers:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        yield kept | {
            "DJANGO_SETTINGS_MODULE": "platform_config.settings.test",
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "SECRET_KEY": "the same on both machines, as the first step says",
            "DATA_DIR": str(home / "data"),
            "LOG_LEVEL": "ERROR",
            "BACKUP_STORE": f"s3://{BUCKET}/lyceum",
            "BACKUP_STORE_ENDPOINT": endpoint,
            "BACKUP_STORE_KEY_ID": "some",
            "BACKUP_STORE_SECRET": "one",
            "BACKUP_IDENTITY": identity,
        }
    shutil.rmtree(home)


def run(environment: Environment, *words: str) -> str:
    ran = subprocess.run(
        [sys.executable, *words], cwd=TOP, env=environment, check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, f"{words}: {ran.stdout}{ran.stderr}"
    return ran.stdout


def manage(environment: Environment, *words: str) -> str:
    return run(environment, "manage.py", "tenant", *words)


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disaster")
    for parent in (path, *path.parents[:2]):
        parent.chmod(0o711)  # as root, PostgreSQL runs as another user, who must reach its directory
    return path


def test_a_lost_machine_comes_back_on_another_from_the_store_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = str(pyrage.x25519.Identity.generate())
    with object_server() as endpoint:
        with machine(home / "first", endpoint, identity) as first:
            run(first, "-m", "tests.prepare")
            run(first, "-m", "tests.faults.disaster", "fill")
            for whose in ("greenwood", "lumiere", "rheintal", "console", "--platform"):
                assert manage(first, "backup", whose).startswith(f"s3://{BUCKET}/lyceum/")
                assert "is restored." in manage(first, "verify-backup", whose)
            before = json.loads(run(first, "-m", "tests.faults.disaster", "digests"))
        assert not (home / "first").exists()
        with machine(home / "second", endpoint, identity) as second:
            began = time.monotonic()
            told = manage(second, "recover").splitlines()
            seconds = time.monotonic() - began
            assert [line.partition(":")[0] for line in told[:4]] == ["console", "greenwood", "lumiere", "rheintal"]
            assert "equals the template" in manage(second, "check")
            after = json.loads(run(second, "-m", "tests.faults.disaster", "digests"))
            run(second, "-m", "tests.faults.disaster", "sign-in")
            manage(second, "backup", "--platform")
    assert set(before) == set(after) == {"public", "console", "greenwood", "lumiere", "rheintal", "files"}
    for place, tables in before.items():
        assert tables.keys() == after[place].keys()
        differing = {name for name, rows in tables.items() if rows != after[place][name]}
        assert differing <= (OF_THE_PLATFORM if place == "public" else OF_AN_INSTITUTION), place
    assert len(before["files"]) == 1
    with capsys.disabled():
        print(f"\nrecovered 4 institutions, one of 1,200 students, in {seconds:.1f} s")
