"""What load balancers and operators are told."""

import json
from typing import Any

import pytest
import redis
from django.db import OperationalError, connection

from shared_apps.core import bus, health, vitals


def ready() -> tuple[int, dict[str, str]]:
    answer = health.answer("/health/ready")
    return answer.status_code, json.loads(answer.content)["parts"]


def test_silent_processes_are_named_and_take_nothing_out_of_rotation(db: None) -> None:
    status, parts = ready()
    assert (status, parts["relay"], parts["beat"], parts["institutions"]) == (200, "silent", "silent", "unknown")
    assert parts["backups"] == "unknown"
    vitals.report("relay", institutions_behind=2, backups_scheduled=1, backups_overdue=3, backups_bad=1)
    vitals.report("beat")
    status, parts = ready()
    assert (status, parts["relay"], parts["beat"], parts["institutions"]) == (200, "ok", "ok", "2 behind")
    assert parts["backups"] == "3 overdue, 1 bad"
    for scheduled, said in ((0, "off"), (1, "ok")):
        vitals.report("relay", institutions_behind=2, backups_scheduled=scheduled, backups_overdue=0, backups_bad=0)
        assert ready()[1]["backups"] == said


def test_without_redis_the_platform_is_ready_and_says_so(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as away:
        away.setattr(bus, "_client", redis.Redis(port=1, retry=None))
        status, parts = ready()
    assert (status, parts["redis"]) == (200, "unreachable")


def test_without_its_database_it_is_not(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*args: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(connection, "cursor", gone)
    monkeypatch.setattr(connection, "close", lambda: None)
    status, parts = ready()
    assert (status, parts["database"]) == (503, "unreachable")


def test_shared_migrations_that_are_missing_keep_it_out_of_rotation(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrated", False)
    assert ready()[0] == 200
    monkeypatch.setattr(health, "_migrated", False)
    monkeypatch.setattr(health, "_shared_targets", lambda executor: [("django_celery_beat", "0001_initial")])
    monkeypatch.setattr(
        "shared_apps.core.health.MigrationExecutor.migration_plan", lambda *args: [("a migration", False)]
    )
    assert ready() == (503, {**ready()[1], "migrations": "behind"})
