"""Messages that are replayed, moved or aimed: a worker does a thing once, and in the institution that it was sent from.

How a header is forged, missing or worth nothing elsewhere is in tests/security/test_task_header.py.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Task

from shared_apps.core.context import InstitutionContext, State, institution, platform
from shared_apps.core.errors import Forbidden
from shared_apps.tenants import hosts
from shared_apps.tenants.models import Tenant
from tasks.app import app
from tasks.base import HEADER, BadHeader, header_for
from tenant_apps.accounts.models import Role
from tenant_apps.eventlog import jobs
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.tasks import run_job
from tests import cast

KIND = "test.isolation.effect"


def effect(job: Job, progress: Any) -> dict[str, Any]:
    """Leaves a row wherever it runs."""
    Role.objects.create(code=f"effect-{uuid4().hex[:8]}", name="effect")
    return {}


@pytest.fixture(autouse=True)
def kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(jobs._bodies, KIND, effect)


def a_job(place: InstitutionContext) -> UUID:
    with institution(place):
        return Job.objects.create(kind=KIND, requested_by_id=cast.user_id("principal")).pk


def effects(place: InstitutionContext) -> int:
    with institution(place):
        return Role.objects.filter(code__startswith="effect-").count()


def message(place: InstitutionContext, task: Task) -> tuple[str, dict[str, str]]:
    """Id and headers of a message as the institution sends it."""
    task_id = str(uuid4())
    with institution(place):
        return task_id, header_for(task, task.name, task_id)


def deliver(task: Task, job: UUID, task_id: str, headers: dict[str, str]) -> None:
    """As a worker takes a message from the queue. Raises what the task raises."""
    task.apply(args=[str(job)], headers=headers, task_id=task_id).get()


def run_naively(job_id: str) -> None:
    """The usual body: do what the message says."""
    job = Job.objects.filter(pk=job_id).first() or Job(pk=UUID(job_id), kind=KIND)
    effect(job, None)


@pytest.fixture(params=[run_job, app.task(name="test.isolation.naive")(run_naively)], ids=["ours", "naive"])
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


def test_a_message_that_is_delivered_again_does_nothing_more(
    committed: None, greenwood: InstitutionContext, task: Task
) -> None:
    job, (task_id, headers) = a_job(greenwood), message(greenwood, task)
    for _ in range(3):
        deliver(task, job, task_id, headers)
    assert (effects(greenwood) == 1) is (task is run_job)


def test_a_job_of_another_institution_is_not_run_by_its_id(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext, task: Task
) -> None:
    """A good message of lumiere's that names greenwood's job: it is neither run there nor here."""
    job, (task_id, headers) = a_job(greenwood), message(lumiere, task)
    deliver(task, job, task_id, headers)
    assert (effects(greenwood), effects(lumiere)) == ((0, 0) if task is run_job else (0, 1))
    with institution(greenwood):
        assert Job.objects.get(pk=job).state == Job.State.PENDING


def test_a_message_from_before_a_suspension_is_worth_nothing_during_it(
    committed: None, greenwood: InstitutionContext
) -> None:
    job, (task_id, headers) = a_job(greenwood), message(greenwood, run_job)
    with platform():
        Tenant.objects.filter(pk=greenwood.id).update(state=State.SUSPENDED)
    with pytest.raises(Forbidden):
        deliver(run_job, job, task_id, headers)
    assert effects(greenwood) == 0
    with platform():
        Tenant.objects.filter(pk=greenwood.id).update(state=State.ACTIVE)
    hosts.forget()
    deliver(run_job, job, task_id, headers)
    assert effects(greenwood) == 1, "the control: it was the suspension"


WRONG: dict[str, Callable[[str, InstitutionContext, InstitutionContext], str]] = {
    "of nobody": lambda header, here, there: f"{UUID(int=0)}:{header.partition(':')[2]}",
    "of another": lambda header, here, there: f"{there.id}:{header.partition(':')[2]}",
    "cut off": lambda header, here, there: header[:-1],
    "without a signature": lambda header, here, there: f"{here.id}:",
    "without an institution": lambda header, here, there: f":{header.partition(':')[2]}",
    "in capitals": lambda header, here, there: f"{str(here.id).upper()}:{header.partition(':')[2]}",
    "by schema": lambda header, here, there: f"{here.schema_name}:{header.partition(':')[2]}",
    "twice": lambda header, here, there: f"{header}:{header}",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_header_that_was_tampered_with_runs_nothing(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext, wrong: str
) -> None:
    job, (task_id, headers) = a_job(greenwood), message(greenwood, run_job)
    with pytest.raises(BadHeader):
        deliver(run_job, job, task_id, {HEADER: WRONG[wrong](headers[HEADER], greenwood, lumiere)})
    assert (effects(greenwood), effects(lumiere)) == (0, 0)
    deliver(run_job, job, task_id, headers)
    assert effects(greenwood) == 1, "the control: the untouched one runs"
