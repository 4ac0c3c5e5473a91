"""`/metrics` on a port of its own, so that it is never reachable from where users are.

The figures are django-prometheus's and our own; each process writes its own into files under
PROMETHEUS_MULTIPROC_DIR, and this one adds them up. No figure carries an institution's name: a thousand schools
would be a thousand time series each.
"""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import FrameType

import orjson
import redis
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from platform_config import env
from shared_apps.core.vitals import PROCESSES, key

MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of ours in it, which others may not enter


class Vitals(Collector):
    """What relay and beat last reported (`core.vitals`): a silent one is 0."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def collect(self) -> Iterator[Metric]:
        alive = GaugeMetricFamily("lyceum_process_alive", "Whether it has reported lately.", labels=["process"])
        figures: dict[str, int] = {}
        try:
            for process in PROCESSES:
                raw = self._client.get(key(process))
                alive.add_metric([process], 0 if raw is None else 1)
                figures |= orjson.loads(raw) if isinstance(raw, bytes) else {}
        except redis.RedisError:
            yield GaugeMetricFamily("lyceum_redis_up", "Whether Redis answers.", value=0)
            return
        yield GaugeMetricFamily("lyceum_redis_up", "Whether Redis answers.", value=1)
        yield alive
        for name, value in figures.items():
            yield GaugeMetricFamily(f"lyceum_{name}", f"{name.replace('_', ' ')}, as the relay counted.", value=value)


class Figures(MultiProcessCollector):
    """Of all processes; those of a container of its own lie in a directory of their own below, since processes of two
    containers share their numbers, by which the files are named."""

    def __init__(self, registry: CollectorRegistry, path: str) -> None:
        self._below = Path(path)
        super().__init__(registry, path)

    def collect(self) -> Iterable[Metric]:
        return self.merge([str(file) for file in self._below.rglob("*.db")], accumulate=True)


def main() -> None:
    port = env.integer("METRICS_PORT", least=1)
    host = env.text("HOST", "127.0.0.1")
    registry = CollectorRegistry()
    Figures(registry, env.text("PROMETHEUS_MULTIPROC_DIR"))
    registry.register(Vitals(redis.Redis.from_url(env.text("REDIS_URL"), socket_timeout=2)))
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    start_http_server(port, addr=host, registry=registry)
    stopped.wait()


@contextmanager
def fresh_directory(data_dir: Path) -> Iterator[str]:
    """An empty directory for the processes' figures, removed afterwards: an earlier run's would be counted again.

    In memory where the machine has a place for that: the files are mapped, and a process that writes to a mapped file
    on a full disk is killed by SIGBUS. Figures must not end a web server.
    """
    if os.access(MEMORY, os.W_OK | os.X_OK):
        mark = sha256(str(data_dir).encode()).hexdigest()[:12]
        path = MEMORY / f"lyceum-metrics-{os.getuid()}-{mark}"
    else:
        path = data_dir / "metrics"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, mode=0o700)
    try:
        yield str(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except (env.SettingsError, OSError, ValueError) as error:
        sys.exit(f"lyceum metrics: {error} (pid {os.getpid()})")
