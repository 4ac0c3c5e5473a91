"""Verbs of exchange with other systems: importing a roster, by a job or at the command line."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from shared_apps.core.clock import local_date
from shared_apps.core.context import current_institution
from shared_apps.core.errors import Forbidden, Problem
from shared_apps.core.limits import STUDENTS
from shared_apps.core.permissions import Action, Scope
from shared_apps.core.quotas import demand_room
from tenant_apps.accounts.authentication import principal_for_user
from tenant_apps.communication.services import notify
from tenant_apps.eventlog.jobs import Cancelled, JobFailed, Progress, SecondConnection, job
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.services import WORKER_LOST, start_job
from tenant_apps.files.services import keep
from tenant_apps.interop.models import RosterImport
from tenant_apps.interop.oneroster import Finding, Limits, read_roster
from tenant_apps.interop.permissions import InteropPermission
from tenant_apps.interop.roster import Plan, Steps, make_plan, one_import_at_a_time, write_plan
from tenant_apps.interop.roster.exporting import export_roster

KIND = "interop.roster_import"
EXPORT = "interop.roster_export"
EXPORT_KEPT = timedelta(days=7)
ABANDONED_AFTER = timedelta(hours=1)  # an upload that no import refers to; the longest upload takes minutes


def import_roster(*, path: Path, dry_run: bool, close_missing: bool, steps: Steps) -> Plan:
    """Compare the roster at `path` with the current institution and, unless `dry_run`, write the difference.

    Nothing is written when the plan has errors. All in one transaction (the caller's, if one is open); two imports of
    an institution run one after the other. Raises what `steps.check` raises, Conflict (`changed_meanwhile`) when
    somebody changed a row after it was compared, PaymentRequired when others took the last places meanwhile, and
    django.db.Error when they entered what the roster brings too.
    """
    steps(1, "Reading and checking")
    roster = read_roster(path, limits=Limits(upload_bytes=settings.ROSTER_UPLOAD_MAX_BYTES))
    steps(35, "Comparing")
    steps.check()
    with transaction.atomic():
        if not dry_run:
            one_import_at_a_time()
        plan = make_plan(roster, today=local_date(), close_missing=close_missing, steps=steps)
        if not dry_run and not plan.error_count:
            write_plan(plan, steps)
            if plan.enrolled_more > 0:
                demand_room(STUDENTS)
    return plan


def upload_folder() -> Path:
    """Where the current institution's uploads lie."""
    return settings.MEDIA_ROOT / str(current_institution().id) / "roster-imports"


def start_roster_import(
    *,
    import_id: UUID,
    upload: Path,
    file_name: str,
    size: int,
    sha256: str,
    dry_run: bool,
    close_missing: bool,
    requested_by: UUID | None,
) -> RosterImport:
    """Hand a stored upload to a worker. `upload` lies in `upload_folder()`; it is removed when the job has ended."""
    with transaction.atomic():
        started = start_job(kind=KIND, parameters={"roster_import": str(import_id)}, requested_by=requested_by)
        return RosterImport.objects.create(
            id=import_id,
            job=started,
            requested_by_id=requested_by,
            file_name=file_name,
            stored_path=str(upload.relative_to(settings.MEDIA_ROOT)),
            size=size,
            sha256=sha256,
            dry_run=dry_run,
            close_missing=close_missing,
        )


def forget_upload(ended: Job) -> None:
    """Once the job's end is committed nobody needs the upload any more; until then the next worker might."""
    record = RosterImport.objects.get(pk=ended.parameters["roster_import"])
    record.upload.unlink(missing_ok=True)
    if any(error.get("code") == WORKER_LOST for error in ended.errors):
        _tell(record, "roster.failed", "Roster not imported", f"{record.file_name}: {ended.errors[0]['detail']}")


@job(KIND, after=forget_upload)
def run_roster_import(running: Job, progress: Progress) -> dict[str, Any]:
    """Body of the job. A dry run succeeds whatever it finds; an import with errors fails and changes nothing."""
    record = RosterImport.objects.get(pk=running.parameters["roster_import"])
    try:
        plan = import_roster(
            path=record.upload, dry_run=record.dry_run, close_missing=record.close_missing, steps=progress
        )
    except (Cancelled, OperationalError, InterfaceError):
        # The database being away ends no job: a worker takes it up again, and nobody need be told.
        raise
    except Exception as error:
        reason = error.detail if isinstance(error, Problem) else "Something went wrong; the job says what to quote."
        _beside(_tell, record, "roster.failed", "Roster not imported", f"{record.file_name}: {reason}")
        raise
    if plan.error_count and not record.dry_run:
        _beside(_report, record, plan, "roster.failed", "Roster not imported")
        raise JobFailed(_errors(plan), _summary(record))
    if record.dry_run:
        _report(record, plan, "roster.checked", "Roster checked")
    else:
        _report(record, plan, "roster.imported", "Roster imported")
    return _summary(record)


def _beside(function: Callable[..., None], *arguments: Any) -> None:
    """Call in a transaction of its own: the job's rolls back, and what is said of a failure must outlive it."""
    beside = SecondConnection()
    try:
        beside.run(function, *arguments).result()
    finally:
        beside.close()


def _report(record: RosterImport, plan: Plan, kind: str, title: str) -> None:
    """Keep what the plan says and tell whoever asked for it, in one transaction."""
    record.counts = plan.counts
    record.findings = [{"severity": finding.severity, **finding.as_dict()} for finding in plan.findings]
    record.causes = [cause.as_dict() for cause in plan.causes]
    record.error_count, record.warning_count = plan.error_count, plan.warning_count
    with transaction.atomic():
        record.save(update_fields=("counts", "findings", "causes", "error_count", "warning_count", "updated_at"))
        _tell(record, kind, title, _sentence(record, plan))


def _tell(record: RosterImport, kind: str, title: str, body: str) -> None:
    """Tell whoever asked for the import how it ended; of each end once, also when a killed worker's job runs again."""
    if record.requested_by_id is None:
        return
    with transaction.atomic():
        notify(
            recipients=[record.requested_by_id],
            kind=kind,
            title=title,
            body=body,
            data=_summary(record),
            key=f"{kind}:{record.pk}",
        )


def _summary(record: RosterImport) -> dict[str, Any]:
    return {
        "roster_import": str(record.pk),
        "dry_run": record.dry_run,
        "counts": record.counts,
        "error_count": record.error_count,
        "warning_count": record.warning_count,
    }


def _sentence(record: RosterImport, plan: Plan) -> str:
    totals = {name: sum(counts[name] for counts in plan.counts.values()) for name in ("created", "updated", "closed")}
    numbers = ", ".join(f"{number:,} {name}" for name, number in totals.items())
    return f"{record.file_name}: {numbers}; {plan.error_count:,} errors, {plan.warning_count:,} warnings."


def _errors(plan: Plan) -> list[dict[str, Any]]:
    errors: list[Finding] = [finding for finding in plan.findings if finding.severity == "error"]
    return [finding.as_dict() for finding in errors]


def purge_imports(*, before: datetime) -> None:
    """Forget what was found in imports that ended before, and their jobs; what they brought is in the log."""
    old = RosterImport.objects.filter(job__finished_at__lt=before)
    jobs = list(old.values_list("job_id", flat=True))
    old.delete()
    Job.objects.filter(pk__in=jobs).delete()


def sweep_uploads() -> int:
    """Remove uploads of the current institution whose job has ended or never began; how many there were.

    They are what a killed worker, or a web process killed while it received a file, leaves behind.
    """
    folder = upload_folder()
    if not folder.is_dir():
        return 0
    before = (timezone.now() - ABANDONED_AFTER).timestamp()
    open_jobs = RosterImport.objects.filter(job__state__in=(Job.State.PENDING, Job.State.RUNNING))
    needed = {Path(path).name for path in open_jobs.values_list("stored_path", flat=True)}
    removed = 0
    for upload in folder.iterdir():
        with suppress(FileNotFoundError):  # Another sweep, or the job itself, was faster.
            # A young file may be one that is being received, or have got its row since the rows were read.
            if upload.name not in needed and upload.stat().st_mtime < before:
                upload.unlink()
                removed += 1
    return removed


def start_roster_export(*, version: str, since: datetime | None, requested_by: UUID) -> Job:
    """Let a worker write the institution's roster; the job's result names the file, which is the asker's own."""
    parameters = {"version": version, "since": since.isoformat() if since else None}
    return start_job(kind=EXPORT, parameters=parameters, requested_by=requested_by)


@job(EXPORT)
def run_roster_export(running: Job, progress: Progress) -> dict[str, Any]:
    """Body of the job: with the rights that the person has now."""
    principal = principal_for_user(running.requested_by_id)
    reaches = principal.reaches(InteropPermission.ROSTER.code(Action.EXPORT))
    if not any(reach.scope is Scope.INSTITUTION for reach in reaches):
        raise Forbidden("A roster concerns the whole institution, and your role does not.", code="outside_scope")
    progress(5, "Writing the roster")
    with TemporaryDirectory(prefix="lyceum-roster-") as directory:
        package = Path(directory) / "roster.zip"
        since = running.parameters["since"]
        exported = export_roster(
            package,
            version=running.parameters["version"],
            since=datetime.fromisoformat(since) if since else None,
        )
        progress.check()
        with package.open("rb") as content:
            stored = keep(
                name=f"{current_institution().slug} {local_date()} OneRoster.zip",
                content_type="application/zip",
                purpose="roster",
                chunks=content,
                owner=principal.user_id,
                expires_at=timezone.now() + EXPORT_KEPT,
            )
    notify(
        recipients=[principal.user_id],
        kind="roster.exported",
        title="Roster exported",
        body="The file is ready to be fetched.",
        data={"job": str(running.pk), "file": stored.url},
    )
    return {
        "file": stored.url,
        "name": stored.name,
        "counts": exported.counts,
        "size": stored.size,
        "as_of": exported.as_of.isoformat(),
    }
