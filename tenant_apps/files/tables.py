"""The desk where exports and imports are handed to a worker: the kit knows tables, this room knows files and jobs."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request

from shared_apps.core.api.idempotency import once
from shared_apps.core.errors import Gone, TooMany
from shared_apps.core.permissions import Principal
from shared_apps.core.tables.exporting import read_export, resource_named
from shared_apps.core.tables.formats import CONTENT_TYPES
from shared_apps.core.tables.importing import ALL_OR_NOTHING, Import, Options, Outcome
from shared_apps.core.tables.views import started
from tenant_apps.accounts.authentication import principal_for_user
from tenant_apps.eventlog.jobs import JobFailed, Progress, SecondConnection, job
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.services import start_job
from tenant_apps.files.models import StoredFile
from tenant_apps.files.services import keep, remove
from tenant_apps.files.uploads import TableUpload, receive

EXPORT, IMPORT = "files.export", "files.import"
MOST_OPEN = 3  # exports and imports that one person may have waiting or running
KEPT = timedelta(days=7)
UPLOAD_KEPT = timedelta(days=2)  # longer than any job waits; one that ends removes its upload itself
LOCK_SPACE = 7204  # of advisory locks; jobs use 7203


class Desk:
    """What `registry.table_desk` holds."""

    def start_export(self, *, resource: str, query: str, form: str, principal: Principal) -> UUID:
        with transaction.atomic():
            _demand_turn(principal.user_id)
            parameters = {"resource": resource, "query": query, "format": form}
            return start_job(kind=EXPORT, parameters=parameters, requested_by=principal.user_id).pk

    def start_import(self, *, resource: str, request: Request, principal: Principal) -> HttpResponse:
        with TableUpload(settings.TABLE_UPLOAD_MAX_BYTES) as upload:
            options = receive(request, upload)

            def work() -> HttpResponse:
                _demand_turn(principal.user_id)
                stored = upload.incoming.keep(
                    name=upload.name,
                    content_type=CONTENT_TYPES[upload.form],
                    purpose="import",
                    owner=None,
                    expires_at=timezone.now() + UPLOAD_KEPT,
                )
                parameters = {"resource": resource, "file": str(stored.pk), "options": asdict(options)}
                return started(start_job(kind=IMPORT, parameters=parameters, requested_by=principal.user_id).pk)

            content = f"{upload.incoming.sha256} {options!r}".encode()
            return once(request._request, principal.user_id, work, content=content)


def _demand_turn(user_id: UUID) -> None:
    """Raises TooMany for a person with too many open jobs of this desk. Two requests at once are counted in turn."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [str(user_id), LOCK_SPACE])
    states = (Job.State.PENDING, Job.State.RUNNING)
    if Job.objects.filter(kind__in=(EXPORT, IMPORT), requested_by_id=user_id, state__in=states).count() >= MOST_OPEN:
        raise TooMany(
            f"You have {MOST_OPEN} exports and imports under way; wait for one, or cancel it at /api/v1/jobs/.",
            code="too_many_jobs",
            headers={"Retry-After": "10"},
        )


@job(EXPORT)
def run_export(running: Job, progress: Progress) -> dict[str, Any]:
    """Body of the job: with the rights that the person has now, and the file in the job's own transaction."""
    principal = principal_for_user(running.requested_by_id)
    wanted = read_export(resource_named(running.parameters["resource"]), running.parameters["query"], principal)
    whole = wanted.count()

    def told(done: int) -> None:
        progress.check()
        progress(95 * done / max(whole, 1), f"Writing {wanted.name}")

    with wanted.spool(told) as table:
        stored = keep(
            name=wanted.name,
            content_type=CONTENT_TYPES[wanted.form],
            purpose="export",
            chunks=table,
            owner=principal.user_id,
            expires_at=timezone.now() + KEPT,
        )
    return {"file": stored.url, "name": stored.name, "rows": whole, "size": stored.size}


def forget_upload(ended: Job) -> None:
    """Once the job's end is committed nobody needs the file any more; until then the next worker might."""
    with transaction.atomic():
        for stored in StoredFile.objects.filter(pk=ended.parameters["file"]):
            remove(stored)


@job(IMPORT, after=forget_upload)
def run_import(running: Job, progress: Progress) -> dict[str, Any]:
    """Body of the job. A dry run succeeds whatever it finds; all or nothing fails with any refusal."""
    principal = principal_for_user(running.requested_by_id)
    options = Options(**running.parameters["options"])
    upload = StoredFile.objects.filter(pk=running.parameters["file"]).first()
    if upload is None:
        raise Gone("The uploaded file is no longer kept; send it again.", code="file_expired")
    work = Import(resource_named(running.parameters["resource"]), principal, options)

    def told(done: int) -> None:
        progress.check()
        progress(min(95, 5 + done / 200), f"Row {done:,} of {upload.name}")

    with transaction.atomic():
        outcome = work.run(upload.place, told)
        refused = bool(outcome.counts["refused"]) and (options.mode == ALL_OR_NOTHING or outcome.beyond is not None)
        if options.dry_run or refused:
            transaction.set_rollback(True)
    result = _result(outcome, upload.name, options)
    if outcome.refused_rows is not None:
        # Beside this transaction: of an import that fails nothing else is kept.
        result["error_file"] = _beside(_keep_refused, outcome, upload.name, principal.user_id)
    if refused and not options.dry_run:
        if outcome.beyond is not None:
            raise JobFailed(
                [{"pointer": "/file", "detail": outcome.beyond.detail, "code": outcome.beyond.code}], result
            )
        number = outcome.counts["refused"]
        detail = f"{number:,} of {outcome.counts['rows']:,} rows are refused, so nothing was imported."
        raise JobFailed([{"pointer": "/file", "detail": detail, "code": "rows_refused"}], result)
    return result


def _result(outcome: Outcome, name: str, options: Options) -> dict[str, Any]:
    return {
        "name": name,
        "dry_run": options.dry_run,
        "counts": outcome.counts,
        "preview": outcome.preview,
        "errors": outcome.errors,
        "warnings": outcome.warnings,
        "error_file": None,
    }


def _keep_refused(outcome: Outcome, name: str, owner: UUID) -> str:
    with outcome.refused_rows as rows, transaction.atomic():
        return keep(
            name=f"{name.rpartition('.')[0] or name} - refused rows.csv",
            content_type=CONTENT_TYPES["csv"],
            purpose="import",
            chunks=rows,
            owner=owner,
            expires_at=timezone.now() + KEPT,
        ).url


def _beside(function: Callable[..., str], *arguments: Any) -> str:
    beside = SecondConnection()
    try:
        return beside.run(function, *arguments).result()
    finally:
        beside.close()
