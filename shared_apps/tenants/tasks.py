"""What the platform does about institutions by the clock."""

from celery import shared_task

from shared_apps.tenants.deleting import complete_due


@shared_task(name="platform.deletions", platform=True)
def complete_due_deletions() -> None:
    """Carry out the deletions whose grace period is over."""
    complete_due()
