"""What an institution has promised to do, has told its people, and is working on.

Outbox rows, streams and jobs are written together with the rows that they are about, in the institution's own schema:
one commit decides both (SCALE 9).
"""

from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils import timezone

from shared_apps.core.models import Record
from tenant_apps.eventlog.querysets import JobQuerySet, OutboxQuerySet, StreamEventQuerySet


class OutboxMessage(Record):
    """A side effect that the writing transaction owes. The relay carries it out and sets `done_at` in one transaction.

    `effect_key` names the effect: a second message with the same key is dropped. A message that fails waits until
    `next_attempt_at`; `attempts` and `last_error` show the ones that cannot succeed.
    """

    topic = models.CharField(max_length=50)
    payload = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    effect_key = models.CharField(max_length=200, unique=True, null=True)
    done_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    last_error = models.TextField(blank=True)

    objects = OutboxQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ("id",)
        indexes = [models.Index(fields=("id",), condition=Q(done_at__isnull=True), name="eventlog_outbox_waiting")]

    def __str__(self) -> str:
        return f"{self.topic} {self.pk}"


class Stream(Record):
    """The numbered events of one person. Its row is the lock under which `seq` is given out."""

    recipient = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    last_seq = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()


class StreamEvent(Record):
    """One event of a person's stream. `seq` is gapless from 1 and follows the order of commits, not of writing:
    the relay gives it out, so a client that has read up to n misses nothing that it can ask for after n.

    `effect` is the outbox message behind it; a message gives a person at most one event.
    """

    recipient = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    seq = models.PositiveBigIntegerField()
    type = models.CharField(max_length=50)
    data = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    effect = models.UUIDField()

    objects = StreamEventQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ("recipient", "seq")
        constraints = [
            models.UniqueConstraint(fields=("recipient", "seq"), name="eventlog_streamevent_seq"),
            models.UniqueConstraint(fields=("effect", "recipient"), name="eventlog_streamevent_effect"),
        ]
        indexes = [models.Index(fields=("created_at",), name="eventlog_streamevent_age")]

    @property
    def frame(self) -> dict[str, Any]:
        """What a socket sends."""
        return {"type": self.type, "seq": self.seq, "data": self.data}


class Job(Record):
    """Work that a person started and a worker does. `attempts` counts claims and fences off a worker thought dead.

    `progress` is in per cent. `errors` are places as in a problem answer: {"pointer" or file/line/column, "detail",
    "code"}.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    kind = models.CharField(max_length=60, editable=False)
    parameters = models.JSONField(default=dict, encoder=DjangoJSONEncoder, editable=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    state = models.CharField(max_length=10, choices=State, default=State.PENDING, editable=False)
    progress = models.PositiveSmallIntegerField(default=0, editable=False)
    step = models.CharField(max_length=200, blank=True, editable=False)
    result = models.JSONField(null=True, encoder=DjangoJSONEncoder, editable=False)
    errors = models.JSONField(default=list, encoder=DjangoJSONEncoder, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    sent_at = models.DateTimeField(null=True, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    cancel_requested_at = models.DateTimeField(null=True, editable=False)

    objects = JobQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ("-created_at", "id")
        constraints = [
            models.CheckConstraint(condition=Q(progress__lte=100), name="eventlog_job_progress_in_per_cent"),
        ]
        indexes = [
            models.Index(fields=("id",), condition=Q(state__in=("pending", "running")), name="eventlog_job_open"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class IdempotencyKey(Record):
    """A key that a person has sent with a write, and the answer that the write had.

    `request` is a digest of method, address and body: the key of another request is refused.
    """

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    request = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(default=0)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=bytes)
    expires_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=("person", "key"), name="eventlog_idempotencykey_once")]
        indexes = [models.Index(fields=("expires_at",), name="eventlog_idempotencykey_age")]
