"""Beat's scheduler: django-celery-beat's, on the platform, and only one of several beats at a time."""

from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from shared_apps.core.context import platform
from tasks.schedule import PREFIX, SCHEDULE

LEADER_LOCK = 7204  # of PostgreSQL's advisory locks
FOLLOWER_SECONDS = 2.0
log = structlog.get_logger(__name__)


class Leadership:
    """A lock on a connection of its own: whoever dies gives it up, and the next beat takes over."""

    def __init__(self) -> None:
        self._connection: BaseDatabaseWrapper | None = None

    def held(self) -> bool:
        """Whether this process leads, after trying to."""
        try:
            if self._connection is not None:
                self._execute("SELECT 1")
                return True
            self._connection = connections.create_connection("default")
            if self._execute("SELECT pg_try_advisory_lock(%s)", LEADER_LOCK):
                return True
        except (DatabaseError, InterfaceError) as error:
            log.warning("beat_lost_its_lock", error=str(error))
        self.resign()
        return False

    def _execute(self, statement: str, *parameters: Any) -> bool:
        assert self._connection is not None
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return bool(cursor.fetchone()[0])

    def resign(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class LeaderScheduler(DatabaseScheduler):
    """Sends what is due while it leads; otherwise looks again every two seconds whether it may."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._leadership = Leadership()
        self._leads = False
        # Beat is one thread that does nothing else: it stands on the platform for its whole life.
        self._place = platform()
        self._place.__enter__()
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Called before it is known who leads; `tick` does it for the leader."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Seconds until the next tick."""
        led, self._leads = self._leads, self._leadership.held()
        if not self._leads:
            return FOLLOWER_SECONDS
        if not led:
            log.info("beat_leads")
            self._initial_read, self._heap = True, None
            PeriodicTask.objects.filter(name__startswith=PREFIX).exclude(name__in=SCHEDULE).delete()
            super().setup_schedule()
        return super().tick(*args, **kwargs)

    def close(self) -> None:
        super().close()
        self._leadership.resign()
