"""Beat's scheduler: django-celery-beat's, on the platform, and only one of several beats at a time."""

from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, connections
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from shared_apps.core import vitals
from shared_apps.core.context import platform
from tasks.schedule import PREFIX, SCHEDULE

LEADER_LOCK = 7204  # of PostgreSQL's advisory locks
FOLLOWER_SECONDS = 2.0
log = structlog.get_logger(__name__)


# Asked of the server each time: Django opens a lost connection again, and the lock would silently be gone with it.
HOLD = """
SELECT CASE WHEN EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %(lock)s AND classid = 0 AND objsubid = 1
    AND granted AND pid = pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
) THEN true ELSE pg_try_advisory_lock(%(lock)s) END
"""


class Leadership:
    """A lock on a connection of its own: whoever dies gives it up, and the next beat takes over."""

    def __init__(self) -> None:
        self._connection = connections.create_connection("default")

    def held(self) -> bool:
        """Whether this process leads, after trying to."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(HOLD, {"lock": LEADER_LOCK})
                return bool(cursor.fetchone()[0])
        except (DatabaseError, InterfaceError) as error:
            log.warning("beat_lost_its_lock", error=str(error))
            self.resign()
            return False

    def resign(self) -> None:
        self._connection.close()


class LeaderScheduler(DatabaseScheduler):
    """Sends what is due while it leads; otherwise looks again every two seconds whether it may."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._leadership = Leadership()
        self._leads = False
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Called before it is known who leads; `tick` does it for the leader."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Seconds until the next tick. A database that is away ends no beat: it follows, and leads again later."""
        with platform():
            try:
                return self._tick(*args, **kwargs)
            except (DatabaseError, InterfaceError) as error:
                log.warning("beat_database_trouble", error=str(error))
                # Broken, and Django would go on using it: outside of requests nobody else looks.
                connections["default"].close()
                self._leads = False
                self._leadership.resign()
                return FOLLOWER_SECONDS

    def _tick(self, *args: Any, **kwargs: Any) -> float:
        led, self._leads = self._leads, self._leadership.held()
        if not self._leads:
            return FOLLOWER_SECONDS
        if not led:
            log.info("beat_leads")
            self._initial_read, self._heap = True, None
            PeriodicTask.objects.filter(name__startswith=PREFIX).exclude(name__in=SCHEDULE).delete()
            super().setup_schedule()
        vitals.report("beat")
        return super().tick(*args, **kwargs)

    def sync(self) -> None:
        """Also called at the end, outside of a tick."""
        with platform():
            super().sync()

    def close(self) -> None:
        super().close()
        self._leadership.resign()
