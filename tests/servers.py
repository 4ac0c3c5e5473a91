"""Pytest plugin: real PostgreSQL and Redis for the suite, and one prepared database that every worker clones.

The controller (or the only process) starts embedded servers in a private directory, unless DATABASE_URL and REDIS_URL
point elsewhere, and prepares a template database in a process of its own. xdist's workers inherit the addresses; each
clones the template and takes a Redis database of its own. Any number of runs stand side by side.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
import pytest
from psycopg import sql

ROOT = Path(__file__).resolve().parents[1]
MEMORY, PLENTY = Path("/dev/shm"), 6 * 1024**3
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
_stack = ExitStack()


def with_database(url: str, name: str) -> str:
    """The same server's address with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def run_on_server(*statements: sql.Composed) -> None:
    """Run statements that cannot stand in a transaction, as the owner, outside of any of the suite's databases."""
    with psycopg.connect(os.environ["LYCEUM_TEST_SERVER"], autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def drop(name: str) -> None:
    """Drop a database, whoever is on it. Autovacuum's worker is a superuser's, whom the owner may not send away."""
    for last in (False, False, False, True):
        try:
            return run_on_server(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            if last:
                raise
            time.sleep(0.5)


def clone(template: str, name: str) -> None:
    """Make database `name` anew as a copy of `template`."""
    drop(name)
    source, target = sql.Identifier(template), sql.Identifier(name)
    run_on_server(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(target, source))


def _home() -> str | None:
    """Memory where there is plenty of it, unless TMPDIR says where to: a clone is a thousand small files, 0.1 s in
    place of 0.5 to 1.4 (measured). None is the system's place for what is temporary."""
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK | os.X_OK):
        return None
    plenty = min(psutil.virtual_memory().available, shutil.disk_usage(MEMORY).free) >= PLENTY
    return str(MEMORY) if plenty else None


def _start() -> None:
    """Controller only: servers, addresses, the template."""
    place = tempfile.TemporaryDirectory(prefix="lyceum-test-", ignore_cleanup_errors=True, dir=_home())
    home = Path(_stack.enter_context(place))
    if not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")):
        from platform_config.embedded import EmbeddedServers

        servers = _stack.enter_context(EmbeddedServers(home / "servers", durable=False))
        os.environ["DATABASE_URL"], os.environ["REDIS_URL"] = servers.database_url, servers.redis_url
    os.environ.setdefault("SECRET_KEY", secrets.token_hex(32))
    template = f"lyceum_test_{secrets.token_hex(4)}"
    os.environ.update(
        LYCEUM_TEST_SERVER=os.environ["DATABASE_URL"],
        LYCEUM_TEST_TEMPLATE=template,
        DATABASE_URL=with_database(os.environ["DATABASE_URL"], template),
        DJANGO_SETTINGS_MODULE="platform_config.settings.test",
        DATA_DIR=str(home / "data"),
        LOG_LEVEL="ERROR",
        RATE_LIMIT_USER="1000000/hour",
        RATE_LIMIT_ANON="1000000/hour",
    )
    run_on_server(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(template)))
    _stack.callback(drop, template)
    prepared = subprocess.run(
        [sys.executable, "-m", "tests.prepare"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if prepared.returncode:
        _stack.close()
        raise pytest.UsageError(f"The template database could not be prepared:\n{prepared.stdout}{prepared.stderr}")
    os.environ["DATABASE_APP_URL"] = prepared.stdout.strip().splitlines()[-1]


def _take_own_database() -> None:
    """Every process that runs tests: a clone of the template, a Redis database, a data directory."""
    name = f"{os.environ['LYCEUM_TEST_TEMPLATE']}_{WORKER or 'main'}"
    os.environ["LYCEUM_TEST_DATABASE"] = name
    for variable in ("DATABASE_URL", "DATABASE_APP_URL"):
        os.environ[variable] = with_database(os.environ[variable], name)
    number = int(WORKER.removeprefix("gw") or 0) + 1 if WORKER else 1
    address = os.environ["REDIS_URL"]
    if address.startswith("unix:"):  # not for urlunsplit, which drops the empty host's slashes
        os.environ["REDIS_URL"] = f"{address.partition('?')[0]}?db={number}"
    else:
        os.environ["REDIS_URL"] = urlunsplit(urlsplit(address)._replace(path=f"/{number}"))
    os.environ["DATA_DIR"] = f"{os.environ['DATA_DIR']}-{WORKER or 'main'}"


def reset_database() -> None:
    """Give this process a fresh clone of the template."""
    clone(os.environ["LYCEUM_TEST_TEMPLATE"], os.environ["LYCEUM_TEST_DATABASE"])


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> Iterator[None]:
    """A wrapper, so that it runs before pytest-django reads the settings."""
    if not WORKER:
        _start()
    if WORKER or not _is_controller(args):
        _take_own_database()
    yield


def _is_controller(args: list[str]) -> bool:
    """Whether xdist will spread the run over workers (-n given, and not zero)."""
    joined = " ".join(args)
    return (" -n" in f" {joined}" or "--numprocesses" in joined) and " -n 0" not in f" {joined}" and "-n0" not in joined


def pytest_unconfigure(config: pytest.Config) -> None:
    if "LYCEUM_TEST_DATABASE" in os.environ and not hasattr(config, "workerinput"):
        drop(os.environ["LYCEUM_TEST_DATABASE"])
    if not WORKER:
        _stack.close()
