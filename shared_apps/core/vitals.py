"""What the background processes last said of themselves, kept in Redis for as long as it can be believed."""

import orjson
import redis
import structlog

from shared_apps.core import bus

PROCESSES = ("relay", "beat", "sealer")
SECONDS = 30
log = structlog.get_logger(__name__)


def report(process: str, **figures: int) -> None:
    """Say that `process` works, with figures of its own. Redis being away costs the report, not the work."""
    try:
        bus.client().set(key(process), orjson.dumps(figures), ex=SECONDS)
    except redis.RedisError as error:
        log.warning("vitals_not_reported", process=process, error=str(error))


def read() -> dict[str, dict[str, int] | None]:
    """The last report of each process, None for one that has been silent. Raises redis.RedisError."""
    found = bus.client().mget([key(process) for process in PROCESSES])
    reports = (None if raw is None else orjson.loads(raw) for raw in found)
    return dict(zip(PROCESSES, reports, strict=True))


def key(process: str) -> str:
    """Where a process's report stands in Redis."""
    return f"lyceum:vitals:{process}"
