"""The Celery tasks behind every job, and behind messages that a worker carries out."""

from uuid import UUID

from celery import shared_task

from tenant_apps.eventlog import jobs, outbox


@shared_task(name="eventlog.run_job")
def run_job(job_id: str) -> None:
    """Run a pending job of the current institution."""
    jobs.run(UUID(job_id))


@shared_task(name=outbox.BY_WORKER)
def carry_out(message_id: str) -> None:
    """Carry out a message of the current institution that waits for another server."""
    outbox.carry_out_one(UUID(message_id))
