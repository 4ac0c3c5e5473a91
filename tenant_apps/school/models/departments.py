"""Departments."""

from django.db import models

from shared_apps.core.models import Record


class Department(Record):
    """A department: of one campus, or of the whole institution. `head` leads it."""

    code = models.CharField(max_length=40)
    name = models.CharField(max_length=200)
    campus = models.ForeignKey(
        "school.Campus", null=True, blank=True, on_delete=models.PROTECT, related_name="departments"
    )
    head = models.ForeignKey(
        "school.Staff", null=True, blank=True, on_delete=models.PROTECT, related_name="departments"
    )

    class Meta:
        default_permissions = ()
        verbose_name_plural = "departments"
        ordering = ("code", "id")
        constraints = [models.UniqueConstraint(fields=("code",), name="school_department_once")]

    def __str__(self) -> str:
        return self.code
