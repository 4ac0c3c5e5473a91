"""Real workers: what they know when a task begins, and what is left when they are killed."""

import time
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from shared_apps.core.context import InstitutionContext, institution, platform
from tasks.app import LyceumCelery, app
from tenant_apps.accounts.models import Role
from tenant_apps.eventlog import jobs, outbox, services
from tenant_apps.eventlog.models import Job, OutboxMessage
from tests import cast
from tests.api import nobody
from tests.tasks import bodies, workers
from tests.tasks.mailbox import mailbox


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_killed_worker_loses_and_doubles_nothing(committed: None, greenwood: InstitutionContext) -> None:
    began = time.monotonic()
    with institution(greenwood):
        job = services.start_job(kind="test.blocks_once", parameters={}, requested_by=cast.user_id("principal"))
        outbox.carry_out()

        def lock_is_free() -> bool:
            with transaction.atomic():
                return jobs.take_lock(job.pk)

        def state() -> str:
            return Job.objects.get(pk=job.pk).state

        with workers.worker() as doomed:
            assert workers.reached(job.pk) == "in the middle"
            # The window: claimed and visible, written and not committed, the lock held by a live transaction.
            assert (state(), Role.objects.filter(code="effect").count(), lock_is_free()) == ("running", 0, False)
            assert services.sweep_jobs() == 0, "while the worker lives, its job is left alone"
            workers.kill(doomed)
        until(lock_is_free)
        assert (state(), Role.objects.filter(code="effect").count()) == ("running", 0), (
            "stuck, were it not for the sweep"
        )
        with workers.relay(), workers.worker():
            assert workers.reached(job.pk) == "in the middle"
            until(lambda: state() == "succeeded")
        job.refresh_from_db()
        assert (job.result, job.attempts, job.progress) == ({"attempt": 2}, 2, 100)
        assert Role.objects.filter(code="effect").count() == 1
    print(f"killed, swept and done again in {time.monotonic() - began:.1f} s")


def test_a_worker_stands_where_the_message_says_and_nowhere_else(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    with workers.worker():
        for place in (greenwood, lumiere, greenwood):
            with institution(place):
                bodies.who_am_i.delay(place.slug)
            assert workers.reached(place.slug) == f"principal@{place.slug}.test"
        with institution(lumiere):
            bodies.retries.delay("retry")
            bodies.who_am_i.delay("by name")
            app.send_task("test.who_am_i", ["sent by name"])
        assert [workers.reached("retry"), workers.reached("retry")] == ["principal@lumiere.test"] * 2
        assert workers.reached("sent by name") == "principal@lumiere.test"
        with institution(greenwood):
            bodies.on_the_platform.delay("platform")
        assert workers.reached("platform") == "platform"
        # A message of somebody else's making: Celery's own way to send, without our header.
        with platform():
            super(LyceumCelery, app).send_task("test.who_am_i", ["forged"])
            super(LyceumCelery, app).send_task("test.bare", ["bare"])
        assert workers.reached("bare") == "NoTenant"
        with institution(greenwood):
            bodies.who_am_i.delay("after")
        assert workers.reached("after") == "principal@greenwood.test"
        with pytest.raises(AssertionError, match="nothing was reported"):
            workers.reached("forged", seconds=0.2)
    connection.close()


def test_a_letter_is_handed_from_relay_to_worker_and_sent(
    committed: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mailbox() as server:
        monkeypatch.setenv("EMAIL_URL", server.url)
        asked = nobody(greenwood).post("/api/v1/auth/password-reset/", {"email": "teacher@greenwood.test"})
        assert asked.status_code == 202, asked.content
        with workers.relay(), workers.worker():
            letter = server.letters.get(timeout=20)
            with institution(greenwood):
                until(lambda: not OutboxMessage.objects.filter(done_at=None).exists())
    assert "\nTo: teacher@greenwood.test\n" in letter.replace("\r", "")
    assert "https://greenwood.localhost/api/v1/auth/password-reset/confirm/" in letter
