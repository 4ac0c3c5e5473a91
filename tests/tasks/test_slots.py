"""A worker that is killed frees the slot of its institution with its job."""

from collections.abc import Iterator

import pytest

from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.tenants.models import Tenant
from tenant_apps.eventlog import outbox, services
from tenant_apps.eventlog.models import Job
from tests import cast
from tests.limited import limited
from tests.tasks import bodies, workers
from tests.tasks.test_workers import until


@pytest.fixture
def one_at_a_time(committed: None, greenwood: InstitutionContext) -> Iterator[InstitutionContext]:
    """Greenwood with one slot, as the workers read it too."""

    def write(entitlements: dict[str, int]) -> None:
        with platform():
            Tenant.objects.filter(pk=greenwood.id).update(entitlements=entitlements)

    write({"concurrent_jobs": 1})
    yield limited(greenwood, concurrent_jobs=1)
    write({})


def test_a_killed_worker_frees_its_slot_for_the_job_that_waits(one_at_a_time: InstitutionContext) -> None:
    with institution(one_at_a_time):
        first, second = (
            services.start_job(kind=kind, parameters={}, requested_by=cast.user_id("principal"))
            for kind in ("test.blocks_once", bodies.TELLS)
        )
        outbox.carry_out()
        with workers.worker() as doomed:
            assert workers.reached(first.pk) == "in the middle"
            # The window: the only slot is a live worker's, and the second job waits for it.
            states = [Job.objects.get(pk=job.pk).state for job in (first, second)]
            assert (states, Job.objects.waiting().count(), services.dispatch()) == (["running", "pending"], 1, 0)
            workers.kill(doomed)
        with workers.relay(), workers.worker():
            assert workers.reached(first.pk) == "in the middle"
            until(lambda: Job.objects.filter(state="succeeded").count() == 2)
