"""What the institution tells its people."""

from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from shared_apps.core.models import Record


class Notification(Record):
    """A message to one person. `kind` names the event ("roster.imported"), `data` points at what it is about."""

    recipient = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="notifications",
        editable=False,
        db_index=False,
    )
    kind = models.CharField(max_length=60, editable=False)
    title = models.CharField(max_length=200, editable=False)
    body = models.TextField(blank=True, editable=False)
    data = models.JSONField(default=dict, encoder=DjangoJSONEncoder, editable=False)
    read_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        default_permissions = ()
        ordering = ("-created_at", "id")
        indexes = [models.Index(fields=("recipient", "-created_at", "id"), name="communication_notification_box")]

    def __str__(self) -> str:
        return self.title

    @property
    def as_frame(self) -> dict[str, Any]:
        """The `data` of its socket frame: the same names as its JSON in the API."""
        return {
            "id": str(self.pk),
            "kind": self.kind,
            "title": self.title,
            "body": self.body,
            "data": self.data,
            "read_at": self.read_at.isoformat() if self.read_at else None,
            "created_at": self.created_at.isoformat(),
        }
