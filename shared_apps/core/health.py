"""/health/live and /health/ready: asked by load balancers on any host, before any host lookup.

Ready = the database answers and the shared migrations are applied. Redis, relay, beat and institutions that are
behind are named in the body, never in the status: what can still serve reads must not be taken out of rotation.
"""

from typing import Any

import orjson
import redis
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse

from shared_apps.core import vitals
from shared_apps.core.context import platform

_migrated = False


def answer(path: str) -> HttpResponse:
    if path in ("/health/live", "/health/live/"):
        return _json(200, {"status": "live"})
    if path in ("/health/ready", "/health/ready/"):
        return _ready()
    return _json(404, {"status": "unknown"})


def _json(status: int, body: dict[str, Any]) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), status=status, content_type="application/json")


def _ready() -> HttpResponse:
    parts: dict[str, str] = {}
    try:
        with platform():
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            parts["database"] = "ok"
            parts["migrations"] = "ok" if _shared_migrations_applied() else "behind"
    except (DatabaseError, InterfaceError):
        connection.close()
        parts["database"] = "unreachable"
    try:
        reports = vitals.read()
        parts["redis"] = "ok"
        parts |= {process: "silent" if report is None else "ok" for process, report in reports.items()}
        counted = reports["relay"] or {}
        behind = counted.get("institutions_behind")
        parts["institutions"] = "unknown" if behind is None else f"{behind} behind" if behind else "ok"
        parts["backups"] = _backups(counted)
    except redis.RedisError:
        parts["redis"] = "unreachable"
    ready = parts.get("database") == "ok" and parts.get("migrations") == "ok"
    return _json(200 if ready else 503, {"status": "ready" if ready else "not ready", "parts": parts})


def _backups(counted: dict[str, int]) -> str:
    if "backups_scheduled" not in counted:
        return "unknown"
    wrong = [f"{counted[f'backups_{what}']} {what}" for what in ("overdue", "bad") if counted[f"backups_{what}"]]
    return ", ".join(wrong) or ("ok" if counted["backups_scheduled"] else "off")


def _shared_migrations_applied() -> bool:
    """Checked until true, then remembered: applied migrations of a running release are not taken back."""
    global _migrated
    if not _migrated:
        executor = MigrationExecutor(connection)
        _migrated = not executor.migration_plan(_shared_targets(executor))
    return _migrated


def _shared_targets(executor: MigrationExecutor) -> list[tuple[str, str]]:
    from shared_apps.core.routing import tenant_app_labels

    return [node for node in executor.loader.graph.leaf_nodes() if node[0] not in tenant_app_labels()]
