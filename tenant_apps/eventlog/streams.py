"""Giving out `seq`: per person, gapless, in the order of commits."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from tenant_apps.eventlog import frames
from tenant_apps.eventlog.models import OutboxMessage, Stream, StreamEvent


def append(*, effect: OutboxMessage, type: str, data: Mapping[UUID, dict[str, Any]]) -> None:
    """Append one event to the stream of each person in `data` (user id -> the frame's data), then hint.

    Only outbox handlers call this: their message is committed already, so a number given out here can't be overtaken
    by a slower writer. Streams are locked in the order of user ids, whatever relay asks.
    """
    people = sorted(data)
    Stream.objects.bulk_create([Stream(recipient_id=person) for person in people], ignore_conflicts=True)
    locked = Stream.objects.select_for_update().filter(recipient__in=people).order_by("recipient_id")
    last = dict(locked.values_list("recipient_id", "last_seq"))
    StreamEvent.objects.bulk_create(
        [
            StreamEvent(recipient_id=person, seq=last[person] + 1, type=type, data=data[person], effect=effect.pk)
            for person in people
        ],
        batch_size=500,
    )
    Stream.objects.filter(recipient__in=people).update(last_seq=F("last_seq") + 1)
    transaction.on_commit(lambda: frames.hint(people), robust=True)
