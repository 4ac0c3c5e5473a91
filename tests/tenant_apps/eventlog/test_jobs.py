"""Jobs: their writes and their success are one commit, they tell how far they are, and none stays stuck."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.errors import Conflict, Invalid
from shared_apps.tenants.models import Tenant
from tenant_apps.accounts.models import Role
from tenant_apps.eventlog import frames, jobs, outbox, services
from tenant_apps.eventlog.jobs import JobFailed, Progress
from tenant_apps.eventlog.models import Job, OutboxMessage
from tenant_apps.eventlog.tasks import run_job
from tenant_apps.interop.models import RosterImport
from tenant_apps.interop.services import purge_imports
from tests import cast

Body = Callable[[Job, Progress], dict[str, Any] | None]
Start = Callable[[Body], Job]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of jobs handed to the queue."""
    queue: list[str] = []
    monkeypatch.setattr(run_job, "delay", queue.append)
    return queue


@pytest.fixture
def start(committed: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch, sent: list[str]) -> Start:
    """Starts a job of the teacher's with this body."""

    def starter(body: Body) -> Job:
        monkeypatch.setitem(jobs._bodies, "test", body)
        return services.start_job(kind="test", parameters={"n": 1}, requested_by=cast.user_id("teacher"))

    return starter


@pytest.fixture(autouse=True)
def in_greenwood(greenwood: InstitutionContext) -> Any:
    with institution(greenwood):
        yield


def effect() -> None:
    Role.objects.create(code="effect", name="effect")


def effects() -> int:
    return Role.objects.filter(code="effect").count()


def finished(job: Job) -> Job:
    jobs.run(job.pk)
    job.refresh_from_db()
    return job


def test_a_job_is_sent_to_the_queue_by_the_relay_after_its_commit(start: Start, sent: list[str]) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        start(lambda job, progress: None)
        raise ZeroDivisionError
    job = start(lambda job, progress: None)
    assert (job.state, sent) == ("pending", [])
    outbox.carry_out()
    assert sent == [str(job.pk)]


def test_a_kind_without_a_body_is_refused_at_the_start(committed: None) -> None:
    with pytest.raises(ValueError, match="made-up"):
        services.start_job(kind="made-up", parameters={}, requested_by=None)


def test_a_job_keeps_its_result_and_its_writes(start: Start) -> None:
    def body(job: Job, progress: Progress) -> dict[str, Any]:
        effect()
        return {"n": job.parameters["n"] + 1}

    job = finished(start(body))
    assert (job.state, job.progress, job.result, job.attempts, effects()) == ("succeeded", 100, {"n": 2}, 1, 1)
    assert job.started_at <= job.finished_at


def test_a_refusal_fails_the_job_with_its_places_and_takes_its_writes_back(start: Start) -> None:
    def body(job: Job, progress: Progress) -> None:
        effect()
        raise Invalid.at("/file", "This is no zip.", code="not_a_zip")

    job = finished(start(body))
    assert (job.state, job.result, effects()) == ("failed", None, 0)
    assert job.errors == [{"pointer": "/file", "detail": "This is no zip.", "code": "not_a_zip"}]


def test_a_defect_fails_the_job_and_says_nothing_of_the_inside(start: Start) -> None:
    def body(job: Job, progress: Progress) -> None:
        effect()
        raise KeyError("secret column")

    job = finished(start(body))
    assert (job.state, job.errors[0]["code"], effects()) == ("failed", "internal_error", 0)
    assert str(job.pk) in job.errors[0]["detail"]
    assert "secret" not in job.errors[0]["detail"]


def test_a_result_that_cannot_be_stored_fails_the_job(start: Start) -> None:
    def body(job: Job, progress: Progress) -> dict[str, Any]:
        effect()
        return {"text": "\x00"}

    job = finished(start(body))
    assert (job.state, job.errors[0]["code"], effects()) == ("failed", "internal_error", 0)


def test_a_job_that_fails_may_keep_its_findings(start: Start) -> None:
    findings = [{"file": "users.csv", "line": 7, "detail": "Bad date.", "code": "bad_date"}]

    def body(job: Job, progress: Progress) -> None:
        effect()
        raise JobFailed(findings, {"users": 12})

    job = finished(start(body))
    assert (job.state, job.errors, job.result, effects()) == ("failed", findings, {"users": 12}, 0)


def test_progress_is_seen_while_the_writes_are_not(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PROGRESS_SECONDS", 0.0)
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(frames, "push", lambda user, frame: told.append(frame["data"]))
    seen = {}

    def look() -> None:
        seen.update(Job.objects.values("state", "progress", "step").get(), effects=effects())

    def body(job: Job, progress: Progress) -> None:
        effect()
        progress(40, "Writing students")
        beside = jobs.SecondConnection()
        deadline = time.monotonic() + 5
        while seen.get("progress") != 40 and time.monotonic() < deadline:
            beside.run(look).result()
        beside.close()
        progress(30)

    job = finished(start(body))
    assert seen == {"state": "running", "progress": 40, "step": "Writing students", "effects": 0}
    assert (job.state, effects()) == ("succeeded", 1)
    assert {"id": str(job.pk), "state": "running", "progress": 40, "step": "Writing students"} in told
    assert told[-1] == {"id": str(job.pk), "state": "succeeded", "progress": 100, "step": "Writing students"}
    assert [frame["progress"] for frame in told] == sorted(frame["progress"] for frame in told)


def test_progress_is_told_at_most_every_third_of_a_second(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(frames, "push", lambda user, frame: told.append(frame))

    def body(job: Job, progress: Progress) -> None:
        for step in range(2000):
            progress(step / 20)
            progress.check()

    began = time.monotonic()
    finished(start(body))
    assert len(told) <= 2 + (time.monotonic() - began) / jobs.PROGRESS_SECONDS


def test_a_pending_job_is_cancelled_at_once_and_never_runs(start: Start) -> None:
    job = services.cancel_job(job=start(lambda job, progress: effect()))
    assert job.state == "cancelled"
    assert (finished(job).state, effects()) == ("cancelled", 0)


def test_a_running_job_stops_at_its_next_check_and_takes_its_writes_back(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PROGRESS_SECONDS", 0.01)

    def body(job: Job, progress: Progress) -> None:
        effect()
        beside = jobs.SecondConnection()
        beside.run(lambda: services.cancel_job(job=Job.objects.get())).result()
        beside.close()
        for _ in range(500):
            progress.check()
            time.sleep(0.01)
        raise AssertionError("It was never told.")

    job = finished(start(body))
    assert (job.state, job.errors, effects()) == ("cancelled", [], 0)


def test_a_cancellation_that_is_rolled_back_is_told_to_nobody(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(frames, "push", lambda user_id, frame: told.append(frame["data"]["state"]))
    job = start(lambda job, progress: None)
    with transaction.atomic():
        services.cancel_job(job=job)
        transaction.set_rollback(True)
    assert told == []
    # Negative control: one that is committed is told.
    services.cancel_job(job=job)
    assert told == ["cancelled"]


def test_a_job_that_has_ended_cannot_be_cancelled(start: Start) -> None:
    job = finished(start(lambda job, progress: None))
    with pytest.raises(Conflict):
        services.cancel_job(job=job)


def run_carelessly(job_id: Any) -> None:
    """The naive worker: looks, then runs."""
    job = Job.objects.get(pk=job_id)
    if job.state == "pending":
        jobs.body_of(job.kind)(job, None)
        Job.objects.filter(pk=job_id).update(state="succeeded")


@pytest.mark.parametrize(("run", "times"), [(jobs.run, 1), (run_carelessly, 3)], ids=["ours", "a careless worker"])
def test_a_job_whose_message_comes_three_times_runs_once(
    start: Start, greenwood: InstitutionContext, run: Callable[[Any], None], times: int
) -> None:
    ran = []

    def body(job: Job, progress: Progress) -> None:
        ran.append(job.pk)
        time.sleep(0.3)

    job = start(body)
    together = threading.Barrier(3)

    def worker() -> None:
        with institution(greenwood):
            together.wait()
            run(job.pk)
        connection.close()

    workers = [threading.Thread(target=worker) for _ in range(3)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    assert len(ran) == times
    run(job.pk)
    assert len(ran) == times


# The sweep


def as_if_its_worker_had_died(job: Job, attempts: int = 1) -> None:
    Job.objects.filter(pk=job.pk).update(state="running", attempts=attempts, progress=40, started_at=timezone.now())


def test_a_running_job_without_a_worker_is_sent_again(start: Start, sent: list[str]) -> None:
    job = start(lambda job, progress: {"done": True})
    as_if_its_worker_had_died(job)
    assert services.sweep_jobs() == 1
    job.refresh_from_db()
    assert (job.state, job.progress, sent) == ("pending", 0, [str(job.pk)])
    assert (finished(job).state, job.attempts) == ("succeeded", 2)


def test_a_job_that_lost_three_workers_fails_and_says_so(start: Start, sent: list[str]) -> None:
    job = start(lambda job, progress: None)
    as_if_its_worker_had_died(job, attempts=3)
    services.sweep_jobs()
    job.refresh_from_db()
    assert (job.state, job.errors[0]["code"], sent) == ("failed", "worker_lost", [])
    assert job.finished_at is not None


def test_a_cancelled_job_whose_worker_died_is_not_run_again(start: Start, sent: list[str]) -> None:
    job = start(lambda job, progress: None)
    as_if_its_worker_had_died(job)
    services.cancel_job(job=job)
    services.sweep_jobs()
    job.refresh_from_db()
    assert (job.state, sent) == ("cancelled", [])


def sweep_by_age() -> None:
    """The naive sweep: whatever runs for long must be dead."""
    Job.objects.filter(state="running", started_at__lt=timezone.now() - timedelta(seconds=0.1)).update(state="pending")


@pytest.mark.parametrize(
    ("sweep", "state"), [(services.sweep_jobs, "running"), (sweep_by_age, "pending")], ids=["ours", "a sweep by age"]
)
def test_a_slow_job_that_lives_is_left_alone(start: Start, sweep: Callable[[], Any], state: str) -> None:
    seen = []

    def body(job: Job, progress: Progress) -> None:
        time.sleep(0.2)
        beside = jobs.SecondConnection()
        beside.run(sweep).result()
        seen.append(beside.run(lambda: Job.objects.get(pk=job.pk).state).result())
        beside.close()

    assert finished(start(body)).state == "succeeded"
    assert seen == [state]


def test_a_pending_job_whose_message_was_lost_is_sent_again_ever_more_rarely(start: Start, sent: list[str]) -> None:
    job = start(lambda job, progress: None)
    now = timezone.now()
    created_at = now - timedelta(seconds=100)
    Job.objects.filter(pk=job.pk).update(created_at=created_at)
    waits = {timedelta(seconds=5): False, timedelta(seconds=40): False, timedelta(seconds=60): True}
    for since, expected in waits.items():
        Job.objects.filter(pk=job.pk).update(sent_at=now - since)
        sent.clear()
        services.sweep_jobs()
        assert bool(sent) is expected, since


def test_finished_messages_and_old_events_are_forgotten(inside: InstitutionContext) -> None:
    OutboxMessage.objects.create(topic="old", done_at=timezone.now() - timedelta(days=8))
    OutboxMessage.objects.create(topic="waiting")
    cutoff = timezone.now() - timedelta(days=7)
    services.purge(events_before=cutoff, messages_before=cutoff, jobs_before=cutoff)
    assert [message.topic for message in OutboxMessage.objects.all()] == ["waiting"]


def test_ended_jobs_are_forgotten_unless_a_record_needs_them(inside: InstitutionContext) -> None:
    long_ago, cutoff = timezone.now() - timedelta(days=91), timezone.now() - timedelta(days=90)
    states = {"ended": long_ago, "needed": long_ago, "young": timezone.now(), "running": None}
    made = {name: Job.objects.create(kind=name, state="running", finished_at=at) for name, at in states.items()}
    RosterImport.objects.create(job=made["needed"], file_name="roster.zip", stored_path="x", size=1, sha256="0" * 64)
    services.purge(events_before=cutoff, messages_before=cutoff, jobs_before=cutoff)
    assert set(Job.objects.values_list("kind", flat=True)) == {"needed", "young", "running"}
    purge_imports(before=long_ago - timedelta(days=1))
    assert RosterImport.objects.count() == 1
    purge_imports(before=cutoff)
    assert (RosterImport.objects.count(), Job.objects.filter(kind="needed").exists()) == (0, False)


def becomes(context: InstitutionContext, **values: str) -> None:
    """Somebody else changes the institution's row, and has committed it."""

    def change() -> None:
        with platform():
            Tenant.objects.filter(pk=context.id).update(**values)
            connection.close()

    other = threading.Thread(target=change)
    other.start()
    other.join()


@pytest.mark.parametrize(("state", "code"), [("read_only", "read_only"), ("suspended", "suspended")])
def test_a_job_that_runs_while_writes_are_stopped_keeps_nothing(
    start: Start, greenwood: InstitutionContext, state: str, code: str
) -> None:
    def body(job: Job, progress: Progress) -> None:
        effect()
        becomes(greenwood, state=state)

    job = finished(start(body))
    assert (job.state, job.errors[0]["code"], effects()) == ("failed", code, 0)
    becomes(greenwood, state="active")
    assert (finished(start(lambda job, progress: effect())).state, effects()) == ("succeeded", 1), "negative control"


def test_a_job_notices_on_its_way_that_writes_are_stopped(start: Start, greenwood: InstitutionContext) -> None:
    def body(job: Job, progress: Progress) -> None:
        becomes(greenwood, state="suspended")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            progress.check()
            time.sleep(0.05)

    assert finished(start(body)).errors[0]["code"] == "suspended"


def test_a_job_of_a_schema_that_a_restore_has_put_aside_keeps_nothing(
    start: Start, greenwood: InstitutionContext
) -> None:
    def body(job: Job, progress: Progress) -> None:
        effect()
        becomes(greenwood, schema_name="t_another")

    job = finished(start(body))
    becomes(greenwood, schema_name=greenwood.schema_name)
    assert (job.state, job.errors[0]["code"], effects()) == ("failed", "restored", 0)
