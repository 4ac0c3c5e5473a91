"""Reads over the outbox, streams and jobs."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import models
from django.utils import timezone


class OutboxQuerySet(models.QuerySet[Any]):
    def due(self, now: datetime | None = None) -> "OutboxQuerySet":
        """Not done, and not waiting for a later attempt."""
        return self.filter(done_at__isnull=True, next_attempt_at__lte=now or timezone.now())


class StreamEventQuerySet(models.QuerySet[Any]):
    def after(self, recipient_id: UUID, seq: int) -> "StreamEventQuerySet":
        """A person's events after `seq`, in order."""
        return self.filter(recipient_id=recipient_id, seq__gt=seq).order_by("seq")


class JobQuerySet(models.QuerySet[Any]):
    def running(self) -> "JobQuerySet":
        return self.filter(state="running")

    def waiting(self) -> "JobQuerySet":
        """Pending, and not handed to the queue yet."""
        return self.filter(state="pending", sent_at__isnull=True)

    def under_way(self) -> "JobQuerySet":
        """Handed to the queue, or running."""
        return self.filter(models.Q(state="running") | models.Q(state="pending", sent_at__isnull=False))

    def unclaimed(self, before: datetime) -> "JobQuerySet":
        """Pending, and handed to the queue before that instant: their message may be lost."""
        return self.filter(sent_at__lt=before, state="pending")
