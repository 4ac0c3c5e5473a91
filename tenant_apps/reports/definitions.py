"""The reports that this release can make, and their rows in every institution."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from shared_apps.core.context import InstitutionContext, Kind, current
from shared_apps.core.permissions import Action
from tenant_apps.academics.permissions import AcademicsPermission
from tenant_apps.accounts.models import Role
from tenant_apps.reports import enrolment, writing
from tenant_apps.reports.models import Format, ReportDefinition, ReportSchedule, ReportSubscription
from tenant_apps.school.models import Campus
from tenant_apps.school.permissions import SchoolPermission

Files = dict[str, bytes]
"""The content of each file, by its format."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is to show. `campuses` narrows it (None: the whole institution); `name` and `institution` are
    headings."""

    on: date
    campuses: Collection[UUID] | None
    formats: Collection[str]
    name: str
    institution: str


@dataclass(frozen=True, slots=True)
class Report:
    """A report as the code declares it. An institution that sees it for the first time gets a schedule for every night,
    told to `told`, the code of a system role."""

    code: str
    name: str
    permissions: tuple[str, ...]
    formats: tuple[str, ...]
    told: str
    write: Callable[[Asked], Files]


def _enrolment(asked: Asked) -> Files:
    counts = enrolment.count(on=asked.on, campuses=asked.campuses)
    files = {}
    if Format.CSV in asked.formats:
        files[str(Format.CSV)] = writing.as_csv(counts)
    if Format.PDF in asked.formats:
        names = None
        if asked.campuses is not None:
            names = list(Campus.objects.filter(pk__in=asked.campuses).order_by("name").values_list("name", flat=True))
        files[str(Format.PDF)] = writing.as_pdf(
            counts, institution=asked.institution, title=asked.name, on=asked.on, campuses=names
        )
    return files


REPORTS: Final = {
    report.code: report
    for report in (
        Report(
            code="enrolment",
            name="Enrolment by grade level and section",
            permissions=(
                AcademicsPermission.ENROLMENT.code(Action.VIEW),
                SchoolPermission.STUDENT.code(Action.VIEW),
            ),
            formats=(Format.CSV, Format.PDF),
            told="principal",
            write=_enrolment,
        ),
    )
}


def sync_after_migrate(**kwargs: Any) -> None:
    """Receiver of the room's post_migrate: in an institution once the tables stand, never on the platform."""
    context = current()
    if not isinstance(context, InstitutionContext) or context.kind != Kind.INSTITUTION:
        return
    try:
        kwargs["apps"].get_model("reports", "ReportSubscription")
    except LookupError:  # migrated back to before the table
        return
    sync()


def sync() -> None:
    """Make the institution's definitions equal to the declarations. With nothing to change it costs one query.

    A definition that is new brings its nightly schedule; one that somebody has removed since does not come back.
    """
    known = {row.code: row for row in ReportDefinition.objects.all()}
    for report in REPORTS.values():
        columns = {"name": report.name, "permissions": list(report.permissions), "formats": list(report.formats)}
        row = known.get(report.code)
        if row is None:
            _introduce(report, columns)
        elif any(getattr(row, name) != value for name, value in columns.items()):
            ReportDefinition.objects.filter(pk=row.pk).update(**columns)


@transaction.atomic
def _introduce(report: Report, columns: dict[str, Any]) -> None:
    definition = ReportDefinition.objects.create(code=report.code, **columns)
    schedule = ReportSchedule.objects.create(definition=definition, formats=columns["formats"])
    ReportSubscription.objects.create(schedule=schedule, role=Role.objects.get(code=report.told))
