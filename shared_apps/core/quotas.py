"""How the limits of an institution (`core.limits`) hold, also when many write at once.

Rooms say what counts against a quota (`counted`) and call `demand_room` after they have written.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection, models, transaction

from shared_apps.core.actors import ActorKind, actor
from shared_apps.core.context import InstitutionContext, current_institution
from shared_apps.core.errors import PaymentRequired
from shared_apps.core.limits import STORAGE, STUDENTS, Limits, standard

JOB_PATIENCE: Final = 20
"""A statement of a job, a command or the platform's own work may take so many times as long as a request's."""
REQUEST_KINDS: Final = (ActorKind.PERSON, ActorKind.VISITOR)
BELIEVED: Final = 2.0  # seconds
MOST_COUNTS: Final = 10_000
LOCK_SPACE: Final = 7205  # of advisory locks; jobs use 7203, their slots 7206


def limits_of(context: InstitutionContext) -> Limits:
    """The institution's limits."""
    return context.limits or standard()


def statement_timeout(context: InstitutionContext) -> int:
    """Milliseconds that one statement of what runs now may take; 0 without a limit."""
    seconds = limits_of(context).statement_seconds
    if seconds is None:
        return 0
    who = actor()
    patient = who is not None and who.kind not in REQUEST_KINDS
    return seconds * 1000 * (JOB_PATIENCE if patient else 1)


@dataclass(frozen=True, slots=True)
class Quota:
    """`count` says how much of it the current institution uses; rows of `model` may add to it. `ample` is so much that
    all processes together cannot use it up by single writes within `BELIEVED` seconds."""

    name: str
    count: Callable[[], int]
    ample: int
    model: type[models.Model] | None = None


_counted: dict[str, Quota] = {}
_last_counts: dict[tuple[UUID, str], tuple[float, int]] = {}  # (institution, limit) -> until when, how much
_owed: ContextVar[set[str] | None] = ContextVar("lyceum_owed_quotas", default=None)


def counted(name: str, count: Callable[[], int], *, ample: int, model: type[models.Model] | None = None) -> None:
    """Say how the use of a limit is counted, and which rows' creation adds to it; once only."""
    if name in _counted:
        raise ValueError(f"The limit {name!r} is counted already.")
    _counted[name] = Quota(name, count, ample, model)


def used(name: str) -> int:
    """How much of a limit the current institution uses."""
    return _counted[name].count()


def demand_room(name: str) -> None:
    """Refuse what this transaction has written when it is beyond the limit. Raises PaymentRequired.

    Called after the writing and before nothing but the commit: from here to there others of the institution that add
    to the same quota wait, so that of any number at once exactly as many succeed as have room. Where there is ample
    room a count of a moment ago is believed, and nobody waits. Within `settled_together` it is put off to the end.
    """
    owed = _owed.get()
    if owed is not None:
        owed.add(name)
        return
    allowed = getattr(limits_of(current_institution()), name)
    if allowed is None:
        return
    if _has_ample_room(name, allowed):
        return
    _demand_exactly(name, allowed)


def _has_ample_room(name: str, allowed: int) -> bool:
    key, now = (current_institution().id, name), time.monotonic()
    until, whole = _last_counts.get(key, (0.0, 0))
    if until < now:
        if len(_last_counts) >= MOST_COUNTS:
            _last_counts.clear()
        whole = used(name)
        _last_counts[key] = now + BELIEVED, whole
    return allowed - whole >= _counted[name].ample


def _demand_exactly(name: str, allowed: int) -> None:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(f"demand_room({name!r}) ran outside of a transaction.")
    with connection.cursor() as cursor:
        key = f"{current_institution().id} {name}"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [key, LOCK_SPACE])
    # Counted by a statement of its own, which sees what was committed while this one waited.
    whole = used(name)
    if whole > allowed:
        raise exceeded(name, allowed=allowed, used=whole)


def demand_room_for(model: type[models.Model]) -> None:
    """As `demand_room`, for new rows of a model that were written without the room's own verb."""
    for quota in _counted.values():
        if quota.model is model:
            demand_room(quota.name)


@contextmanager
def settled_together() -> Iterator[None]:
    """Many rows at once: what they need is counted once, after the last of them. Raises PaymentRequired at the end."""
    outer = _owed.get()
    mine: set[str] = set()
    token = _owed.set(mine)
    try:
        yield
    finally:
        _owed.reset(token)
    for name in sorted(mine):
        if outer is not None:
            outer.add(name)
        elif (allowed := getattr(limits_of(current_institution()), name)) is not None:
            _demand_exactly(name, allowed)


WORDS: Final[dict[str, tuple[str, Callable[[int], Any]]]] = {
    STUDENTS: ("enrolled students", lambda number: f"{number:,}"),
    STORAGE: ("of files", lambda number: f"{number / 1e6:,.1f} MB"),
}


def exceeded(name: str, *, allowed: int, used: int) -> PaymentRequired:
    """The refusal; `used` is what it would be."""
    noun, shown = WORDS[name]
    return PaymentRequired(
        f"This would make {shown(used)} {noun}; the institution's plan allows {shown(allowed)}, so nothing was "
        "written. Make room, or have a principal ask the platform's operators for more; what is used stands at "
        "/api/v1/school/entitlements/.",
        code="quota_exceeded",
        more={"limit": name, "allowed": allowed, "used": used},
    )
