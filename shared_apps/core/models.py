"""Ground of every model."""

from typing import Any

from django.db import models

from shared_apps.core.ids import uuid7
from shared_apps.core.text import demand_plain_fields

STAMPS = ("created_at", "updated_at")
"""The columns of every record that say when; no rule asks for them."""


class Record(models.Model):
    """A row with a UUIDv7 key made in Python and its two timestamps (UTC)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True
        default_permissions = ()

    def clean_fields(self, exclude: Any = None) -> None:
        """The columns' own rules, and that no text holds an invisible character, whoever writes it."""
        super().clean_fields(exclude=exclude)
        demand_plain_fields(self, set(exclude or ()))
