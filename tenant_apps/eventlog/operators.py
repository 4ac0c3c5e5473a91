"""Jobs of the operators: work on other institutions, told of in the operators' own tenant.

The bodies are registered in core by the platform's rooms. Such a body changes tables over the owner's connection, which
cannot be had inside a job's transaction, so it runs in a thread of its own. What it did is therefore committed before
its job is: a worker that dies between the two does it again, and the body has to know what it has done already.
"""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any
from uuid import UUID

from django.db import connection

from shared_apps.core.actors import Actor, ActorKind, acting
from shared_apps.core.context import current_institution, institution, platform
from shared_apps.core.registry import PlatformJob, registry
from tenant_apps.eventlog.jobs import Body, Progress, job
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.services import start_job


def register() -> None:
    """Make jobs of what the platform's rooms have registered, and let them start jobs."""
    for kind, body in registry.platform_jobs.items():
        job(kind)(_beside(body))
    registry.start_job = _start


def _start(*, kind: str, parameters: dict[str, Any], requested_by: UUID) -> UUID:
    return start_job(kind=kind, parameters=parameters, requested_by=requested_by).pk


def _beside(body: PlatformJob) -> Body:
    def run(started: Job, progress: Progress) -> dict[str, Any]:
        here = current_institution()

        def show(percent: float, step: str) -> None:
            with institution(here):
                progress(percent, step)

        def work() -> dict[str, Any]:
            try:
                with platform():
                    return body(started.pk, started.parameters, show)
            finally:
                connection.close()

        # The history of an institution names the operator, as if no worker stood between.
        asker = started.requested_by
        who = Actor(ActorKind.PERSON, asker.email, user_id=asker.pk) if asker else Actor(ActorKind.TASK, started.kind)
        with ThreadPoolExecutor(1, thread_name_prefix="lyceum-operators") as thread, acting(who):
            return thread.submit(copy_context().run, work).result()

    return run
