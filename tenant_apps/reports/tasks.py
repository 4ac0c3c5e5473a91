"""What a worker does for one institution."""

from celery import shared_task
from django.utils import timezone

from tenant_apps.reports import services


@shared_task(name="reports.start_due")
def start_due() -> None:
    """Start the runs that are due; sent again, it starts nothing twice."""
    services.start_due(now=timezone.now())
