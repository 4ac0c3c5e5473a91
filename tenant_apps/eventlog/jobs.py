"""How a worker runs a job: the body's writes and `succeeded` are one commit, and no job stays stuck.

An institution has as many running at once as its limits say; the others wait as pending (`services.dispatch`).

Rooms register a body for a kind; it must be imported from the room's `apps.py`:

    @job("interop.roster_import")
    def import_roster(job: Job, progress: Progress) -> dict[str, Any]: ...
"""

import contextvars
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import F
from django.utils import timezone

from shared_apps.core.actors import Actor, ActorKind, acting
from shared_apps.core.context import current_institution
from shared_apps.core.errors import Conflict, NotFound, Problem
from shared_apps.core.problems import as_problem, was_cancelled
from shared_apps.core.publish import publish
from shared_apps.core.quotas import limits_of
from shared_apps.tenants import hosts
from shared_apps.tenants.middleware import gate
from tenant_apps.eventlog import frames
from tenant_apps.eventlog.models import Job

LOCK_SPACE = 7203  # of advisory locks; create_institution uses 7202
SLOT_SPACE = 7206
PROGRESS_SECONDS = 0.3
log = structlog.get_logger(__name__)


class Cancelled(Exception):
    """Raised by `Progress.check` when somebody asked the job to stop."""


class JobFailed(Exception):
    """The job could not do its work, and has findings to keep: the body's writes are rolled back, these are stored.

    `errors` are places as in a problem answer; `result` is what `succeeded` would have stored.
    """

    def __init__(self, errors: list[dict[str, Any]], result: dict[str, Any] | None = None) -> None:
        super().__init__(errors[0]["detail"] if errors else "The job failed.")
        self.errors = errors
        self.result = result


Body = Callable[[Job, "Progress"], dict[str, Any] | None]
After = Callable[[Job], None]
_bodies: dict[str, Body] = {}
_afters: dict[str, After] = {}


def job(kind: str, *, after: After | None = None) -> Callable[[Body], Body]:
    """Register the body of a kind of job; `after` is called once the end of a job, good or bad, is committed."""

    def register(body: Body) -> Body:
        if kind in _bodies:
            raise ValueError(f"The job kind {kind!r} has a body already.")
        _bodies[kind] = body
        if after is not None:
            _afters[kind] = after
        return body

    return register


def body_of(kind: str) -> Body:
    """The body of a kind. Raises ValueError when no room has registered one."""
    try:
        return _bodies[kind]
    except KeyError:
        raise ValueError(f"No room has registered a body for jobs of kind {kind!r}.") from None


class SecondConnection:
    """A thread with its own connection to the same institution, for what must be seen before the body commits."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lyceum-job")

    def run(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        return self._thread.submit(contextvars.copy_context().run, function, *arguments)

    def close(self) -> None:
        """Wait for what was handed over, then let the connection go."""
        self._thread.submit(lambda: connection.close())  # looked up there: the proxy leads each thread to its own
        self._thread.shutdown()


class Progress:
    """Tells the requester how far a running job is, at most every 0.3 s, whatever the body's transaction does."""

    def __init__(self, job: Job, beside: SecondConnection) -> None:
        self._job_id = job.pk
        self._requested_by = job.requested_by_id
        self._beside = beside
        self._shown: tuple[int, str] = (0, "")
        self._next_look = 0.0
        self._pending: Future[Any] | None = None
        self._cancelled = False
        self._refusal: Problem | None = None

    def __call__(self, percent: float, step: str = "") -> None:
        """Show `percent` (0 to 100) and what is being done. Goes back never; numbers outside are cut."""
        self._shown = (max(self._shown[0], min(100, int(percent))), step[:200] or self._shown[1])
        self._look()

    def check(self) -> None:
        """Raise Cancelled when somebody has asked the job to stop (seen within about half a second), and the gate's
        problem when the institution is not served any more, or only read."""
        self._look()
        if self._cancelled:
            raise Cancelled
        if self._refusal is not None:
            raise self._refusal

    def last(self) -> tuple[int, str]:
        """What was shown last, once nothing is on its way any more: the job's row may be locked from here on."""
        if self._pending is not None:
            self._pending.result()
        return self._shown

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._next_look or (self._pending is not None and not self._pending.done()):
            return
        self._next_look = now + PROGRESS_SECONDS
        self._pending = self._beside.run(self._store, *self._shown)

    def _store(self, percent: int, step: str) -> None:
        """On the second connection. Trouble here must not fail the job: the next look tries again."""
        try:
            running = Job.objects.running().filter(pk=self._job_id)
            running.update(progress=percent, step=step, updated_at=timezone.now())
            self._cancelled = running.filter(cancel_requested_at__isnull=False).exists()
            self._refusal = refusal()
        except Exception as error:  # noqa: BLE001 - see above
            connection.close()
            log.warning("job_progress_not_stored", job=str(self._job_id), error=repr(error))
            return
        if self._requested_by:
            frames.push(self._requested_by, frame(self._job_id, Job.State.RUNNING, percent, step))


def refusal() -> Problem | None:
    """Why what a job has written here must not be kept, None when it may be; read afresh."""
    here = current_institution()
    now = hosts.by_id(str(here.id))
    if now is None:
        return NotFound("The institution is gone.")
    if now.schema_name != here.schema_name:
        return Conflict("The institution was restored while this was under way; start it again.", code="restored")
    return gate(now, writes=True)


def frame(job_id: UUID, state: str, percent: int, step: str) -> dict[str, Any]:
    """The frame that tells of a job: without `seq`, since only the latest one matters."""
    return {"type": "job", "data": {"id": str(job_id), "state": str(state), "progress": percent, "step": step}}


def tell(job: Job) -> None:
    """Send the requester's sockets how the job stands."""
    if job.requested_by_id:
        frames.push(job.requested_by_id, frame(job.pk, job.state, job.progress, job.step))


def announce(job: Job) -> None:
    """Once how the job stands is committed, tell its requester; of one that has ended, also whoever waits for that.

    In a transaction: that one has ended lets the relay send the next."""
    if job.finished_at is not None:
        publish("job", {"job": str(job.pk)}, key=f"job-ended:{job.pk}")
    transaction.on_commit(lambda: tell(job), robust=True)
    after = _afters.get(job.kind)
    if after is not None and job.finished_at is not None:
        transaction.on_commit(lambda: after(job), robust=True)


def take_lock(job_id: UUID) -> bool:
    """Take the lock that a running job holds until its transaction ends; False when another transaction has it.

    The server frees it together with the connection of a worker that died: that is how the sweep knows.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, %s))", [str(job_id), LOCK_SPACE])
        return bool(cursor.fetchone()[0])


def take_slot() -> bool:
    """Take one of the slots in which this institution's jobs run, until the transaction ends; False when all are taken.

    A worker that dies frees its slot as it frees its job: the locks are its connection's.
    """
    most = limits_of(current_institution()).concurrent_jobs
    if most is None:
        return True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM generate_series(1, %s) AS slot"
            " WHERE pg_try_advisory_xact_lock(hashtextextended(%s || slot, %s)))",
            [most, f"{current_institution().id} ", SLOT_SPACE],
        )
        return bool(cursor.fetchone()[0])


def _claim(job_id: UUID) -> bool:
    """pending -> running, visible to everybody at once. One of several workers wins."""
    pending = Job.objects.filter(pk=job_id, state=Job.State.PENDING)
    return bool(
        pending.update(state=Job.State.RUNNING, attempts=F("attempts") + 1, started_at=timezone.now(), progress=0)
    )


def run(job_id: UUID) -> None:
    """Run a pending job. Does nothing when it isn't pending (a repeated queue message) or another worker has it; one
    that finds no free slot goes back to those that wait to be sent."""
    beside = SecondConnection()
    try:
        with transaction.atomic():
            # The lock comes before the claim: `running` with a free lock always means that the worker died.
            if not take_lock(job_id):
                return
            if not take_slot():
                Job.objects.filter(pk=job_id, state=Job.State.PENDING).update(sent_at=None)
                return
            if not beside.run(_claim, job_id).result():
                return
            job = Job.objects.get(pk=job_id)
            structlog.contextvars.bind_contextvars(job=str(job_id), kind=job.kind)
            with acting(Actor(ActorKind.TASK, job.kind, user_id=job.requested_by_id)):
                _run_body(job, beside)
    finally:
        structlog.contextvars.unbind_contextvars("job", "kind")
        beside.close()


def _run_body(job: Job, beside: SecondConnection) -> None:
    """The body in a savepoint, under the lock; a failure rolls the body back and is stored by the same commit."""
    progress = Progress(job, beside)
    try:
        with transaction.atomic():
            job.result = body_of(job.kind)(job, progress)
            refused = refusal()
            if refused is not None:
                raise refused
            job.state = Job.State.SUCCEEDED
            _finish(job, progress)
    except (OperationalError, InterfaceError) as error:
        if was_cancelled(error):  # a statement that takes too long takes as long the next time
            _fail(job, error, progress)
            return
        # The database is away, or chose this transaction to give way: nothing is the job's fault. It stays `running`
        # with a free lock, and the sweep hands it to a worker again, as often as one that died.
        raise
    except Exception as error:  # noqa: BLE001 - whatever happened, the job must say so
        _fail(job, error, progress)


def _fail(job: Job, error: Exception, progress: Progress) -> None:
    job.result = None
    _explain(job, error)
    _finish(job, progress)


def _finish(job: Job, progress: Progress) -> None:
    job.progress, job.step = progress.last()
    if job.state == Job.State.SUCCEEDED:
        job.progress = 100
    job.finished_at = timezone.now()
    job.save(update_fields=("state", "progress", "step", "result", "errors", "finished_at", "updated_at"))
    announce(job)


def _explain(job: Job, error: Exception) -> None:
    """State and errors for what the body raised."""
    job.state = Job.State.FAILED
    # A refusal by the database is a defect here: no one sent the value that it refuses.
    problem = None if isinstance(error, DatabaseError) and not was_cancelled(error) else as_problem(error)
    if isinstance(error, Cancelled):
        job.state = Job.State.CANCELLED
    elif isinstance(error, JobFailed):
        job.errors, job.result = error.errors, error.result
    elif problem is not None:
        job.errors = problem.errors or [{"pointer": "", "detail": problem.detail, "code": problem.code}]
    else:
        log.error("job_defect", exc_info=error)
        detail = f"Something went wrong on our side; quote job {job.pk} to support."
        job.errors = [{"pointer": "", "detail": detail, "code": "internal_error"}]
