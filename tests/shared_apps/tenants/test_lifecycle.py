"""Every move of an institution's life is one of the state machine's, and stays on record."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from itertools import product
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet

from shared_apps.core.actors import acting, command, identified, visitor
from shared_apps.core.context import InstitutionContext, State, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.errors import Conflict
from shared_apps.core.ids import uuid7
from shared_apps.core.registry import NewInstitution, registry
from shared_apps.tenants import lifecycle, services
from shared_apps.tenants.lifecycle import change_state
from shared_apps.tenants.models import Tenant, Transition
from shared_apps.tenants.services import create_institution
from tests.api import Asker, host_of

ALLOWED = {
    ("active", "read_only"),
    ("active", "suspended"),
    ("active", "archived"),
    ("read_only", "active"),
    ("read_only", "suspended"),
    ("read_only", "archived"),
    ("suspended", "active"),
    ("suspended", "read_only"),
    ("suspended", "archived"),
    ("archived", "active"),
}


@pytest.fixture
def tenant(db: None, greenwood: InstitutionContext) -> Iterator[Tenant]:
    with platform(), acting(command("test")):
        yield Tenant.objects.get(pk=greenwood.id)


def since(tenant: Tenant) -> QuerySet[Transition]:
    """What was done to it since it was made, the newest first."""
    return tenant.transitions.exclude(verb="create")


@pytest.mark.parametrize(("was", "to"), [pair for pair in product(State, State) if pair[0] != pair[1]])
def test_no_other_move_than_those_written_here_by_hand(tenant: Tenant, was: State, to: State) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(state=was)
    if (was, to) in ALLOWED:
        assert change_state(tenant=tenant, to=to, reason="a reason").state == to
        done = since(tenant).get()
        assert (done.from_state, done.to_state, done.reason) == (was, to, "a reason")
        assert (done.actor_kind, done.actor_name) == ("command", "test")
        return
    with pytest.raises(Conflict) as refused:
        change_state(tenant=tenant, to=to, reason="a reason")
    assert refused.value.code == "bad_transition"
    assert not since(tenant).exists()


def test_what_changes_nothing_leaves_no_trace_and_another_reason_does(tenant: Tenant) -> None:
    change_state(tenant=tenant, to=State.ACTIVE, reason="")
    assert not since(tenant).exists()
    change_state(tenant=tenant, to=State.SUSPENDED, reason="unpaid")
    change_state(tenant=tenant, to=State.SUSPENDED, reason="unpaid")
    change_state(tenant=tenant, to=State.SUSPENDED, reason="unpaid since May")
    assert [done.reason for done in since(tenant).all()] == ["unpaid since May", "unpaid"]


def test_the_history_names_the_person_behind_a_request(tenant: Tenant) -> None:
    person = uuid7()
    with acting(visitor(name="visitor", request_id="r", address="127.0.0.1")):
        identified(user_id=person, name="operator@lyceum.test")
        change_state(tenant=tenant, to=State.ARCHIVED, reason="closed")
    done = since(tenant).get()
    assert (done.verb, done.actor_id, done.actor_name) == ("archive", person, "operator@lyceum.test")


def test_without_somebody_who_acts_nothing_is_done(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "actor", lambda: None)
    with pytest.raises(RuntimeError, match="Nobody says"):
        change_state(tenant=tenant, to=State.SUSPENDED, reason="x")
    tenant.refresh_from_db()
    assert tenant.state == State.ACTIVE


@pytest.mark.parametrize("attack", ["update", "delete"])
def test_the_history_cannot_be_altered(tenant: Tenant, attack: str) -> None:
    change_state(tenant=tenant, to=State.SUSPENDED, reason="unpaid")
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        since(tenant).update(reason="") if attack == "update" else since(tenant).all().delete()
    assert since(tenant).get().reason == "unpaid"


def test_a_creation_is_the_beginning_of_the_history(transactional_db: None) -> None:
    seen: list[str] = []

    def look(made: Tenant) -> None:
        seen.append(made.state)

    with acting(command("test")):
        made = create_institution(new=NewInstitution("Rheintal", "rheintal"), finish=look)
    assert seen == [State.ACTIVE]
    with platform():
        done = Transition.objects.get(tenant=made)
        assert (done.verb, done.from_state, done.to_state) == ("create", "provisioning", "active")


def test_the_steps_of_a_creation_are_seen_while_it_runs(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control inside: over the creation's own connection nothing would be seen before its commit."""
    seen: list[tuple[str, str]] = []

    def elsewhere() -> tuple[str, str]:
        with platform():
            found = Tenant.objects.get(name="Rheintal")
            connection.close()
            return found.step, found.state

    def look(new: NewInstitution) -> None:
        deadline = time.monotonic() + 10  # the making does not wait until it is told
        with ThreadPoolExecutor(1) as other:
            while (found := other.submit(elsewhere).result())[0] != "test.look" and time.monotonic() < deadline:
                time.sleep(0.005)
        seen.append(found)

    monkeypatch.setattr(registry, "provisioning_steps", [*registry.provisioning_steps, ("test.look", look)])
    made = create_institution(new=NewInstitution("Rheintal", "rheintal"))
    assert seen == [("test.look", "provisioning")]
    assert made.step == ""


def test_a_step_that_is_told_too_late_does_not_stay(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: of one that is being made the same words stay."""
    monkeypatch.setattr(services, "LASTS", 0)
    made = create_institution(new=NewInstitution("Rheintal", "rheintal"))
    with platform():
        for state, told in ((State.ACTIVE, ""), (State.PROVISIONING, "late")):
            Tenant.objects.filter(pk=made.pk).update(state=state)
            with pytest.raises(LookupError), services._telling(made) as at:
                at("late")
                raise LookupError
            made.refresh_from_db()
            assert made.step == told


def test_of_a_slow_step_and_one_that_fails_after_it_the_failure_is_told(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late the writer beside gets to the slow one."""
    made = create_institution(new=NewInstitution("Rheintal", "rheintal"))
    writing, atomic = threading.Event(), transaction.atomic

    def slowly() -> Any:
        if threading.current_thread().name.startswith("lyceum-provisioning"):
            writing.set()
            time.sleep(0.3)
        return atomic()

    monkeypatch.setattr(services, "LASTS", 0)
    with platform():
        Tenant.objects.filter(pk=made.pk).update(state=State.PROVISIONING)
        monkeypatch.setattr(transaction, "atomic", slowly)
        with pytest.raises(LookupError), services._telling(made) as at:
            at("slow")
            assert writing.wait(timeout=10)
            at("fails")
            raise LookupError
        monkeypatch.undo()
        made.refresh_from_db()
    assert made.step == "fails"


def test_a_making_does_not_wait_for_a_row_that_a_lost_connection_still_holds(transactional_db: None) -> None:
    """A server that has not noticed holds it until the network's own clock says so, which may be hours."""
    half = create_institution(new=NewInstitution("Rheintal", "rheintal"))
    with platform():
        Tenant.objects.filter(pk=half.pk).update(state=State.PROVISIONING)
        with ThreadPoolExecutor(1) as other, owner_connection(), transaction.atomic():
            Tenant.objects.select_for_update().get(pk=half.pk)

            def fail() -> None:
                try:
                    with platform(), pytest.raises(LookupError), services._telling(half) as at:
                        at("schema")
                        raise LookupError
                finally:
                    connection.close()

            other.submit(fail).result(timeout=10)


def test_an_archived_institution_is_gone_and_comes_back(transactional_db: None, greenwood: InstitutionContext) -> None:
    def run(*words: str) -> str:
        out = StringIO()
        with platform(), acting(command("tenant")):
            call_command("tenant", *words, stdout=out)
        return out.getvalue()

    run("archive", "greenwood", "--reason", "closed in July")
    gone = Asker(host_of(greenwood)).get("/")
    assert (gone.status_code, gone.json()["code"]) == (410, "archived")
    run("resume", "greenwood")
    assert Asker(host_of(greenwood)).get("/").status_code == 200
    assert "closed in July" in run("history", "greenwood")
    assert "greenhill.localhost" in run("rename", "greenwood", "--to", "greenhill")
