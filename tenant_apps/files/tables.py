"""The desk where exports and imports are handed to a worker: the kit knows tables, this room knows files and jobs."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from shared_apps.core.errors import TooMany
from shared_apps.core.permissions import Principal
from shared_apps.core.tables.exporting import read_export, resource_named
from shared_apps.core.tables.formats import CONTENT_TYPES
from tenant_apps.accounts.authentication import principal_for_user
from tenant_apps.eventlog.jobs import Progress, job
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.services import start_job
from tenant_apps.files.services import keep

EXPORT = "files.export"
MOST_OPEN = 3  # exports and imports that one person may have waiting or running
KEPT = timedelta(days=7)
LOCK_SPACE = 7204  # of advisory locks; jobs use 7203


class Desk:
    """What `registry.table_desk` holds."""

    def start_export(self, *, resource: str, query: str, form: str, principal: Principal) -> UUID:
        with transaction.atomic():
            _demand_turn(principal.user_id)
            parameters = {"resource": resource, "query": query, "format": form}
            return start_job(kind=EXPORT, parameters=parameters, requested_by=principal.user_id).pk


def _demand_turn(user_id: UUID) -> None:
    """Raises TooMany for a person with too many open jobs of this desk. Two requests at once are counted in turn."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [str(user_id), LOCK_SPACE])
    states = (Job.State.PENDING, Job.State.RUNNING)
    if Job.objects.filter(kind=EXPORT, requested_by_id=user_id, state__in=states).count() >= MOST_OPEN:
        raise TooMany(
            f"You have {MOST_OPEN} exports under way; wait for one, or cancel it at /api/v1/jobs/.",
            code="too_many_jobs",
            headers={"Retry-After": "10"},
        )


@job(EXPORT)
def run_export(running: Job, progress: Progress) -> dict[str, Any]:
    """Body of the job: with the rights that the person has now, and the file in the job's own transaction."""
    principal = principal_for_user(running.requested_by_id)
    wanted = read_export(resource_named(running.parameters["resource"]), running.parameters["query"], principal)
    whole = wanted.count()

    def told(done: int) -> None:
        progress.check()
        progress(95 * done / max(whole, 1), f"Writing {wanted.name}")

    with wanted.spool(told) as table:
        stored = keep(
            name=wanted.name,
            content_type=CONTENT_TYPES[wanted.form],
            purpose="export",
            chunks=table,
            owner=principal.user_id,
            expires_at=timezone.now() + KEPT,
        )
    return {"file": stored.url, "name": stored.name, "rows": whole, "size": stored.size}
