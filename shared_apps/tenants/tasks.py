"""What workers do about institutions, by the clock and when they are woken."""

from celery import shared_task

from shared_apps.tenants.backups.scheduled import make_due_backups
from shared_apps.tenants.backups.verifying import verify_due_backups
from shared_apps.tenants.signing_up.carrying_out import carry_on


@shared_task(name="platform.sign_ups", platform=True)
def carry_on_sign_ups() -> None:
    """Write the letters of sign-ups that are due, and make what is confirmed."""
    carry_on()


@shared_task(name="platform.backups", platform=True)
def back_up_what_is_due() -> None:
    """Make the backups that are due, and forget those that have had their time."""
    make_due_backups()


@shared_task(name="platform.verify_backups", platform=True)
def verify_backups() -> None:
    """Restore backups aside whose turn it is, and record what came of it."""
    verify_due_backups()
