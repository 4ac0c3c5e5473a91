"""Reports that people ask for or that come by themselves, and the files that they became."""

from datetime import date, time
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Concat

from shared_apps.core.clock import local_date
from shared_apps.core.models import Record
from tenant_apps.accounts.models import Role
from tenant_apps.eventlog.models import Job
from tenant_apps.files.models import StoredFile
from tenant_apps.school.standards import FIRST_DAY

YEARS_AHEAD = 10  # of which a report may be asked for: nobody has planned farther


class Format(models.TextChoices):
    """What a report may be written as."""

    CSV = "csv"
    PDF = "pdf"


def every_day() -> list[int]:
    """ISO weekdays: 1 is Monday, 7 is Sunday."""
    return [1, 2, 3, 4, 5, 6, 7]


def every_format() -> list[str]:
    return list(Format.values)


def formats_field(**options: Any) -> ArrayField:
    return ArrayField(models.CharField(max_length=10, choices=Format.choices), **options)


class ReportDefinition(Record):
    """A report that the platform can make. The rows follow the release (`definitions.sync`); nobody writes them.

    `permissions` are the codes that a person needs, each over what the report shows, beside the one to run reports.
    """

    code = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=120)
    permissions = ArrayField(models.CharField(max_length=100))
    formats = formats_field()

    class Meta:
        default_permissions = ()
        ordering = ("code",)

    def __str__(self) -> str:
        return self.name


class ReportSchedule(Record):
    """A report that is made on `weekdays` (ISO: 1 is Monday) at `at`, the institution's own time, as `formats`.

    Its subscriptions say who is told. A change holds from the next night that has no run.
    """

    definition = models.ForeignKey(ReportDefinition, on_delete=models.PROTECT, related_name="+")
    weekdays = ArrayField(
        models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(7)]), default=every_day
    )
    at = models.TimeField(default=time(2))
    formats = formats_field(default=every_format)
    active = models.BooleanField(default=True)

    class Meta:
        default_permissions = ()
        ordering = ("definition", "id")

    def clean(self) -> None:
        demand_distinct("weekdays", self.weekdays)
        demand_formats(self.formats, self.definition)


class ReportSubscription(Record):
    """Who is told of a schedule's runs: a person, or the holders of a role. Told is only who may see all that a
    scheduled report shows, at the time of each run."""

    schedule = models.ForeignKey(ReportSchedule, on_delete=models.CASCADE, related_name="subscriptions", db_index=False)
    role = models.ForeignKey(Role, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )

    class Meta:
        default_permissions = ()
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(
                condition=models.Q(role__isnull=True) ^ models.Q(user__isnull=True),
                name="reports_reportsubscription_a_role_or_a_person",
                violation_error_message="Name a role or a person, one of the two.",
            ),
            models.UniqueConstraint(
                fields=("schedule", "role", "user"), nulls_distinct=False, name="reports_reportsubscription_once"
            ),
        ]


class ReportRun(Record):
    """One making of a report, about the day `on`, as `formats`. Its state is its job's.

    `local_date` is the institution's date that a schedule's run is for: one run for each, whoever starts it how often.
    Nobody has requested a scheduled run; it shows the whole institution. A requested one shows what the person may see:
    `campuses` are the ids that it was narrowed to, None is the whole institution. Its files are kept until
    `expires_at`; the run stays. `attempts` counts the jobs that were started for it. It was
    given up where it has finished without `expires_at`.
    """

    definition = models.ForeignKey(ReportDefinition, on_delete=models.PROTECT, related_name="+")
    on = models.DateField(default=local_date)
    formats = formats_field(default=every_format)
    schedule = models.ForeignKey(
        ReportSchedule, null=True, on_delete=models.PROTECT, editable=False, related_name="+", db_index=False
    )
    local_date = models.DateField(null=True, editable=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, editable=False, related_name="+"
    )
    campuses = ArrayField(models.UUIDField(), null=True, blank=True, editable=False)
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, editable=False, related_name="+")
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    expires_at = models.DateTimeField(null=True, editable=False)

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

    def clean(self) -> None:
        demand_formats(self.formats, self.definition)
        last = date(local_date().year + YEARS_AHEAD, 12, 31)
        if not FIRST_DAY <= self.on <= last:
            detail = f"The day must lie between {FIRST_DAY} and {last}."
            raise ValidationError({"on": ValidationError(detail, code="implausible_day")})


class ReportArtifact(Record):
    """A file that a run has made: `size` in bytes and digest stay when the file is no longer kept (`file` is None)."""

    run = models.ForeignKey(ReportRun, on_delete=models.CASCADE, related_name="artifacts", db_index=False)
    format = models.CharField(max_length=10, choices=Format.choices)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    file = models.ForeignKey(StoredFile, null=True, on_delete=models.SET_NULL, related_name="+")

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


def demand_distinct(name: str, values: list[Any]) -> None:
    """Raises ValidationError at `name` for a value that stands twice."""
    if len(set(values)) != len(values):
        raise ValidationError({name: ValidationError("Name each of them once.", code="repeated")})


def demand_formats(formats: list[str], definition: ReportDefinition) -> None:
    """Raises ValidationError for a format that stands twice or that the report has not."""
    demand_distinct("formats", formats)
    if not set(formats) <= set(definition.formats):
        known = ", ".join(definition.formats)
        raise ValidationError({"formats": ValidationError(f"This report comes as {known}.", code="no_such_format")})
