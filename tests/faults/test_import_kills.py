"""kill -9 of the worker in the middle of an import: nothing is half imported, and another worker ends the job."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.ids import uuid7
from tenant_apps.academics.models import Enrolment
from tenant_apps.communication.models import Notification
from tenant_apps.eventlog import jobs, outbox
from tenant_apps.eventlog.models import Job
from tenant_apps.interop import services
from tenant_apps.interop.models import RosterImport
from tenant_apps.interop.oneroster import read_roster
from tenant_apps.interop.roster import make_plan
from tenant_apps.interop.roster.writing import _Writer
from tenant_apps.school.models import Student
from tests import cast
from tests.tasks import workers
from tests.tenant_apps.interop.importing import Quiet, bring, digests
from tests.tenant_apps.interop.oneroster.rosters import write_roster

IMPORTED = ("school_", "academics_")


def until(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def people_and_classes() -> dict[str, str | None]:
    return {name: digest for name, digest in digests().items() if name.startswith(IMPORTED)}


@contextmanager
def writers_wait_at(table: str) -> Iterator[None]:
    """Whoever writes to the table waits; reading goes on."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield


def someone_waits_at(table: str) -> bool:
    """Whether a transaction that has written something already waits to write to the table."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND backend_xid IS NOT NULL AND query LIKE %s AND datname = current_database())",
            [f'COPY "{table}"%'],
        )
        return bool(cursor.fetchone()[0])


@pytest.fixture
def started(transactional_db: None, greenwood: InstitutionContext, tmp_path: Path) -> Iterator[RosterImport]:
    """An import that waits for a worker."""
    with institution(greenwood):
        import_id = uuid7()
        folder = services.upload_folder()
        folder.mkdir(parents=True, exist_ok=True)
        upload = write_roster(folder / f"{import_id}.zip", students=200, sections=12)
        content = upload.read_bytes()
        yield services.start_roster_import(
            import_id=import_id,
            upload=upload,
            file_name="roster.zip",
            size=len(content),
            sha256=sha256(content).hexdigest(),
            dry_run=False,
            close_missing=False,
            requested_by=cast.user_id("principal"),
        )


def test_a_worker_killed_twice_in_the_middle_leaves_nothing_half_imported(started: RosterImport) -> None:
    before = people_and_classes()
    outbox.carry_out()

    def lock_is_free() -> bool:
        with transaction.atomic():
            return jobs.take_lock(started.job_id)

    def state() -> str:
        return Job.objects.get(pk=started.job_id).state

    with workers.relay():
        for table in (Enrolment._meta.db_table, "school_studentstatus"):
            with workers.worker() as doomed, writers_wait_at(table):
                until(partial(someone_waits_at, table), f"the import reaches {table}")
                assert (state(), Student.objects.filter(sourced_id__isnull=False).count()) == ("running", 0)
                workers.kill(doomed)
            until(lock_is_free, "the server notices that the worker is gone")
            assert people_and_classes() == before
            assert started.upload.exists(), "the next worker needs the file"
        with workers.worker():
            until(lambda: state() == "succeeded", "the third worker ends the job")
            until(lambda: not started.upload.exists(), "the upload is removed")
            until(Notification.objects.exists, "the requester is told")
    started.refresh_from_db()
    assert (started.job.attempts, started.counts["students"]["created"]) == (3, 200)
    assert Student.objects.filter(sourced_id__isnull=False).count() == 200
    assert Enrolment.objects.filter(sourced_id__isnull=False).count() == started.counts["enrolments"]["created"] == 400
    assert Notification.objects.filter(kind="roster.imported").count() == 1


class Broken(Exception):
    """Stands for a worker's death in a test of one process."""


class DiesBeforeEnrolments(Quiet):
    def __call__(self, percent: float, step: str = "") -> None:
        if step == "Writing enrolments":
            raise Broken


def bring_table_by_table(path: Path, steps: Any) -> None:
    """The naive import: each table is committed when it is written."""
    plan = make_plan(read_roster(path), today=services.local_date(), close_missing=False, steps=Quiet())
    writer = _Writer(plan, steps)
    for change in plan.changes:
        writer.step = f"Writing {change.kind}"
        writer._advance(0)
        with transaction.atomic():
            writer._write_table(change)


def bring_whole(path: Path, steps: Any) -> None:
    services.import_roster(path=path, dry_run=False, close_missing=False, steps=steps)


@pytest.mark.parametrize(
    ("way", "whole"), [(bring_whole, True), (bring_table_by_table, False)], ids=["ours", "a commit for each table"]
)
def test_an_import_that_breaks_off_changes_nothing(
    transactional_db: None, greenwood: InstitutionContext, tmp_path: Path, way: Callable[..., None], whole: bool
) -> None:
    path = write_roster(tmp_path / "roster.zip")
    with institution(greenwood):
        before = people_and_classes()
        with pytest.raises(Broken):
            way(path, DiesBeforeEnrolments())
        assert (people_and_classes() == before) is whole


def test_two_imports_at_once_run_one_after_the_other(
    transactional_db: None, greenwood: InstitutionContext, tmp_path: Path
) -> None:
    path = write_roster(tmp_path / "roster.zip", students=100, sections=8)
    with institution(greenwood):
        others = [jobs.SecondConnection() for _ in range(3)]
        plans = [other.run(bring, path) for other in others]
        created = [plan.result().counts["students"]["created"] for plan in plans]
        for other in others:
            other.close()
        assert sorted(created) == [0, 0, 100]
