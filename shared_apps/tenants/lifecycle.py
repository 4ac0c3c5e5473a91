"""The life of an institution as a state machine, and the history of what was done to it.

    provisioning -> active <-> read_only <-> suspended -> archived -> deleting -> deleted

Who may be served in which state is `middleware.gate`'s to say: requests, sockets, tasks and the relay ask there.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from shared_apps.core import bus
from shared_apps.core.actors import actor
from shared_apps.core.context import Kind, State, platform
from shared_apps.core.errors import Conflict, Invalid
from shared_apps.tenants.models import Deletion, Tenant, Transition

MOVES: Final = {
    State.PROVISIONING: {State.ACTIVE},
    State.ACTIVE: {State.READ_ONLY, State.SUSPENDED, State.ARCHIVED},
    State.READ_ONLY: {State.ACTIVE, State.SUSPENDED, State.ARCHIVED},
    State.SUSPENDED: {State.ACTIVE, State.READ_ONLY, State.ARCHIVED},
    State.ARCHIVED: {State.ACTIVE, State.DELETING},
    State.DELETING: {State.DELETED},
    State.DELETED: set(),
}
ASKED_FOR: Final = {
    State.ACTIVE: "resume",
    State.READ_ONLY: "make_read_only",
    State.SUSPENDED: "suspend",
    State.ARCHIVED: "archive",
}
"""The states that somebody may ask for, and what doing so is called in the history."""
LIVE: Final = (State.ACTIVE, State.READ_ONLY, State.SUSPENDED, State.ARCHIVED)


def change_state(*, tenant: Tenant, to: State, reason: str) -> Tenant:
    """Move an institution between active, read_only, suspended and archived.

    One that is in that state already stays as it is, since when included; a suspension may be given another reason.
    Raises Conflict for a move that the state machine lacks, for the operators' own tenant, and for the return of one
    whose deletion is asked for.
    """
    with platform(), transaction.atomic():
        locked = locked_tenant(tenant)
        was, why = State(locked.state), told(reason)
        if to not in ASKED_FOR or was not in LIVE or (to != was and to not in MOVES[was]):
            raise Conflict(f"An institution that is {was} cannot become {to}.", code="bad_transition")
        demand_no_deletion(locked)
        if was != to or locked.state_reason != why:
            move(locked, to, verb=ASKED_FOR[to], reason=why)
    return locked


def locked_tenant(tenant: Tenant) -> Tenant:
    """The institution's row, locked in the open transaction. Raises Conflict for the operators' own tenant."""
    locked = Tenant.objects.select_for_update().get(pk=tenant.pk)
    if locked.kind == Kind.OPERATOR:
        raise Conflict("The operators' own tenant cannot be suspended, renamed or deleted.", code="operator_tenant")
    return locked


def demand_live(tenant: Tenant) -> None:
    """Raises Conflict for an institution that is being made or deleted, or is deleted."""
    if State(tenant.state) not in LIVE:
        raise Conflict(f"This cannot be done to an institution that is {tenant.state}.", code="bad_transition")


def demand_no_deletion(tenant: Tenant) -> None:
    """Raises Conflict for an institution whose deletion is asked for."""
    asked = Deletion.objects.filter(tenant=tenant, cancelled_at=None, finished_at=None)
    if tenant.state == State.ARCHIVED and asked.exists():
        raise Conflict("Its deletion is asked for; cancel that first.", code="deletion_open")


def move(locked: Tenant, to: State, *, verb: str, reason: str = "", fields: Sequence[str] = ()) -> None:
    """Write the state, with what `fields` name, and its history; every process is told after the commit."""
    was = locked.state
    if was != to:
        locked.state, locked.state_changed_at = to, datetime.now(UTC)
    locked.state_reason = reason
    locked.save(update_fields=["state", "state_reason", "state_changed_at", "updated_at", *fields])
    record(locked, verb, was=was, reason=reason)
    tell(locked)


def record(tenant: Tenant, verb: str, *, was: str | None = None, reason: str = "", work: UUID | None = None) -> None:
    """Add to the institution's history, in the open transaction."""
    who = actor()
    if who is None:
        raise RuntimeError(f"Nobody says who does {verb!r} to an institution; enter core.actors.acting().")
    Transition.objects.create(
        tenant_id=tenant.pk,
        verb=verb,
        from_state=tenant.state if was is None else was,
        to_state=tenant.state,
        reason=reason[:300],
        actor_kind=who.kind,
        actor_name=who.name[:254],
        actor_id=who.user_id,
        work=work,
    )


def tell(tenant: Tenant) -> None:
    """Make every process forget what it knows of the institution, after the commit: told before, a process would read
    the old rows again and keep them."""
    transaction.on_commit(lambda: bus.tell("tenants", str(tenant.pk)))


def told(reason: str) -> str:
    """A reason as it is kept. Raises Invalid for one that holds what no text may."""
    if "\x00" in reason:
        raise Invalid.at("/reason", "Write a reason in plain text.", code="bad_text")
    return reason.strip()[:300]
