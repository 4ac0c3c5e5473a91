"""Reads that several rooms need."""

from datetime import date
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Q


def holding_on(day: date | Any, *, start: str = "starts_on", end: str = "ends_on") -> Q:
    """Rows whose half-open days contain `day`; an open start or end holds for ever."""
    begun = Q(**{f"{start}__isnull": True}) | Q(**{f"{start}__lte": day})
    return begun & (Q(**{f"{end}__isnull": True}) | Q(**{f"{end}__gt": day}))


class StudentGuardianQuerySet(models.QuerySet[Any]):
    def opening_records(self, *, user_id: UUID, today: date) -> "StudentGuardianQuerySet":
        """Links by which this login may see a child's records today: valid, with custody, and not barred."""
        barred = Q(custody="none") | Q(may_see_records=False)
        return self.filter(holding_on(today, start="valid_from", end="valid_until"), guardian__user=user_id).exclude(
            barred
        )
