"""`/metrics` on a port of its own, so that it is never reachable from where users are.

The figures are django-prometheus's and our own; each process writes its own into files under
PROMETHEUS_MULTIPROC_DIR, and this one adds them up. No figure carries an institution's name: a thousand schools
would be a thousand time series each.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from platform_config import env


def main() -> None:
    port = env.integer("METRICS_PORT", least=1)
    host = env.text("HOST", "127.0.0.1")
    env.text("PROMETHEUS_MULTIPROC_DIR")
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    start_http_server(port, addr=host, registry=registry)
    stopped.wait()


def fresh_directory(path: Path) -> str:
    """An empty directory for the processes' figures; those of an earlier run would be counted again."""
    path.mkdir(parents=True, exist_ok=True)
    for left in path.glob("*.db"):
        left.unlink()
    return str(path)


if __name__ == "__main__":
    try:
        main()
    except (env.SettingsError, OSError, ValueError) as error:
        sys.exit(f"lyceum metrics: {error} (pid {os.getpid()})")
