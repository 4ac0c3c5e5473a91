"""Writing outbox messages, and carrying them out once each.

A room writes with `core.publish`; the room that owns a topic registers its handler from `apps.py`. The handler's rows
and the message's `done_at` are one transaction, so a kill at any moment leaves both or neither. What waits for another
server, such as a letter, is carried out by a worker: the relay, which all institutions share, waits for nobody.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import redis
import structlog
from celery import current_app
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from shared_apps.core import bus
from shared_apps.core.context import current_institution
from tenant_apps.eventlog.models import OutboxMessage

LONGEST_BACKOFF = 900  # seconds
HANDED_AGAIN = 60  # seconds: a message that a worker has not carried out by then is handed over anew
BY_WORKER = "eventlog.carry_out"  # the task
POISONED_AFTER = 5  # failed attempts: then somebody should look at `last_error`
log = structlog.get_logger(__name__)

Handler = Callable[[OutboxMessage], None]
"""Runs in the transaction that sets `done_at`; what must not be undone (a queue message, a frame) goes on_commit."""

_handlers: dict[str, Handler] = {}
_by_worker: set[str] = set()


def handle(topic: str, handler: Handler, *, by_worker: bool = False) -> None:
    """Say who carries out a topic, and whether in a worker; once only."""
    if topic in _handlers:
        raise ValueError(f"The topic {topic!r} has a handler already.")
    _handlers[topic] = handler
    if by_worker:
        _by_worker.add(topic)


def poke_channel() -> str:
    """Redis channel of the pokes; pub/sub knows no database numbers, and one Redis may serve several platforms."""
    return f"lyceum:outbox:{settings.DATABASES['default']['NAME']}"


@dataclass(frozen=True, slots=True)
class Poke:
    """Tells the relays that an institution has new messages. Only a hint: they sweep every few seconds as well."""

    institution_id: UUID

    def __call__(self) -> None:
        try:
            bus.client().publish(poke_channel(), str(self.institution_id))
        except redis.RedisError as error:
            log.warning("outbox_poke_not_sent", error=str(error))


def write(*, topic: str, payload: dict[str, Any], key: str | None = None) -> None:
    """`core.publish`: one message in the open transaction, and one poke after its commit."""
    poke = Poke(current_institution().id)
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            f"publish({topic!r}) ran outside of a transaction: what it announces may never be committed."
        )
    message = OutboxMessage(topic=topic, payload=payload, effect_key=key)
    OutboxMessage.objects.bulk_create([message], ignore_conflicts=key is not None)
    # A hook of an inner savepoint vanishes with it, so one poke per savepoint, not one per message.
    place = set(connection.savepoint_ids)
    if not any(hook == poke and place == savepoints for savepoints, hook, _ in connection.run_on_commit):
        transaction.on_commit(poke, robust=True)


def carry_out(*, most: int = 100) -> int:
    """Carry out up to `most` due messages of the current institution, oldest first. Returns how many were tried.

    Any number of relays may do so at once: each takes messages that no other holds.
    """
    for tried in range(most):
        if not _carry_out_next():
            return tried
    return most


def _carry_out_next() -> bool:
    with transaction.atomic():
        message = OutboxMessage.objects.due().select_for_update(skip_locked=True).order_by("id").first()
        if message is None:
            return False
        if message.topic in _by_worker:
            _hand_over(message)
        else:
            _carry_out(message)
    return True


def carry_out_one(key: UUID) -> None:
    """Carry out a message that was handed over; nothing for one that is done, or that another worker holds."""
    with transaction.atomic():
        message = OutboxMessage.objects.filter(pk=key, done_at=None).select_for_update(skip_locked=True).first()
        if message is not None:
            _carry_out(message)


def _hand_over(message: OutboxMessage) -> None:
    """Send a worker for the message, which stays due: a queue may lose its task, or the worker may die."""
    again = timezone.now() + timedelta(seconds=HANDED_AGAIN)
    OutboxMessage.objects.filter(pk=message.pk).update(next_attempt_at=again)
    key = str(message.pk)
    transaction.on_commit(lambda: current_app.send_task(BY_WORKER, [key], expires=HANDED_AGAIN), robust=True)


def _carry_out(message: OutboxMessage) -> None:
    try:
        with transaction.atomic():
            _handlers[message.topic](message)
    except Exception as error:  # noqa: BLE001 - whatever a handler raises, the other messages go on
        _postpone(message, error)
    else:
        OutboxMessage.objects.filter(pk=message.pk).update(done_at=timezone.now(), last_error="")


def _postpone(message: OutboxMessage, error: Exception) -> None:
    reason = repr(error) if message.topic in _handlers else f"No handler for the topic {message.topic!r}."
    attempts = message.attempts + 1
    pause = timedelta(seconds=min(2**attempts, LONGEST_BACKOFF))
    OutboxMessage.objects.filter(pk=message.pk).update(
        attempts=attempts, next_attempt_at=timezone.now() + pause, last_error=reason[:2000].replace("\x00", "")
    )
    log.error(
        "outbox_message_failed",
        message=str(message.pk),
        topic=message.topic,
        attempts=attempts,
        poisoned=attempts >= POISONED_AFTER,
        exc_info=error,
    )
