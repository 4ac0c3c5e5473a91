"""Verbs of reports: ask for one, start those that are due, make their files."""

from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import transaction

from shared_apps.core.api.served import resources
from shared_apps.core.clock import local_date
from shared_apps.core.errors import Forbidden, Invalid
from shared_apps.core.permissions import Action, Principal, Scope
from shared_apps.core.registry import NewInstitution
from shared_apps.core.storing import store
from tenant_apps.academics.permissions import AcademicsPermission
from tenant_apps.accounts.authentication import principal_for_user
from tenant_apps.accounts.models import Role, UserRole
from tenant_apps.communication.services import notify
from tenant_apps.eventlog.jobs import Progress, job
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.services import start_job
from tenant_apps.files.services import keep
from tenant_apps.reports import enrolment, nights, writing
from tenant_apps.reports.models import Report, ReportArtifact, ReportRun, ReportSchedule, SavedView
from tenant_apps.reports.permissions import ReportsPermission
from tenant_apps.school.models import Institution
from tenant_apps.school.permissions import SchoolPermission

RUN = "reports.run"
NEEDED = (
    ReportsPermission.RUN.code("add"),
    AcademicsPermission.ENROLMENT.code("view"),
    SchoolPermission.STUDENT.code("view"),
)
CONTENT_TYPES = {ReportArtifact.Format.CSV: "text/csv; charset=utf-8", ReportArtifact.Format.PDF: "application/pdf"}


def make_schedules(new: NewInstitution) -> None:
    """A new institution's principals have the enrolment report at two every night, its own time."""
    if new.kind == "institution":
        ReportSchedule.objects.create(report=Report.ENROLMENT, role=Role.objects.get(code="principal"))


def campuses_of(principal: Principal) -> set[UUID] | None:
    """The campuses over which the principal may count students; None is all of them. Raises Forbidden for none."""
    allowed: set[UUID] | None = None
    for code in NEEDED:
        reaches = principal.reaches(code)
        if any(reach.scope is Scope.INSTITUTION for reach in reaches):
            continue
        named = {reach.scope_id for reach in reaches if reach.scope is Scope.CAMPUS and reach.scope_id is not None}
        allowed = named if allowed is None else allowed & named
    if allowed is not None and not allowed:
        raise Forbidden("The report is for those who may see a whole campus or the institution.")
    return allowed


@transaction.atomic
def request_run(*, report: str, on: date | None, principal: Principal) -> ReportRun:
    """A run that a person asks for, about today without a day. Raises Forbidden, and ValidationError for no report."""
    campuses_of(principal)
    run = ReportRun(report=report, on=on or local_date(), requested_by_id=principal.user_id)
    run.full_clean(exclude=("requested_by",))
    run.job = start_job(kind=RUN, parameters={"run": str(run.pk)}, requested_by=principal.user_id)
    run.save(force_insert=True)
    return run


def start_due(*, now: datetime) -> int:
    """Start each schedule's run for its latest local date, unless it has one; how many were started.

    Dates before the schedule was made are none of its. The run and its job are one commit, so a killed worker has
    started both or neither, and of two workers the second finds the first one's run.
    """
    profile = Institution.objects.first()
    if profile is None:
        return 0
    zone, started = ZoneInfo(profile.time_zone), 0
    for schedule in ReportSchedule.objects.filter(active=True):
        day = nights.latest_due(now=now, at=schedule.at, zone=zone)
        if nights.instant(day, schedule.at, zone) < schedule.created_at:
            continue
        with transaction.atomic():
            run, new = ReportRun.objects.get_or_create(
                schedule=schedule, local_date=day, defaults={"report": schedule.report, "on": day}
            )
            if new:
                run.job = start_job(kind=RUN, parameters={"run": str(run.pk)}, requested_by=None)
                run.save(update_fields=("job", "updated_at"))
                started += 1
    return started


@job(RUN)
def make(running: Job, progress: Progress) -> dict[str, Any]:
    """Body of the job: with the rights that the person has now; files and notification in the job's transaction."""
    run = ReportRun.objects.select_related("schedule").get(pk=running.parameters["run"])
    campuses = None if run.schedule_id else campuses_of(principal_for_user(run.requested_by_id))
    progress(10, "Counting")
    counts = enrolment.count(on=run.on, campuses=campuses)
    progress.check()
    progress(50, "Writing")
    title, name = run.get_report_display(), Institution.objects.values_list("name", flat=True).get()
    contents = {
        ReportArtifact.Format.CSV: writing.as_csv(counts),
        ReportArtifact.Format.PDF: writing.as_pdf(counts, institution=name, title=title, on=run.on),
    }
    for form, content in contents.items():
        stored = keep(
            name=f"{run.report} {run.on.isoformat()}.{form}",
            content_type=CONTENT_TYPES[form],
            purpose="report",
            chunks=[content],
            owner=None,
        )
        ReportArtifact.objects.create(run=run, format=form, file=stored)
    notify(
        recipients=recipients(run),
        kind="report.ready",
        title=f"{title}, {run.on.isoformat()}",
        data={"run": str(run.pk)},
        key=f"report:{run.pk}",
    )
    return {"run": str(run.pk)}


def recipients(run: ReportRun) -> list[UUID]:
    """Who is told: the person who asked, else the schedule's people who may see the whole institution's runs."""
    if run.schedule is None:
        return [run.requested_by_id]
    holders = UserRole.objects.filter(role=run.schedule.role, scope=Scope.INSTITUTION, user__is_active=True)
    people = holders.values_list("user", flat=True).distinct()
    return [person for person in people if _sees_everything(principal_for_user(person))]


def _sees_everything(principal: Principal) -> bool:
    reaches = principal.reaches(ReportsPermission.RUN.code("view"))
    return any(reach.scope is Scope.INSTITUTION for reach in reaches)


def save_view(*, view: SavedView, values: dict[str, Any], by: Principal) -> SavedView:
    """Keep a list under a name, once its resource is one that the person may view and its parameters are understood.

    Raises Invalid at `/resource` or `/query`, and ValidationError.
    """
    for name, value in values.items():
        setattr(view, name, value)
    wanted = f"{view.resource.strip('/')}/"
    resource = next((one for one in resources if one.routed and one.address == wanted), None)
    if resource is None or not by.may(resource.permission.code(Action.VIEW)):
        raise Invalid.at(
            "/resource", "There is no such list for you; write it as school/students.", code="no_such_list"
        )
    view.resource = wanted.rstrip("/")
    try:
        asked = resource.reader().grammar.read(view.query)
    except Invalid as refused:
        code = refused.errors[0]["code"] if refused.errors else refused.code
        raise Invalid.at("/query", refused.detail, code=code) from None
    if asked.cursor is not None or asked.page is not None:
        raise Invalid.at("/query", "A view begins at its first page; leave cursor and page out.", code="bad_page")
    store(view, changed=None if view._state.adding else [*values, "resource"])
    return view
