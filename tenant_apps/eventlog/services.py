"""Verbs over jobs: start, cancel, and the sweep after workers that died."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from shared_apps.core.context import current_institution
from shared_apps.core.errors import Conflict
from shared_apps.core.publish import publish
from shared_apps.core.quotas import limits_of
from tenant_apps.eventlog import jobs
from tenant_apps.eventlog.models import Job, OutboxMessage, StreamEvent
from tenant_apps.eventlog.tasks import run_job

MOST_ATTEMPTS = 3
WORKER_LOST = "worker_lost"
RESEND_AFTER = timedelta(seconds=10)
RESEND_AT_LEAST_EVERY = timedelta(seconds=300)
log = structlog.get_logger(__name__)


def start_job(*, kind: str, parameters: dict[str, Any], requested_by: UUID | None) -> Job:
    """A pending job and the message that sends it to a worker, in one transaction.

    Raises ValueError for a kind that no room has registered.
    """
    jobs.body_of(kind)
    with transaction.atomic():
        job = Job.objects.create(kind=kind, parameters=parameters, requested_by_id=requested_by)
        publish("job", {"job": str(job.pk)}, key=f"job:{job.pk}")
    return job


@transaction.atomic
def cancel_job(*, job: Job) -> Job:
    """End a pending job, or ask a running one to stop at its next check; what it wrote is then rolled back.

    Raises Conflict when the job has ended.
    """
    now = timezone.now()
    waiting = Job.objects.filter(pk=job.pk, state=Job.State.PENDING)
    if not waiting.update(state=Job.State.CANCELLED, cancel_requested_at=now, finished_at=now):
        running = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING)
        if not running.update(cancel_requested_at=now):
            raise Conflict("The job has ended; there is nothing left to cancel.", code="job_ended")
    job.refresh_from_db()
    jobs.announce(job)
    return job


def send_job(message: OutboxMessage) -> None:
    """Handler of the topic `job`: one was started, or one has ended and makes room."""
    dispatch()


def dispatch() -> int:
    """Hand waiting jobs to the queue, the oldest first: as many as may run beside those that are there or running.

    The queue is one for all institutions, first come, first served. So a job waits behind no more of another
    institution's than that one may have running, however many it has started. How many were sent.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            # Two at once would count the same free places.
            key = f"dispatch {current_institution().id}"
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [key, jobs.LOCK_SPACE])
        waiting = Job.objects.waiting().order_by("id").values_list("pk", flat=True)
        most = limits_of(current_institution()).concurrent_jobs
        if most is not None:
            waiting = waiting[: max(0, most - Job.objects.under_way().count())]
        sent = list(waiting)
        for pk in sent:
            _send(pk)
    return len(sent)


def _send(job_id: UUID) -> None:
    """Hand a pending job to the queue after the commit. A message that gets lost there is sent again by the sweep."""
    if Job.objects.filter(pk=job_id, state=Job.State.PENDING).update(sent_at=timezone.now()):
        transaction.on_commit(lambda: run_job.delay(str(job_id)), robust=True)


def sweep_jobs() -> int:
    """Take care of jobs of the current institution whose worker or queue message is gone; how many there were.

    Safe at any time and in several processes: a running job is held by its transaction's lock, and a job that is sent
    twice is claimed once.
    """
    lost = [pk for pk in Job.objects.running().values_list("pk", flat=True) if _requeue_if_dead(pk)]
    now = timezone.now()
    unclaimed = Job.objects.unclaimed(now - RESEND_AFTER).values_list("pk", "created_at", "sent_at")
    due = [pk for pk, created_at, sent_at in unclaimed if _is_overdue(created_at, sent_at, now)]
    for pk in due:
        with transaction.atomic():
            _send(pk)
    forgotten = dispatch() if Job.objects.waiting().filter(created_at__lt=now - RESEND_AFTER).exists() else 0
    return len(lost) + len(due) + forgotten


def _is_overdue(created_at: datetime, sent_at: datetime, now: datetime) -> bool:
    """The waits double (10 s, 20 s, 40 s ... 300 s): a long queue isn't filled up with copies."""
    return now - sent_at >= min(max(sent_at - created_at, RESEND_AFTER), RESEND_AT_LEAST_EVERY)


def _requeue_if_dead(job_id: UUID) -> bool:
    with transaction.atomic():
        if not jobs.take_lock(job_id):
            return False
        # Read after the lock: a worker that just committed has already changed the state.
        job = Job.objects.running().filter(pk=job_id).first()
        if job is None:
            return False
        log.warning("job_lost_its_worker", job=str(job_id), kind=job.kind, attempts=job.attempts)
        if job.cancel_requested_at:
            job.state, job.finished_at = Job.State.CANCELLED, timezone.now()
        elif job.attempts >= MOST_ATTEMPTS:
            job.state, job.finished_at = Job.State.FAILED, timezone.now()
            detail = f"The worker was lost {job.attempts} times while doing this; nothing was changed."
            job.errors = [{"pointer": "", "detail": detail, "code": WORKER_LOST}]
        else:
            job.state, job.progress, job.step = Job.State.PENDING, 0, ""
        job.save(update_fields=("state", "progress", "step", "errors", "finished_at", "updated_at"))
        jobs.announce(job)
        _send(job_id)
        return True


def purge(*, events_before: datetime, messages_before: datetime, jobs_before: datetime) -> None:
    """Forget stream events, finished outbox messages and ended jobs that are older; jobs that a record needs stay."""
    StreamEvent.objects.filter(created_at__lt=events_before).delete()
    OutboxMessage.objects.filter(done_at__lt=messages_before).delete()
    ended = Job.objects.filter(finished_at__lt=jobs_before)
    for relation in Job._meta.get_fields(include_hidden=True):
        if relation.auto_created and relation.one_to_one | relation.one_to_many:
            needing = relation.related_model._base_manager.filter(**{relation.field.name: OuterRef("pk")})
            ended = ended.exclude(Exists(needing))
    ended.delete()


def settle_after_restore() -> None:
    """What was promised or under way when the backup was written has long been carried out, or has come to nothing."""
    now = timezone.now()
    OutboxMessage.objects.filter(done_at=None).update(
        done_at=now, last_error="not carried out: the institution was restored from a backup", updated_at=now
    )
    detail = "The institution was restored from a backup that was made while this was under way; start it again."
    Job.objects.filter(state__in=(Job.State.PENDING, Job.State.RUNNING)).update(
        state=Job.State.FAILED,
        finished_at=now,
        updated_at=now,
        errors=[{"pointer": "", "detail": detail, "code": "restored"}],
    )
