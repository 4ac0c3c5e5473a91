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

    def unsent(self, before: datetime) -> "JobQuerySet":
        """Pending, and handed to the queue before that instant (or never): their message may be lost."""
        never = models.Q(sent_at__isnull=True, created_at__lt=before)
        return self.filter(models.Q(sent_at__lt=before) | never, state="pending")
