"""Ground of every model."""

from django.db import models

from shared_apps.core.ids import uuid7


class Record(models.Model):
    """A row with a UUIDv7 key made in Python and its two timestamps (UTC)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True
        default_permissions = ()
