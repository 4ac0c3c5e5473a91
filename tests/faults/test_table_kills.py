"""kill -9 of the worker amid an import or an export: nothing is half done, and another worker ends the job."""

import os
from functools import partial
from pathlib import Path

import pytest
from django.db import connection, transaction

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.tables import views
from tenant_apps.eventlog import jobs, outbox
from tenant_apps.eventlog.models import Job
from tenant_apps.files.models import StoredFile
from tenant_apps.files.services import folder, sweep_orphans
from tenant_apps.school.models import Student
from tests import cast
from tests.api import as_person
from tests.faults.test_import_kills import until, writers_wait_at
from tests.tasks import workers
from tests.tenant_apps.files.sending import send

HISTORY, FILES = "school_studentstatus", "files_storedfile"


def someone_waits_to_insert(table: str, *, first: bool = False) -> bool:
    """Whether a transaction waits to write to the table, and unless this is its `first` has written already: the window
    of the kill."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND (%s OR backend_xid IS NOT NULL) AND query LIKE %s AND datname = current_database())",
            [first, f'%INSERT INTO "{table}"%'],
        )
        return bool(cursor.fetchone()[0])


def test_a_worker_killed_over_an_export_leaves_no_half_file_to_fetch(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is written and its row is not: what nobody can name is swept, and the export is made once more."""
    monkeypatch.setattr(views, "MOST_AT_ONCE", 3)
    principal = as_person(greenwood, cast.of(greenwood).principal)
    job = principal.get("/api/v1/school/students/export/?format=csv").json()["job"]
    with institution(greenwood):
        top = folder()

    def contents() -> list[Path]:
        return [path for path in top.rglob("*") if path.is_file()] if top.is_dir() else []

    before = contents()
    with institution(greenwood):
        outbox.carry_out()
        with workers.relay():
            with workers.worker() as doomed, writers_wait_at(FILES):
                until(partial(someone_waits_to_insert, FILES, first=True), "the export reaches its file's row")
                assert len(contents()) == len(before) + 1
                workers.kill(doomed)
            assert not StoredFile.objects.exists()
            assert principal.get(f"/api/v1/jobs/{job}/").json()["result"] is None
            with workers.worker():
                until(lambda: Job.objects.get(pk=job).state == "succeeded", "another worker ends the job", 40.0)
        stored = StoredFile.objects.get()
        for path in contents():
            os.utime(path, (0, 0))
        sweep_orphans()
        assert contents() == [stored.place]
    fetched = principal.get(stored.url)
    lines = fetched.getvalue().count(b"\r\n")
    assert lines == len(cast.STUDENTS) + 1


def test_a_worker_killed_among_the_rows_leaves_none_of_them(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    rows = "".join(f"N{number},Given,Family,MAIN\r\n" for number in range(50))
    principal = as_person(greenwood, cast.of(greenwood).principal)
    sent = f"student_number,given_name,family_name,campus\r\n{rows}".encode()
    job = send(principal, "/api/v1/school/students/import/", sent).json()["job"]

    def lock_is_free() -> bool:
        with transaction.atomic():
            return jobs.take_lock(job)

    with institution(greenwood):
        upload = StoredFile.objects.get()
        outbox.carry_out()
        with workers.relay():
            with workers.worker() as doomed, writers_wait_at(HISTORY):
                until(partial(someone_waits_to_insert, HISTORY), "the import reaches a student's history")
                workers.kill(doomed)
            until(lock_is_free, "the server notices that the worker is gone")
            assert Student.objects.count() == len(cast.STUDENTS)
            assert upload.place.exists(), "the next worker needs the file"
            with workers.worker():
                until(lambda: Job.objects.get(pk=job).state == "succeeded", "another worker ends the job", 40.0)
                until(lambda: not upload.place.exists(), "the upload is removed")
        assert Job.objects.get(pk=job).attempts == 2
        assert Student.objects.count() == len(cast.STUDENTS) + 50
        assert not StoredFile.objects.exists()
