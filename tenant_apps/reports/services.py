"""Verbs of reports: ask for one, start those that are due, make their files."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from shared_apps.core.api.served import resources
from shared_apps.core.clock import local_date
from shared_apps.core.errors import Invalid
from shared_apps.core.permissions import Action, Principal
from shared_apps.core.storing import store
from tenant_apps.accounts.authentication import principal_for_user
from tenant_apps.accounts.models import User, UserRole
from tenant_apps.communication.services import notify
from tenant_apps.eventlog.jobs import Progress, job
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.services import start_job
from tenant_apps.files.services import keep
from tenant_apps.reports import nights
from tenant_apps.reports.definitions import REPORTS, Asked
from tenant_apps.reports.models import (
    Format,
    ReportArtifact,
    ReportDefinition,
    ReportRun,
    ReportSchedule,
    ReportSubscription,
    SavedView,
)
from tenant_apps.reports.reach import campuses_of, sees
from tenant_apps.school.models import Institution

RUN = "reports.run"
MOST_ATTEMPTS = 3  # jobs for one night
KEPT = timedelta(days=90)  # files; their run stays
CONTENT_TYPES = {Format.CSV: "text/csv; charset=utf-8", Format.PDF: "application/pdf"}


@transaction.atomic
def request_run(
    *, definition: ReportDefinition, principal: Principal, on: date | None = None, formats: list[str] | None = None
) -> ReportRun:
    """A run that a person asks for: about today without a day, in all its formats unless named.

    Raises Forbidden, and ValidationError for formats that the report has not.
    """
    campuses_of(principal, definition)
    run = ReportRun(
        definition=definition,
        on=on or local_date(),
        formats=definition.formats if formats is None else formats,
        requested_by_id=principal.user_id,
    )
    run.job, run.attempts = _job(run), 1
    store(run)
    return run


def _job(run: ReportRun) -> Job:
    return start_job(kind=RUN, parameters={"run": str(run.pk)}, requested_by=run.requested_by_id)


def start_due(*, now: datetime) -> int:
    """Start each schedule's run for its latest local date, unless it has one; how many were started. One whose job has
    failed gets another, up to three in all.

    Dates before the schedule or the institution was made are none of its. The run and its job are one commit, so a
    killed worker has started both or neither, and of two workers the second finds the first one's run.
    """
    profile = Institution.objects.first()
    if profile is None:
        return 0
    zone, started = ZoneInfo(profile.time_zone), 0
    for schedule in ReportSchedule.objects.filter(active=True):
        day = nights.latest_due(now=now, at=schedule.at, zone=zone, weekdays=schedule.weekdays)
        # The first schedules of an institution come with its template, which is older than itself.
        if nights.instant(day, schedule.at, zone) < max(schedule.created_at, profile.created_at):
            continue
        with transaction.atomic():
            run, _ = ReportRun.objects.select_related("job").get_or_create(
                schedule=schedule,
                local_date=day,
                defaults={"definition_id": schedule.definition_id, "on": day, "formats": schedule.formats},
            )
            started += _start(run)
    return started


def _start(run: ReportRun) -> bool:
    """Start a job for a run that has none, or whose last one has failed. Of two who try at once, the second finds that
    the count has moved."""
    failed = run.job is not None and run.job.state == Job.State.FAILED
    if failed and run.attempts >= MOST_ATTEMPTS:
        _give_up(run)
        return False
    if run.attempts and not failed:
        return False
    mine = ReportRun.objects.filter(pk=run.pk, attempts=run.attempts).update(attempts=run.attempts + 1)
    if mine:
        ReportRun.objects.filter(pk=run.pk).update(job=_job(run), updated_at=timezone.now())
    return bool(mine)


def _give_up(run: ReportRun) -> None:
    """Tell, once, those who wait for it."""
    if ReportRun.objects.filter(pk=run.pk, finished_at=None).update(finished_at=timezone.now()):
        notify(
            recipients=recipients(run),
            kind="report.failed",
            title=f"{run.definition.name}, {run.on.isoformat()}: not made",
            body=f"It was tried {MOST_ATTEMPTS} times. Quote job {run.job_id} to support, or ask for the report again.",
            data={"run": str(run.pk), "job": str(run.job_id)},
        )


@job(RUN)
def make(running: Job, progress: Progress) -> dict[str, Any]:
    """Body of the job: with the rights that the person has now; files and notification in the job's transaction."""
    run = ReportRun.objects.select_related("definition").get(pk=running.parameters["run"])
    definition = run.definition
    campuses = None
    if run.requested_by_id is not None:
        campuses = campuses_of(principal_for_user(run.requested_by_id), definition)
    progress(10, "Counting and writing")
    asked = Asked(
        on=run.on,
        campuses=campuses,
        formats=run.formats,
        name=definition.name,
        institution=Institution.objects.values_list("name", flat=True).get(),
    )
    files = REPORTS[definition.code].write(asked)
    progress.check()
    progress(80, "Keeping the files")
    now = timezone.now()
    for form, content in files.items():
        stored = keep(
            name=f"{definition.code} {run.on.isoformat()}.{form}",
            content_type=CONTENT_TYPES[Format(form)],
            purpose="report",
            chunks=[content],
            owner=None,
            expires_at=now + KEPT,
        )
        ReportArtifact.objects.create(run=run, format=form, size=stored.size, sha256=stored.sha256, file=stored)
    run.campuses = None if campuses is None else sorted(campuses)
    run.started_at, run.finished_at, run.expires_at = running.started_at, now, now + KEPT
    run.save(update_fields=("campuses", "started_at", "finished_at", "expires_at", "updated_at"))
    notify(
        recipients=recipients(run),
        kind="report.ready",
        title=f"{definition.name}, {run.on.isoformat()}",
        data={"run": str(run.pk)},
        key=f"report:{run.pk}",
    )
    return {"run": str(run.pk)}


def recipients(run: ReportRun) -> list[UUID]:
    """Who is told: the person who asked, else the schedule's subscribers who may have its files now."""
    if run.requested_by_id is not None:
        return [run.requested_by_id]
    told = ReportSubscription.objects.filter(schedule=run.schedule_id)
    holders = UserRole.objects.valid(timezone.now()).filter(role__in=told.filter(role__isnull=False).values("role"))
    people = User.objects.filter(
        Q(pk__in=told.filter(user__isnull=False).values("user")) | Q(pk__in=holders.values("user")), is_active=True
    )
    return [person for person in people.values_list("pk", flat=True) if sees(principal_for_user(person), run)]


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
