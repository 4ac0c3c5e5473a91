"""kill -9 of the worker in the middle of a nightly report, and two beats: one run for the night, with its files."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from celery import Task
from django.db import connection

from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.communication.models import Notification
from tenant_apps.eventlog.models import Job
from tenant_apps.files.models import StoredFile
from tenant_apps.reports import services
from tenant_apps.reports.models import ReportArtifact, ReportRun, ReportSchedule
from tenant_apps.reports.tasks import start_due
from tenant_apps.school.models import Institution
from tests.faults.test_import_kills import until, writers_wait_at
from tests.tasks import bodies, workers
from tests.tenant_apps.reports.conftest import LONG_AGO

RUNS = Job.objects.filter(kind=services.RUN)


def waits_at(table: str, seen: str) -> bool:
    """Whether a transaction waits to insert into the table, and has written to `seen` before: it holds that lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity a JOIN pg_locks l USING (pid)"
            " WHERE a.wait_event_type = 'Lock' AND a.query LIKE %s AND a.datname = current_database()"
            " AND l.granted AND l.mode = 'RowExclusiveLock' AND l.relation = %s::regclass)",
            [f'INSERT INTO "{table}"%', seen],
        )
        return bool(cursor.fetchone()[0])


@contextmanager
def killed_at(table: str, after: str) -> Iterator[None]:
    """A worker that is killed while it waits to write to `table`, its rows of `after` written and not committed."""
    with workers.worker() as doomed, writers_wait_at(table):
        until(partial(waits_at, table, after), f"the worker reaches {table}")
        yield
        workers.kill(doomed)
    until(lambda: not waits_at(table, after), "the server notices that the worker is gone")


@pytest.fixture
def night(transactional_db: None, greenwood: InstitutionContext) -> Iterator[None]:
    """Greenwood, whose schedule has been there for years: its last night is due."""
    with institution(greenwood):
        ReportSchedule.objects.update(created_at=LONG_AGO)
        Institution.objects.update(created_at=LONG_AGO)
        yield


def all_done(runs: int) -> bool:
    states = set(RUNS.all().values_list("state", flat=True))
    return states == {"succeeded"} and Notification.objects.filter(kind="report.ready").count() == runs


@pytest.mark.parametrize(
    ("start", "runs"), [(start_due, 1), (bodies.start_by_the_instant, 2)], ids=["ours", "keyed by the instant"]
)
def test_a_night_has_one_run_whoever_dies_and_however_often_it_is_sent(night: None, start: Task, runs: int) -> None:
    start.delay()
    with killed_at("eventlog_job", after="reports_reportrun"):
        assert not ReportRun.objects.exists(), "the run is not committed before its job"
    assert not ReportRun.objects.exists()
    with workers.relay():
        for _ in range(2):  # of two beats
            start.delay()
        with killed_at("reports_reportartifact", after="files_storedfile"):
            assert RUNS.filter(state="running").exists()
        assert (ReportArtifact.objects.count(), StoredFile.objects.count()) == (0, 0)
        with workers.worker():
            until(partial(all_done, runs), "another worker makes what is due and tells the principal")
            if start is start_due:
                start.delay()  # a quarter of an hour later
                bodies.who_am_i.delay("after the night")
                assert workers.reached("after the night").startswith("principal@")
    assert ReportRun.objects.filter(artifacts__isnull=False).distinct().count() == ReportRun.objects.count() == runs
    assert RUNS.filter(attempts=2).count() == 1, "one of them was killed"
    for run in ReportRun.objects.all():
        assert sorted(run.artifacts.values_list("format", flat=True)) == ["csv", "pdf"]
    for stored in StoredFile.objects.all():
        assert stored.place.stat().st_size == stored.size
