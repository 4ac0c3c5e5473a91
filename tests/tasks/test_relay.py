"""The relay's rounds: which institutions it visits, and how soon."""

import time

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from shared_apps.core import vitals
from shared_apps.core.context import InstitutionContext, State, current_institution, institution, platform
from shared_apps.tenants.models import Tenant
from tasks import relay
from tenant_apps.communication.services import notify
from tenant_apps.eventlog.models import Job, StreamEvent
from tests import cast
from tests.tasks import workers


def tell(place: InstitutionContext) -> None:
    with institution(place), transaction.atomic():
        notify(recipients=[cast.user_id("teacher")], kind="test", title="x")


def events(place: InstitutionContext) -> int:
    with institution(place):
        return StreamEvent.objects.count()


def set_state(place: InstitutionContext, state: State) -> None:
    with platform():
        Tenant.objects.filter(pk=place.id).update(state=state)


def test_a_round_finds_exactly_the_institutions_with_something_to_do_in_one_query(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    assert list(relay.find_due()) == []
    tell(greenwood)
    with institution(lumiere):
        Job.objects.create(kind="test")
    with CaptureQueriesContext(connection) as queries:
        due = {found.institution.slug: (found.messages, found.jobs) for found in relay.find_due()}
    assert due == {"greenwood": (True, False), "lumiere": (False, True)}
    reading = [query["sql"] for query in queries.captured_queries if 'FROM "t_' in query["sql"]]
    assert len(reading) == 1
    assert "UNION ALL" in reading[0]
    relay.sweep()
    assert (events(greenwood), events(lumiere)) == (1, 0)


@pytest.mark.parametrize("state", [State.SUSPENDED, State.READ_ONLY, State.ARCHIVED])
def test_an_institution_that_is_not_active_waits_until_it_is_resumed(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext, state: State
) -> None:
    tell(greenwood)
    tell(lumiere)
    set_state(greenwood, state)
    relay.sweep()
    assert (events(greenwood), events(lumiere)) == (0, 1)
    set_state(greenwood, State.ACTIVE)
    relay.sweep()
    assert events(greenwood) == 1


def test_a_schema_without_its_tables_does_not_stop_the_others(committed: None, greenwood: InstitutionContext) -> None:
    tell(greenwood)
    with platform():
        broken = Tenant.objects.create(name="Behind", schema_name="t_behind", state=State.ACTIVE)
        broken.domains.create(domain="behind.localhost", slug="behind")
        try:
            relay.sweep()
        finally:
            Tenant.objects.filter(pk=broken.pk).delete()
    assert events(greenwood) == 1


def test_trouble_in_one_institution_does_not_stop_the_others(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out = relay.carry_out_some

    def troubled() -> bool:
        if current_institution().slug == "greenwood":
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
        return carry_out()

    monkeypatch.setattr(relay, "carry_out_some", troubled)
    tell(greenwood)
    tell(lumiere)
    relay.sweep()
    assert (events(greenwood), events(lumiere)) == (0, 1)


def test_trouble_with_one_institutions_jobs_does_not_stop_the_relays_own_sweep(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def troubled() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        return 0

    monkeypatch.setattr(relay, "sweep_jobs", troubled)
    for place in (greenwood, lumiere):
        tell(place)
        with institution(place):
            Job.objects.create(kind="test")
    # Negative control: without `visit` around it, the first trouble ended the round, and the second was never found.
    assert set(relay.Relay()._sweep()) == {str(greenwood.id), str(lumiere.id)}


def test_a_running_relay_is_woken_by_a_commit_and_stops_on_sigterm(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    tell(lumiere)
    with workers.relay() as process:
        deadline = time.monotonic() + 15
        while not events(lumiere):
            assert time.monotonic() < deadline, "what was there before its start was not swept"
            time.sleep(0.05)
        assert vitals.read()["relay"] is not None
        delays = []
        for number in range(1, 6):
            began = time.monotonic()
            tell(greenwood)
            while events(greenwood) < number:
                assert time.monotonic() < deadline + 15
                time.sleep(0.005)
            delays.append(time.monotonic() - began)
        assert sorted(delays)[2] < 1.0, f"a poke wakes it at once, not the next sweep: {delays}"
        process.terminate()
        assert process.wait(10) == 0
