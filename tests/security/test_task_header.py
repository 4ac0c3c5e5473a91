"""The institution of a task is proved by its message, or the body never runs."""

from typing import Any
from uuid import uuid4

import orjson
import pytest
from celery import Task
from celery.exceptions import Retry

from shared_apps.core import bus
from shared_apps.core.context import InstitutionContext, NoTenant, State, current, institution, platform
from shared_apps.core.errors import Forbidden, Gone
from shared_apps.tenants.models import Tenant
from tasks.app import app
from tasks.base import HEADER, BadHeader, header_for
from tenant_apps.accounts.models import User
from tests.tasks import bodies

ran: list[str] = []


@app.task(name="test.security.read")
def read() -> None:
    ran.append(User.objects.get(email__startswith="principal@").email)


@app.task(name="test.security.other")
def other() -> None:
    ran.append("other")


@app.task(name="test.security.naive", base=Task)
def naive() -> None:
    ran.append(f"{User.objects.count()} users in {current()}")


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    ran.clear()


def run(task: Task, header: str | None, task_id: str | None = None) -> Any:
    """As a worker runs a message with this header. Raises what the task raises."""
    headers = {} if header is None else {HEADER: header}
    return task.apply(headers=headers, task_id=task_id or str(uuid4())).get()


def signed(place: InstitutionContext, task: Task, task_id: str) -> str:
    with institution(place):
        return header_for(task, task.name, task_id)[HEADER]


def test_a_task_runs_in_the_institution_of_its_message(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    for place in (greenwood, lumiere):
        task_id = str(uuid4())
        run(read, signed(place, read, task_id), task_id)
    assert ran == ["principal@greenwood.test", "principal@lumiere.test"]
    assert current() is None


def test_where_the_worker_stood_before_makes_no_difference(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    task_id = str(uuid4())
    header = signed(lumiere, read, task_id)
    with institution(greenwood):
        run(read, header, task_id)
    assert ran == ["principal@lumiere.test"]


@pytest.mark.parametrize("header", [None, "", ":", "x:y", "public", "00000000-0000-0000-0000-000000000000:x"])
def test_a_message_without_a_good_header_is_not_run(committed: None, header: str | None) -> None:
    with pytest.raises(BadHeader, match=HEADER):
        run(read, header)
    assert ran == []


def test_a_bare_task_of_a_library_reads_nothing(committed: None) -> None:
    """Negative control of the three-state context: where a missing header means public, this would answer."""
    with pytest.raises(NoTenant):
        naive.apply().get()
    with platform(), pytest.raises(Exception, match="does not live there"):
        naive.apply().get()
    assert ran == []


def test_a_header_is_worth_nothing_for_another_institution(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    task_id = str(uuid4())
    signature = signed(greenwood, read, task_id).partition(":")[2]
    with pytest.raises(BadHeader, match="not ours"):
        run(read, f"{lumiere.id}:{signature}", task_id)
    assert ran == []


def test_a_header_is_worth_nothing_on_another_message_or_task(committed: None, greenwood: InstitutionContext) -> None:
    task_id = str(uuid4())
    header = signed(greenwood, read, task_id)
    for task, message in ((read, str(uuid4())), (other, task_id)):
        with pytest.raises(BadHeader, match="not ours"):
            run(task, header, message)
    assert ran == []


def test_an_unsigned_header_would_open_every_institution(committed: None, lumiere: InstitutionContext) -> None:
    """Negative control: the usual helper believes what the header says."""

    class Believing(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            from shared_apps.tenants import hosts

            place = hosts.by_id(self.request.headers[HEADER])
            assert place is not None
            with institution(place):
                return self.run(*args, **kwargs)

    believing = app.task(name="test.security.believing", base=Believing)(read.run)
    run(believing, str(lumiere.id))
    assert ran == ["principal@lumiere.test"]


def test_a_message_for_an_institution_that_never_was_is_not_run(committed: None, greenwood: InstitutionContext) -> None:
    from dataclasses import replace

    task_id = str(uuid4())
    with pytest.raises(BadHeader, match="does not exist"):
        run(read, signed(replace(greenwood, id=uuid4()), read, task_id), task_id)


@pytest.mark.parametrize(
    ("state", "refusal"), [(State.SUSPENDED, Forbidden), (State.READ_ONLY, Forbidden), (State.ARCHIVED, Gone)]
)
def test_a_message_for_an_institution_that_is_not_served_is_not_run(
    committed: None, greenwood: InstitutionContext, state: State, refusal: type[Exception]
) -> None:
    task_id = str(uuid4())
    header = signed(greenwood, read, task_id)
    with platform():
        Tenant.objects.filter(pk=greenwood.id).update(state=state)
    with pytest.raises(refusal):
        run(read, header, task_id)
    assert ran == []


# Sending


def messages() -> list[dict[str, Any]]:
    """What lies in the queue, oldest first."""
    return [orjson.loads(raw) for raw in reversed(bus.client().lrange("celery", 0, -1))]


def test_every_way_of_sending_signs_the_message(committed: None, greenwood: InstitutionContext) -> None:
    with institution(greenwood):
        read.delay()
        read.apply_async(countdown=0)
        read.s().apply_async()
        (read.si() | other.si()).apply_async()
        app.send_task("test.security.read")
        app.send_task("a.name.that.this.process.does.not.know")
    sent = messages()
    assert len(sent) == 6
    for message in sent:
        assert message["headers"][HEADER].startswith(f"{greenwood.id}:")


def test_a_task_sent_outside_of_an_institution_is_refused_at_once(committed: None) -> None:
    with pytest.raises(NoTenant, match=r"test\.security\.read"):
        read.delay()
    with platform(), pytest.raises(NoTenant):
        read.delay()
    assert messages() == []


def test_a_platform_task_says_so_by_name_and_carries_no_institution(
    committed: None, greenwood: InstitutionContext
) -> None:
    with institution(greenwood):
        bodies.on_the_platform.delay("key")
    assert HEADER not in messages()[0]["headers"]


def test_a_retry_carries_the_header(committed: None, greenwood: InstitutionContext) -> None:
    task_id = str(uuid4())
    header = signed(greenwood, bodies.retries, task_id)
    task = bodies.retries
    with institution(greenwood):
        task.push_request(id=task_id, headers={HEADER: header}, called_directly=False, retries=0, args=["key"])
        try:
            with pytest.raises(Retry):
                task.retry(args=["key"], countdown=0)
        finally:
            task.pop_request()
    (message,) = messages()
    assert message["headers"][HEADER] == header
    assert (message["headers"]["id"], message["headers"]["retries"]) == (task_id, 1)


@pytest.mark.parametrize("way", [lambda: read.map([1]), lambda: read.starmap([(1,)]), lambda: read.chunks([(1,)], 1)])
def test_the_ways_that_would_lose_the_header_are_refused(way: Any) -> None:
    with pytest.raises(NotImplementedError, match="headers"):
        way()
