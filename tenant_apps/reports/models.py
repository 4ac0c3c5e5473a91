"""Reports that people ask for or that come every night, and the files that they became."""

from datetime import time

from django.conf import settings
from django.db import models
from django.db.models.functions import Concat

from shared_apps.core.clock import local_date
from shared_apps.core.models import Record
from tenant_apps.accounts.models import Role
from tenant_apps.eventlog.models import Job
from tenant_apps.files.models import StoredFile


class Report(models.TextChoices):
    """What can be reported."""

    ENROLMENT = "enrolment", "Enrolment by grade level and section"


class ReportSchedule(Record):
    """A report that is made every night at `at`, the institution's own time, and told to the holders of `role` whose
    role reaches the whole institution."""

    report = models.CharField(max_length=40, choices=Report.choices)
    at = models.TimeField(default=time(2))
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="+")
    active = models.BooleanField(default=True)

    class Meta:
        default_permissions = ()
        ordering = ("report", "id")


class ReportRun(Record):
    """One making of a report, about the day `on`. Its state is its job's.

    `local_date` is the institution's date that a schedule's run is for: one run for each, whoever starts it how often.
    Nobody has requested a scheduled run; it shows the whole institution. A requested one shows what the person may see.
    """

    report = models.CharField(max_length=40, choices=Report.choices)
    on = models.DateField(default=local_date)
    schedule = models.ForeignKey(ReportSchedule, null=True, on_delete=models.CASCADE, editable=False, related_name="+")
    local_date = models.DateField(null=True, editable=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, editable=False, related_name="+"
    )
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, editable=False, related_name="+")

    class Meta:
        default_permissions = ()
        ordering = ("-created_at", "id")
        constraints = [
            models.UniqueConstraint(fields=("schedule", "local_date"), name="reports_reportrun_once_a_local_date"),
            models.CheckConstraint(
                condition=models.Q(schedule__isnull=True, local_date__isnull=True)
                | models.Q(schedule__isnull=False, local_date__isnull=False),
                name="reports_reportrun_scheduled_for_a_date",
            ),
        ]


class ReportArtifact(Record):
    """A file that a run has made."""

    class Format(models.TextChoices):
        CSV = "csv"
        PDF = "pdf"

    run = models.ForeignKey(ReportRun, on_delete=models.CASCADE, related_name="artifacts")
    format = models.CharField(max_length=10, choices=Format.choices)
    file = models.ForeignKey(StoredFile, on_delete=models.CASCADE, related_name="+")

    class Meta:
        default_permissions = ()
        ordering = ("id",)
        constraints = [models.UniqueConstraint(fields=("run", "format"), name="reports_reportartifact_once")]


class SavedView(Record):
    """A list that somebody comes back to: a resource and the parameters of its list, under a name of their own.

    `resource` is an address below /api/v1/ (`school/students`), `query` what stands behind the question mark. A shared
    one is seen by everybody; what it lists is still what each may see.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, editable=False, related_name="+", db_index=False
    )
    resource = models.CharField(max_length=100)
    name = models.CharField(max_length=100)
    query = models.CharField(max_length=2000, blank=True)
    shared = models.BooleanField(default=False)
    url = models.GeneratedField(
        expression=Concat(models.Value("/api/v1/"), "resource", models.Value("/?"), "query"),
        output_field=models.CharField(max_length=2200),
        db_persist=True,
    )

    class Meta:
        default_permissions = ()
        ordering = ("name", "id")
        constraints = [
            models.UniqueConstraint(fields=("owner", "resource", "name"), name="reports_savedview_name_of_a_person")
        ]
