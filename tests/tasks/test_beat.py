"""The schedule: written from its table, kept on the platform, sent by one beat at a time."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson
import pytest
from django.db import connection
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from shared_apps.core import bus
from shared_apps.core.context import InstitutionContext, platform
from tasks import periodic
from tasks.app import app
from tasks.beat import FOLLOWER_SECONDS, LeaderScheduler
from tasks.schedule import SCHEDULE

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def stored(committed: None) -> Iterator[None]:
    """The schedule in the database, forgotten afterwards."""
    with platform():
        yield
        PeriodicTask.objects.all().delete()


def queued() -> list[str]:
    return [orjson.loads(raw)["headers"]["task"] for raw in bus.client().lrange("celery", 0, -1)]


def make_due() -> None:
    PeriodicTask.objects.update(last_run_at=LONG_AGO)
    # A tick sends the first that is due, whichever that is.
    PeriodicTask.objects.exclude(name="platform.sweep").update(enabled=False)


def test_every_task_of_the_table_exists_and_is_one_of_the_platform() -> None:
    for entry in SCHEDULE.values():
        assert app.tasks[entry["task"]].platform, entry
    assert app.conf.beat_scheduler == "tasks.beat:LeaderScheduler"


class Unlocked(DatabaseScheduler):
    """The stock scheduler: whoever runs, sends."""


@pytest.mark.parametrize(("scheduler", "times"), [(LeaderScheduler, 1), (Unlocked, 2)], ids=["ours", "the stock one"])
def test_of_two_beats_one_sends(stored: None, scheduler: type[DatabaseScheduler], times: int) -> None:
    first, second = (scheduler(app=app) for _ in range(2))
    first.tick()
    bus.client().flushdb()
    make_due()
    for beat in (first, second):
        beat._initial_read, beat._heap = True, None
        assert beat.schedule, "both have read it before either sends"
    first.tick()
    second.tick()
    assert queued() == ["platform.sweep"] * times
    first.close()
    second.close()


def test_another_beat_takes_over_when_the_leader_is_gone(stored: None) -> None:
    first, second = LeaderScheduler(app=app), LeaderScheduler(app=app)
    first.tick()
    assert second.tick() == FOLLOWER_SECONDS
    first._leadership._connection.close()  # as when its process died
    bus.client().flushdb()
    make_due()
    deadline = time.monotonic() + 5
    while not second._leads and time.monotonic() < deadline:
        second.tick()
    assert queued() == ["platform.sweep"]
    assert first.tick() == FOLLOWER_SECONDS, "the old leader finds its lock taken"
    first.close()
    second.close()


def test_a_beat_outlives_a_database_that_went_away(stored: None) -> None:
    """The naive way: the error goes up, Celery ends, and with it whatever stands or falls with its processes."""
    beat = LeaderScheduler(app=app)
    beat.tick()
    beat._leadership._connection.close()
    beat._leads = False
    connection.connection.close()  # under Django's feet, as when PostgreSQL starts anew
    assert beat.tick() == FOLLOWER_SECONDS
    make_due()
    bus.client().flushdb()
    beat.tick()
    assert queued() == ["platform.sweep"]
    beat.close()


def test_what_the_table_no_longer_names_is_removed(stored: None) -> None:
    beat = LeaderScheduler(app=app)
    beat.tick()
    entry = PeriodicTask.objects.get(name="platform.sweep")
    entry.pk, entry.name = None, "platform.of-an-older-release"
    entry.save()
    beat.close()
    again = LeaderScheduler(app=app)
    again.tick()
    assert set(PeriodicTask.objects.values_list("name", flat=True)) == set(SCHEDULE)
    again.close()


def test_the_purge_is_sent_to_each_institution_in_its_own_name(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext, console: InstitutionContext
) -> None:
    with platform():
        assert periodic.to_each_institution(periodic.purge_institution) == 3
    headers = [orjson.loads(raw)["headers"]["lyceum-tenant"] for raw in bus.client().lrange("celery", 0, -1)]
    assert {header.partition(":")[0] for header in headers} == {str(p.id) for p in (greenwood, lumiere, console)}
