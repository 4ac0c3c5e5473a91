"""A nightly report from the clock to the socket: beat's task, worker, job, outbox, relay, realtime process."""

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from shared_apps.core.context import InstitutionContext, institution
from tasks import periodic
from tenant_apps.files.models import StoredFile
from tenant_apps.reports.models import ReportArtifact, ReportRun, ReportSchedule
from tenant_apps.school.models import Institution
from tests.api import Asker, host_of
from tests.realtime.sockets import SignIn
from tests.realtime.test_served import beside, handshake, port, served  # noqa: F401 - fixtures
from tests.tasks import workers
from tests.tenant_apps.reports.conftest import LONG_AGO


@pytest.fixture
def due(committed: None, greenwood: InstitutionContext) -> Iterator[None]:
    """Greenwood's last night is due; what its run writes is gone afterwards."""
    aged = (ReportSchedule, Institution)
    with institution(greenwood):
        made = [model._default_manager.values_list("created_at", flat=True).get() for model in aged]
        for model in aged:
            model._default_manager.update(created_at=LONG_AGO)
    yield
    with institution(greenwood):
        for model, created_at in zip(aged, made, strict=True):
            model._default_manager.update(created_at=created_at)
        for model in (ReportArtifact, ReportRun, StoredFile):
            model._default_manager.all().delete()


def test_the_principal_hears_of_the_night_once_and_fetches_its_files(
    port: int,  # noqa: F811
    due: None,
    greenwood: InstitutionContext,
    sign_in: SignIn,
) -> None:
    principal, teacher = (sign_in(greenwood, role).access for role in ("principal", "teacher"))

    def night() -> None:
        with institution(greenwood):
            periodic.start_due.delay()
            periodic.start_due.delay()

    async def heard() -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = []
        async with (
            asyncio.timeout(40),
            handshake(port, greenwood, principal) as client,
            handshake(port, greenwood, teacher) as other,
        ):
            for one in (client, other):
                assert orjson.loads(await one.recv())["type"] == "ready"
            await beside(night)
            while not frames:
                frame = orjson.loads(await client.recv())
                frames += [frame] if frame["type"] == "notification" else []
            for one in (client, other):
                with pytest.raises(TimeoutError):
                    frames.append(orjson.loads(await asyncio.wait_for(one.recv(), 1)))
        return frames

    with workers.relay(), workers.worker():
        (frame,) = asyncio.run(heard())
    with institution(greenwood):
        run = ReportRun.objects.get()
    assert (frame["seq"], frame["data"]["kind"]) == (1, "report.ready")
    assert frame["data"]["title"] == f"Enrolment by grade level and section, {run.local_date}"
    assert frame["data"]["data"] == {"run": str(run.pk)}
    asker = Asker(host_of(greenwood), person=None, token=principal)
    rows = asker.get(f"/api/v1/reports/artifacts/?run={run.pk}").json()["results"]
    assert {row["format"] for row in rows} == {"csv", "pdf"}
    assert {asker.get(f"/api/v1/reports/artifacts/{row['id']}/download/").status_code for row in rows} == {200}
