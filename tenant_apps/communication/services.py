"""Verbs over notifications."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.utils import timezone

from shared_apps.core.publish import publish
from tenant_apps.communication.models import Notification
from tenant_apps.eventlog import streams
from tenant_apps.eventlog.models import OutboxMessage

MOST_RECIPIENTS = 500  # of one outbox message: its handler's transaction holds that many stream locks


def notify(
    *,
    recipients: Iterable[UUID],
    kind: str,
    title: str,
    body: str = "",
    data: dict[str, Any] | None = None,
    key: str | None = None,
) -> None:
    """Notify people (user ids) once the open transaction has committed.

    `key` names the event: a second call with the same key tells nobody twice. Raises outside of a transaction.
    """
    people = sorted({str(person) for person in recipients})
    for start in range(0, len(people), MOST_RECIPIENTS):
        payload = {
            "recipients": people[start : start + MOST_RECIPIENTS],
            "kind": kind,
            "title": title[:200],
            "body": body,
            "data": data or {},
        }
        publish("notify", payload, key=f"notify:{key}:{start}" if key else None)


def purge(*, before: datetime) -> None:
    """Forget notifications that are older, read or not."""
    Notification.objects.filter(created_at__lt=before).delete()


def deliver(message: OutboxMessage) -> None:
    """Handler of the topic `notify`: each person's notification and the event that tells their sockets."""
    payload = message.payload
    # Somebody who has left since, or may no longer sign in, is told nothing.
    people = get_user_model().objects.filter(pk__in=payload["recipients"], is_active=True).values_list("pk", flat=True)
    notifications = [
        Notification(
            recipient_id=person,
            kind=payload["kind"],
            title=payload["title"],
            body=payload["body"],
            data=payload["data"],
        )
        for person in people
    ]
    Notification.objects.bulk_create(notifications)
    streams.append(effect=message, type="notification", data={n.recipient_id: n.as_frame for n in notifications})


def mark_read(*, notification: Notification) -> Notification:
    """Note when the recipient first read it; reading again changes nothing."""
    Notification.objects.filter(pk=notification.pk, read_at=None).update(read_at=timezone.now())
    notification.refresh_from_db()
    return notification
