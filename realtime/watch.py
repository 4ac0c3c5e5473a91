"""Open sockets of this process, and the word from other processes that one of them may have to close.

The bus calls from its own thread; a socket looks again in its event loop.
"""

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

from shared_apps.core import bus
from shared_apps.core.errors import TooMany
from shared_apps.tenants import hosts


@dataclass(eq=False, slots=True)
class Watched:
    """One open socket. `look_again` is set when its session, its owner's rights or its institution have changed."""

    institution_id: UUID
    user_id: UUID
    look_again: asyncio.Event = field(default_factory=asyncio.Event)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)


MOST_OF_A_PERSON = 20
"""Sockets that one person may have open in a process: more than windows on all of their devices, less than harm."""
_open: set[Watched] = set()
_of_person: Counter[tuple[UUID, UUID]] = Counter()
_lock = threading.Lock()


def add(watched: Watched) -> None:
    """Raises TooMany when the person has as many sockets as one may have."""
    person = (watched.institution_id, watched.user_id)
    with _lock:
        if _of_person[person] >= MOST_OF_A_PERSON:
            raise TooMany(f"You have {MOST_OF_A_PERSON} sockets open; close one first.", code="too_many_sockets")
        _of_person[person] += 1
        _open.add(watched)


def remove(watched: Watched) -> None:
    person = (watched.institution_id, watched.user_id)
    with _lock:
        _open.remove(watched)
        _of_person[person] -= 1
        if not _of_person[person]:
            del _of_person[person]


def _wake(institution_id: str, user_id: str) -> None:
    """Empty ids mean every one."""
    with _lock:
        concerned = [
            watched
            for watched in _open
            if institution_id in ("", str(watched.institution_id)) and user_id in ("", str(watched.user_id))
        ]
    for watched in concerned:
        if not watched.loop.is_closed():
            watched.loop.call_soon_threadsafe(watched.look_again.set)


def rights_changed(key: str) -> None:
    """`<institution>:<user>`, `<institution>:` for everybody there, or empty when messages were missed."""
    institution_id, _, user_id = key.partition(":")
    _wake(institution_id, user_id)


def institution_changed(key: str) -> None:
    """The bus keeps one listener a topic, so the host cache's is called from here."""
    hosts.forget(key)
    _wake(key, "")


def subscribe() -> None:
    """Called once by the process that serves sockets."""
    bus.subscribe("authz", rights_changed)
    bus.subscribe("tenants", institution_changed)
