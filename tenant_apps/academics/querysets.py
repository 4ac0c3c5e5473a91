"""Reads over teaching and enrolment."""

from datetime import date
from typing import Any
from uuid import UUID

from django.db import models

from tenant_apps.school.querysets import holding_on


class SectionTeacherQuerySet(models.QuerySet[Any]):
    def taught_by(self, *, user_id: UUID, today: date) -> "SectionTeacherQuerySet":
        """What the person behind this login teaches today."""
        return self.filter(holding_on(today), staff__user=user_id)


class EnrolmentQuerySet(models.QuerySet[Any]):
    def active_on(self, day: date) -> "EnrolmentQuerySet":
        """Enrolments that hold on `day`; the end is exclusive."""
        return self.filter(holding_on(day))
