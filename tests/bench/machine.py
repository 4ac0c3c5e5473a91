"""The machine under the bench: what it is, and the processor time its servers use."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Self

import psutil
import psycopg
import redis
from psycopg.conninfo import make_conninfo

_PACKAGES = ("django", "djangorestframework", "django-tenants", "psycopg", "orjson", "gunicorn", "granian")


def describe(superuser_url: str, redis_url: str) -> dict[str, str]:
    """Names processor, memory, kernel and the versions that matter."""
    models = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    with psycopg.connect(superuser_url) as connection:
        postgresql = connection.info.parameter_status("server_version") or "unknown"
    with redis.Redis.from_url(redis_url) as client:
        redis_version = str(client.info("server")["redis_version"])
    return {
        "processor": next(models, platform.processor()).partition(":")[2].strip(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgresql": postgresql,
        "redis": redis_version,
    } | {name: version(name) for name in _PACKAGES}


def analyse(superuser_url: str) -> None:
    """Tell PostgreSQL's planner of every database's rows, as autovacuum would within a minute: both peers alike."""
    with psycopg.connect(superuser_url) as connection:
        names = connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
    for (name,) in names:
        with psycopg.connect(make_conninfo(superuser_url, dbname=name), autocommit=True) as connection:
            connection.execute("ANALYZE")


def database_pids(superuser_url: str, redis_url: str) -> dict[str, int]:
    """Process ids of PostgreSQL's postmaster and of Redis, both on this machine."""
    with psycopg.connect(superuser_url) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    with redis.Redis.from_url(redis_url) as client:
        redis_pid = int(client.info("server")["process_id"])
    return {"postgresql": int((Path(row[0]) / "postmaster.pid").read_text().split()[0]), "redis": redis_pid}


class ProcessorTime:
    """Processor seconds used within the block by each named process and all its descendants, in `used`.

    `others` is the share of the machine (0 to 1) that went to neither them nor this process and its children.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self.used: dict[str, float] = {}
        self.others = 0.0

    def __enter__(self) -> Self:
        self._before = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        seconds = [after - before for after, before in zip(self._read(), self._before, strict=True)]
        total, idle, own, *servers = seconds
        self.used = dict(zip(self._pids, servers, strict=True))
        self.others = max(0.0, (total - idle - own - sum(servers)) / total)

    def _read(self) -> list[float]:
        """Seconds of the machine, of its idleness, of this process with its ended children, of each named tree."""
        machine, own = psutil.cpu_times(), os.times()
        idle = machine.idle + machine.iowait
        return [sum(machine), idle, sum(own[:4]), *(_tree_seconds(pid) for pid in self._pids.values())]


def _tree_seconds(pid: int) -> float:
    """Seconds in user and kernel mode; a child that has ended is in its parent's `children_*` figures."""
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total
