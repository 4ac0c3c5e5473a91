"""The one Celery task behind every job."""

from uuid import UUID

from celery import shared_task

from tenant_apps.eventlog import jobs


@shared_task(name="eventlog.run_job")
def run_job(job_id: str) -> None:
    """Run a pending job of the current institution."""
    jobs.run(UUID(job_id))
