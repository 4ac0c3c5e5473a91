"""Answers that are kept for requests which may be sent again (Idempotency-Key); registered in core."""

from datetime import timedelta
from uuid import UUID

import orjson
from django.utils import timezone
from psycopg.types.json import Jsonb

from shared_apps.core.engine.base import ours
from shared_apps.core.ids import uuid7
from shared_apps.core.registry import Answer
from tenant_apps.eventlog.models import IdempotencyKey

KEPT = timedelta(hours=24)
# Plain SQL, since every write with a key pays for it: the ORM's Python would cost more than the two statements.
KEEP = "UPDATE eventlog_idempotencykey SET status = %s, headers = %s, body = %s WHERE person_id = %s AND key = %s"
TAKE = """
INSERT INTO eventlog_idempotencykey
    (id, created_at, updated_at, person_id, key, request, status, headers, body, expires_at)
VALUES (%s, now(), now(), %s, %s, %s, 0, '{}', '', now() + %s) ON CONFLICT (person_id, key) DO NOTHING
"""


def begin(*, person: UUID, key: str, request: bytes) -> Answer | None:
    """Take the key in the open transaction; the answer that is kept under it, None when it is ours.

    The unique index makes a second request with the key wait here until the first one has committed or is undone.
    """
    if ours().say_first(TAKE, [uuid7(), person, key, request, KEPT]):
        return None
    kept = IdempotencyKey.objects.select_for_update().get(person_id=person, key=key)
    if kept.expires_at <= timezone.now():
        kept.delete()
        return begin(person=person, key=key, request=request)
    return Answer(bytes(kept.request), kept.status, kept.headers, bytes(kept.body))


def finish(*, person: UUID, key: str, answer: Answer) -> None:
    """Keep the answer under the key that was taken, as the last thing that its transaction does."""
    ours().say_last(KEEP, [answer.status, Jsonb(answer.headers, orjson.dumps), answer.body, person, key])


def forget_expired() -> int:
    """Remove the keys whose time is over; how many there were."""
    return IdempotencyKey.objects.filter(expires_at__lte=timezone.now()).delete()[0]
