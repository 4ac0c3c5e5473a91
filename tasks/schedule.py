"""What the platform does by the clock (UTC). django-celery-beat keeps it in the public schema; this table is the truth.

Every task here may run twice or late without harm. `expires`: a message older than that (in seconds) is dropped, so a
worker that was down doesn't do the same sweep a hundred times.
"""

from datetime import timedelta
from typing import Any

from celery.schedules import crontab

PREFIX = "platform."  # of all names here; stored entries with this prefix that the table lacks are removed

SCHEDULE: dict[str, dict[str, Any]] = {
    # The relay does the same every few seconds; this is for the day on which no relay runs.
    "platform.sweep": {
        "task": "platform.sweep",
        "schedule": timedelta(minutes=1),
        "options": {"expires": 50},
    },
    # A schedule's run is at most this much late; what is sent twice starts nothing twice.
    "platform.reports": {
        "task": "platform.reports",
        "schedule": crontab(minute="*/15"),
        "options": {"expires": 600},
    },
    "platform.purge": {
        "task": "platform.purge",
        "schedule": crontab(hour=3, minute=20),
        "options": {"expires": 3600},
    },
    # A sign-up wakes a worker by itself; this is for what was lost, and for letters that were not taken.
    "platform.sign_ups": {
        "task": "platform.sign_ups",
        "schedule": timedelta(minutes=1),
        "options": {"expires": 50},
    },
    # After the grace period an hour does not matter; a deletion that was killed goes on with the next one.
    "platform.deletions": {
        "task": "platform.deletions",
        "schedule": crontab(minute=40),
        "options": {"expires": 3000},
    },
    # A run goes on for twelve minutes at most, two of them at once; what is due is asked of the rows each time.
    "platform.backups": {
        "task": "platform.backups",
        "schedule": crontab(minute="7-59/15"),
        "options": {"expires": 600},
    },
    # Each institution's turn comes once a week.
    "platform.verify_backups": {
        "task": "platform.verify_backups",
        "schedule": crontab(minute=52),
        "options": {"expires": 600},
    },
}
