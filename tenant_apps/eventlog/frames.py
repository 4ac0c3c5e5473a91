"""What goes to open sockets at once: hints that a stream has grown, and frames that nobody needs later (progress).

Nothing here is promised: a lost hint is made good by the next one or by `resume`, since events are read from the
database.
"""

from collections.abc import Iterable
from functools import cache
from hashlib import blake2s
from typing import Any
from uuid import UUID

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings

from shared_apps.core.context import current_institution

HINT: dict[str, Any] = {"type": "stream.grew"}
log = structlog.get_logger(__name__)


@cache
def _installation() -> str:
    """Redis pub/sub knows no database numbers, and one Redis may serve several installations (or a suite's workers)
    whose institutions have the same ids, being copies of one database."""
    return blake2s(settings.DATABASES["default"]["NAME"].encode(), digest_size=4).hexdigest()


def group(institution_id: UUID, user_id: UUID) -> str:
    """The channel group of one person in one institution."""
    return f"{_installation()}.t.{institution_id.hex}.u.{user_id.hex}"


def hint(user_ids: Iterable[UUID]) -> None:
    """Tell the sockets of these people of the current institution that their streams have grown."""
    _send([(user_id, HINT) for user_id in user_ids])


def push(user_id: UUID, frame: dict[str, Any]) -> None:
    """Send a frame without `seq` to the sockets of one person of the current institution."""
    _send([(user_id, {"type": "passing.frame", "frame": frame})])


def _send(messages: list[tuple[UUID, dict[str, Any]]]) -> None:
    institution_id = current_institution().id

    async def send_all() -> None:
        layer = get_channel_layer()
        for user_id, message in messages:
            await layer.group_send(group(institution_id, user_id), message)

    try:
        async_to_sync(send_all)()
    except Exception as error:  # noqa: BLE001 - any trouble of Redis: the database still has every event
        log.warning("frames_not_sent", error=repr(error))
