"""What the tables of school and academics have in common."""

from typing import Any

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q

from shared_apps.core.models import Record

# OneRoster 1.2: 1 to 255 characters of this set.
sourced_id_characters = RegexValidator(r"\A[0-9A-Za-z.\-_/@]+\Z", "Use only 0-9 A-Z a-z . - _ / @.")


class SourcedRecord(Record):
    """A row that a roster may have brought: `sourced_id` is its key there (OneRoster), null for rows made here."""

    sourced_id = models.CharField(
        max_length=255, null=True, blank=True, unique=True, default=None, validators=[sourced_id_characters]
    )

    class Meta:
        abstract = True
        default_permissions = ()

    def clean_fields(self, exclude: Any = None) -> None:
        """A blank sourced_id is none: two rows without one must not collide."""
        self.sourced_id = self.sourced_id or None
        super().clean_fields(exclude=exclude)


def ends_after_start(
    name: str, *, start: str = "starts_on", end: str = "ends_on", may_be_empty: bool = False
) -> models.CheckConstraint:
    """The exclusive end lies after the start (or on it, for days that may turn out to be none), or is open."""
    closed = Q(**{f"{end}__gte" if may_be_empty else f"{end}__gt": F(start)})
    return models.CheckConstraint(
        condition=Q(**{f"{end}__isnull": True}) | Q(**{f"{start}__isnull": True}) | closed,
        name=name,
        violation_error_message="The end is exclusive and must lie after the start.",
        violation_error_code="ends_before_start",
    )
