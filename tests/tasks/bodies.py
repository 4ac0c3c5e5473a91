"""Tasks and job bodies that a real worker process of the suite knows (`celery worker -I tests.tasks.bodies`)."""

import time
from typing import Any

from celery import Task, shared_task
from django.db import transaction

from shared_apps.core import bus
from shared_apps.core.context import PLATFORM, NoTenant, current
from tasks.app import app
from tenant_apps.accounts.models import Role, User
from tenant_apps.communication.services import notify
from tenant_apps.eventlog.jobs import Progress, job
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.services import start_job
from tenant_apps.reports.models import ReportRun, ReportSchedule
from tenant_apps.reports.services import RUN

REACHED = "test:reached:{}"


@job("test.blocks_once")
def blocks_once(job: Job, progress: Progress) -> dict[str, Any]:
    """Writes its row, says that it is in the middle, and waits there to be killed; the second attempt goes through."""
    Role.objects.create(code="effect", name="effect")
    progress(50, "In the middle")
    bus.client().rpush(REACHED.format(job.pk), "in the middle")
    if job.attempts == 1:
        time.sleep(60)
    return {"attempt": job.attempts}


TELLS = "test.tells"


@job(TELLS)
def tells(job: Job, progress: Progress) -> None:
    """Shows progress, and notifies whoever started it."""
    progress(40, "Writing")
    assert job.requested_by_id is not None
    notify(recipients=[job.requested_by_id], kind="roster.imported", title="Roster imported", key=f"job {job.pk}")


def report(key: str, value: str) -> None:
    bus.client().rpush(REACHED.format(key), value)


@shared_task(name="test.who_am_i")
def who_am_i(key: str) -> None:
    report(key, User.objects.get(email__startswith="principal@").email)


@shared_task(name="test.retries", bind=True, max_retries=1)
def retries(self: Task, key: str) -> None:
    report(key, User.objects.get(email__startswith="principal@").email)
    if not self.request.retries:
        raise self.retry(countdown=0)


@app.task(name="test.bare", base=Task)
def bare(key: str) -> None:
    """Celery's own base class, as a library would bring it along."""
    try:
        report(key, f"read {User.objects.count()} users in {current()}")
    except NoTenant:
        report(key, "NoTenant")


@app.task(name="test.on_the_platform", platform=True)
def on_the_platform(key: str) -> None:
    report(key, "platform" if current() is PLATFORM else "elsewhere")


@shared_task(name="test.start_by_the_instant")
def start_by_the_instant() -> None:
    """The naive nightly report: a run for each instant at which it is asked for."""
    for schedule in ReportSchedule.objects.all():
        with transaction.atomic():
            principal = User.objects.get(email__startswith="principal@")
            run = ReportRun.objects.create(definition=schedule.definition, requested_by=principal)
            run.job = start_job(kind=RUN, parameters={"run": str(run.pk)}, requested_by=None)
            run.save()
