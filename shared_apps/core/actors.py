"""Who acts: kept beside the context, so that every change can say who made it.

A request begins as a visitor and becomes a person once its token is read; a task, a command and the platform's own
work say so themselves. The database engine tells PostgreSQL in the first statement of each transaction, and the audit
triggers refuse a change of which nobody says whose it is.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from uuid import UUID


class ActorKind(StrEnum):
    PERSON = "person"
    VISITOR = "visitor"
    TASK = "task"
    COMMAND = "command"
    PLATFORM = "platform"


@dataclass(frozen=True)
class Actor:
    """Who acts. `name` is what a reader of the log recognises: a person's e-mail, a task's or a command's name.

    `request_id` and `address` are those of the request behind it, however many steps away; `user_id` is the person
    who acts, or for whom a task works.
    """

    kind: ActorKind
    name: str
    user_id: UUID | None = None
    request_id: str = ""
    address: str = ""

    @cached_property
    def announced(self) -> str:
        """What PostgreSQL is told: a JSON object in ASCII, without SQL's quotes, so it can stand between them."""
        said = {
            "kind": self.kind,
            "name": "".join(c for c in self.name if c.isprintable())[:200],
            "user": str(self.user_id) if self.user_id else None,
            "request": self.request_id,
            "address": self.address,
        }
        return json.dumps(said, ensure_ascii=True, separators=(",", ":")).replace("'", "\\u0027")


_acting: ContextVar[Actor | None] = ContextVar("lyceum_actor", default=None)


def actor() -> Actor | None:
    """Who acts now; None where nobody has said."""
    return _acting.get()


@contextmanager
def acting(who: Actor) -> Iterator[Actor]:
    """Run the block as `who`. The request behind the present actor stays known."""
    behind = _acting.get()
    if behind is not None:
        who = replace(who, request_id=who.request_id or behind.request_id, address=who.address or behind.address)
    token = _acting.set(who)
    try:
        yield who
    finally:
        _acting.reset(token)


def identified(*, user_id: UUID, name: str) -> None:
    """From here to the end of the request it is this person who acts: their credentials have been checked."""
    behind = _acting.get()
    if behind is None or behind.kind not in (ActorKind.VISITOR, ActorKind.PERSON):
        return
    _acting.set(replace(behind, kind=ActorKind.PERSON, user_id=user_id, name=name))


def visitor(*, name: str, request_id: str, address: str) -> Actor:
    """Whoever sends a request, until they are identified; signing in is done by one."""
    return Actor(ActorKind.VISITOR, name, request_id=request_id, address=address)


def task(name: str) -> Actor:
    """A task of the queue, of the schedule, or of a process in the background."""
    behind = _acting.get()
    return Actor(ActorKind.TASK, name, user_id=behind.user_id if behind else None)


def command(name: str) -> Actor:
    """A command of `manage.py`."""
    return Actor(ActorKind.COMMAND, name)


def platform_work(name: str) -> Actor:
    """The platform's own work on an institution: making it, migrating it."""
    return Actor(ActorKind.PLATFORM, name)
