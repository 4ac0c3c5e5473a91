"""Jobs in turn: an institution has as many at once as its limit says, and nobody waits behind another's fifty."""

from collections import deque
from typing import Any

import pytest
from django.db import connection

from shared_apps.core import quotas
from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, current_institution, institution
from tenant_apps.eventlog import jobs, outbox, services
from tenant_apps.eventlog.jobs import Progress, SecondConnection
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.tasks import run_job
from tests.limited import limited

KIND = "test.turns"
Message = tuple[InstitutionContext, str]


class Queue(deque[Message]):
    """In place of the broker: one line for all institutions."""

    def send(self, job_id: str) -> None:
        self.append((current_institution(), job_id))


@pytest.fixture
def queue(committed: None, monkeypatch: pytest.MonkeyPatch) -> Queue:
    found = Queue()
    monkeypatch.setattr(run_job, "delay", found.send)
    monkeypatch.setitem(jobs._bodies, KIND, lambda job, progress: None)
    return found


def start(place: InstitutionContext, number: int) -> list[str]:
    """Starts so many and lets the relay come by."""
    with institution(place), acting(command("test")):
        started = [str(services.start_job(kind=KIND, parameters={}, requested_by=None).pk) for _ in range(number)]
        outbox.carry_out(most=number * 3)
        return started


def work(queue: Queue) -> Message:
    """A worker takes the first message; then the relay comes by."""
    place, job_id = queue.popleft()
    with institution(place), acting(command("test")):
        jobs.run(job_id)  # type: ignore[arg-type]
        outbox.carry_out()
    return place, job_id


def states(place: InstitutionContext) -> dict[str, int]:
    with institution(place):
        return {state: Job.objects.filter(state=state).count() for state in ("pending", "running", "succeeded")}


def waits_behind(queue: Queue, busy: InstitutionContext, other: InstitutionContext) -> int:
    """How many of the busy one's jobs are done before the other's only one."""
    start(busy, 50)
    (mine,) = start(other, 1)
    for turn in range(60):
        if work(queue)[1] == mine:
            return turn
    raise AssertionError("it was never its turn")


def test_an_institution_with_fifty_jobs_keeps_another_s_waiting_no_longer_than_its_own_limit(
    queue: Queue, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    busy = limited(greenwood, concurrent_jobs=2)
    assert waits_behind(queue, busy, limited(lumiere, concurrent_jobs=2)) == 2
    while queue:
        work(queue)
    assert states(busy) == {"pending": 0, "running": 0, "succeeded": 50}


def test_without_a_limit_it_would_wait_behind_all_fifty(
    queue: Queue, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    """Negative control."""
    assert waits_behind(queue, limited(greenwood), limited(lumiere)) == 50


def test_the_oldest_go_first_and_the_others_wait_as_pending(queue: Queue, greenwood: InstitutionContext) -> None:
    here = limited(greenwood, concurrent_jobs=3)
    started = start(here, 5)
    assert [job_id for _, job_id in queue] == started[:3]
    assert states(here)["pending"] == 5
    assert work(queue)[1] == started[0]
    assert [job_id for _, job_id in queue] == started[1:4]


def test_no_more_run_at_once_than_there_are_slots_however_many_messages_there_are(
    queue: Queue, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = limited(greenwood, concurrent_jobs=2)
    started = start(limited(greenwood), 4)  # an unlimited sender, as when the limit has just been lowered
    most, depth = [], []

    def nested(job: Job, progress: Progress) -> None:
        """While this one runs, another worker takes the next message."""
        depth.append(1)
        most.append(len(depth))
        if queue:
            other = SecondConnection()
            other.run(jobs.run, queue.popleft()[1]).result()
            other.close()
        depth.pop()

    monkeypatch.setitem(jobs._bodies, KIND, nested)
    with institution(here), acting(command("test")):
        jobs.run(queue.popleft()[1])  # type: ignore[arg-type]
    assert max(most) == 2
    assert states(here) == {"pending": 2, "running": 0, "succeeded": 2}
    with institution(here), acting(command("test")):
        assert Job.objects.waiting().count() == 1, "the one that found no slot waits to be sent again"
        outbox.carry_out()
    assert {job_id for _, job_id in queue} == set(started[2:])
    assert quotas.limits_of(here).concurrent_jobs == 2


def test_a_cancelled_job_makes_room(queue: Queue, greenwood: InstitutionContext) -> None:
    here = limited(greenwood, concurrent_jobs=1)
    first, second = start(here, 2)
    with institution(here), acting(command("test")):
        services.cancel_job(job=Job.objects.get(pk=first))
        outbox.carry_out()
    assert [job_id for _, job_id in queue] == [first, second]


def test_the_sweep_sends_what_everybody_forgot_and_no_more_than_the_limit(
    queue: Queue, greenwood: InstitutionContext
) -> None:
    here = limited(greenwood, concurrent_jobs=2)
    with institution(here), acting(command("test")):
        for _ in range(3):
            services.start_job(kind=KIND, parameters={}, requested_by=None)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM eventlog_outboxmessage")
            cursor.execute("UPDATE eventlog_job SET created_at = created_at - interval '1 minute'")
        assert services.sweep_jobs() == 2
        assert services.sweep_jobs() == 0
    assert len(queue) == 2


def test_a_statement_that_takes_too_long_fails_the_job_and_says_so(
    queue: Queue, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "JOB_PATIENCE", 1)

    def slow(job: Job, progress: Progress) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")

    monkeypatch.setitem(jobs._bodies, KIND, slow)
    here = limited(greenwood, statement_seconds=1)
    (started,) = start(here, 1)
    work(queue)
    with institution(here):
        job = Job.objects.get(pk=started)
    assert (job.state, job.attempts, job.errors[0]["code"]) == ("failed", 1, "took_too_long")
