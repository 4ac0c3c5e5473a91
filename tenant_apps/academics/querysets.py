"""Reads over teaching and enrolment."""

from datetime import date
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Q

from tenant_apps.school.querysets import holding_on


class SectionTeacherQuerySet(models.QuerySet[Any]):
    def taught_by(self, *, user_id: UUID, today: date) -> "SectionTeacherQuerySet":
        """What the person behind this login teaches today. With the employment the teaching is over, whatever its own
        days say."""
        employed = Q(staff__employed_until__isnull=True) | Q(staff__employed_until__gt=today)
        return self.filter(holding_on(today), employed, staff__user=user_id)


class EnrolmentQuerySet(models.QuerySet[Any]):
    def running_past(self, day: date) -> "EnrolmentQuerySet":
        """Enrolments that hold on `day` or on a later one."""
        return self.filter(Q(ends_on__isnull=True) | Q(ends_on__gt=day))

    def active_on(self, day: date) -> "EnrolmentQuerySet":
        """Enrolments that hold on `day`; the end is exclusive."""
        return self.filter(holding_on(day))
