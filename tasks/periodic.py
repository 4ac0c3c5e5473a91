"""The tasks of the schedule, and the fan-out from the platform to the institutions."""

from datetime import timedelta
from typing import Any

from celery import Task
from django.conf import settings
from django.utils import timezone

from shared_apps.core.context import State, institution
from shared_apps.tenants.deleting import complete_due
from shared_apps.tenants.models import Tenant
from shared_apps.tenants.tasks import (  # noqa: F401 - on the schedule; importing them registers them
    back_up_what_is_due,
    carry_on_sign_ups,
    verify_backups,
)
from tasks import relay
from tasks.app import app
from tenant_apps.accounts.models import Session
from tenant_apps.audit import erasing
from tenant_apps.communication import services as communication
from tenant_apps.eventlog import answers
from tenant_apps.eventlog import services as eventlog
from tenant_apps.files import services as files
from tenant_apps.interop.services import purge_imports, sweep_uploads
from tenant_apps.reports.tasks import start_due

EVENTS_KEPT = timedelta(days=30)
MESSAGES_KEPT = timedelta(days=7)  # as long as an effect's key keeps a second one away
JOBS_KEPT = timedelta(days=90)
SCHOOL_YEAR_KEPT = timedelta(days=400)  # notifications and roster imports: until the next year's have come


@app.task(name="platform.sweep", platform=True)
def sweep() -> None:
    """Carry out due outbox messages and take care of orphaned jobs, as the relay does."""
    relay.sweep()


@app.task(name="platform.purge", platform=True)
def purge() -> None:
    """Send every live institution its purge."""
    to_each_institution(purge_institution)


@app.task(name="platform.purge_institution")
def purge_institution() -> None:
    """Forget expired sessions with their refresh tokens, old events, finished messages and jobs, notifications and
    roster imports of long ago, kept answers, expired and left-over files, and what the log said too long ago."""
    now = timezone.now()
    Session.objects.filter(expires_at__lt=now).delete()
    answers.forget_expired()
    eventlog.purge(events_before=now - EVENTS_KEPT, messages_before=now - MESSAGES_KEPT, jobs_before=now - JOBS_KEPT)
    communication.purge(before=now - SCHOOL_YEAR_KEPT)
    purge_imports(before=now - SCHOOL_YEAR_KEPT)
    sweep_uploads()
    files.sweep_expired()
    files.sweep_orphans()
    erasing.expire(years=settings.AUDIT_RETENTION_YEARS)


@app.task(name="platform.reports", platform=True)
def start_due_reports() -> None:
    """Let every live institution start the reports whose local time has come."""
    to_each_institution(start_due)


@app.task(name="platform.deletions", platform=True)
def complete_due_deletions() -> None:
    """Carry out the deletions of institutions whose grace period is over."""
    complete_due()


def to_each_institution(task: Task, *args: Any) -> int:
    """Send a task to each active institution, one message each; how many there were. Runs on the platform."""
    tenants = list(Tenant.objects.filter(state=State.ACTIVE).prefetch_related("domains"))
    for tenant in tenants:
        with institution(tenant.context):
            task.delay(*args)
    return len(tenants)
