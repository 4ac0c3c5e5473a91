"""Deleting an institution: one operator asks, another confirms, and after the grace period nothing of it is served or
kept but its final backup, its history and its name.

Each step may be done again: a deletion that is killed is completed by the next run, from where it was.
"""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction

from shared_apps.core.actors import Actor, actor
from shared_apps.core.context import State, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.errors import Conflict, Forbidden
from shared_apps.tenants.addresses import release
from shared_apps.tenants.backups import forget
from shared_apps.tenants.backups.keeping import forget_files_but
from shared_apps.tenants.backups.making import back_up_alone
from shared_apps.tenants.lifecycle import locked_tenant, move, record, told
from shared_apps.tenants.models import Backup, Deletion, Domain, DomainClaim, KeptSchema, Tenant
from shared_apps.tenants.schemas import alone, drop_schema

GRACE = timedelta(days=30)
FINAL_BACKUP_KEPT = timedelta(days=90)
log = structlog.get_logger(__name__)


def request_deletion(*, tenant: Tenant, reason: str) -> Deletion:
    """Ask for an archived institution's deletion; nothing happens until another operator confirms it.

    Raises Conflict when it is not archived, or its deletion is asked for already.
    """
    who, by = _person()
    with platform(), transaction.atomic():
        locked = locked_tenant(tenant)
        if locked.state != State.ARCHIVED:
            raise Conflict(f"It is {locked.state}: archive it first, so that nobody works in it.", code="not_archived")
        try:
            with transaction.atomic():
                asked = Deletion.objects.create(
                    tenant=locked, reason=told(reason), requested_by=by, requested_by_name=who.name[:254]
                )
        except IntegrityError:
            raise Conflict("Its deletion is asked for already.", code="deletion_open") from None
        record(locked, "request_deletion", reason=asked.reason)
    return asked


def confirm_deletion(*, tenant: Tenant) -> Deletion:
    """Confirm what another operator has asked for; the grace period begins.

    Raises Conflict when nothing is asked for, when it is confirmed already, or to whoever asked.
    """
    who, by = _person()
    with platform(), transaction.atomic():
        locked = locked_tenant(tenant)
        asked = _open(locked)
        if asked.confirmed_at is not None:
            raise Conflict(f"It is confirmed already, by {asked.confirmed_by_name}.", code="deletion_confirmed")
        if asked.requested_by == by:
            raise Conflict("Another operator than the one who asked has to confirm it.", code="same_operator")
        asked.confirmed_by, asked.confirmed_by_name = by, who.name[:254]
        asked.confirmed_at = datetime.now(UTC)
        asked.due_at = asked.confirmed_at + GRACE
        asked.save(update_fields=["confirmed_by", "confirmed_by_name", "confirmed_at", "due_at", "updated_at"])
        record(locked, "confirm_deletion", reason=asked.reason)
    return asked


def cancel_deletion(*, tenant: Tenant, reason: str = "") -> Deletion:
    """Take the wish back, by any operator, until it is being carried out. The institution stays archived.

    Raises Conflict when nothing is asked for, or it is too late.
    """
    who, _ = _person()
    with platform(), transaction.atomic():
        locked = locked_tenant(tenant)
        asked = _open(locked)
        if locked.state != State.ARCHIVED:
            raise Conflict("It is being carried out already; there is the final backup.", code="deletion_under_way")
        asked.cancelled_by_name, asked.cancelled_at = who.name[:254], datetime.now(UTC)
        asked.save(update_fields=["cancelled_by_name", "cancelled_at", "updated_at"])
        record(locked, "cancel_deletion", reason=told(reason))
    return asked


def complete_due() -> list[Tenant]:
    """Carry out every deletion whose grace period is over, those that were killed on the way included, and forget final
    backups that have had their time. The institutions that are deleted now.

    The trouble of one stops no other; it is logged, and the next run tries again.
    """
    done = []
    with platform(), owner_connection():
        now = datetime.now(UTC)
        due = Deletion.objects.filter(due_at__lte=now, cancelled_at=None, finished_at=None).order_by("due_at")
        for deletion in due.select_related("tenant"):
            try:
                with alone(deletion.tenant):
                    done += [deletion.tenant] if _complete(deletion) else []
            except Exception as error:
                log.error("deletion_failed", institution=str(deletion.tenant_id), exc_info=error)
        _forget_final_backups(now - FINAL_BACKUP_KEPT)
    return done


def _complete(deletion: Deletion) -> bool:
    """Under the institution's lock. False when somebody cancelled it, or another process has done it."""
    deletion.refresh_from_db()
    tenant = Tenant.objects.get(pk=deletion.tenant_id)
    if deletion.cancelled_at is not None or deletion.finished_at is not None:
        return False
    if tenant.state == State.ARCHIVED:
        if deletion.final_backup_id is None:
            # Nobody writes into an archived institution: whatever it held is in here.
            deletion.final_backup = back_up_alone(tenant=tenant)
            deletion.save(update_fields=["final_backup", "updated_at"])
        if not _begin(tenant):
            return False
    for kept in KeptSchema.objects.filter(tenant=tenant):
        drop_schema(kept.schema_name)
        kept.delete()
    drop_schema(tenant.schema_name)
    files = Path(settings.MEDIA_ROOT) / str(tenant.pk)
    if files.exists():
        shutil.rmtree(files)
    for backup in Backup.objects.filter(tenant=tenant).exclude(pk=deletion.final_backup_id):
        forget(backup)
    forget_files_but(tenant, deletion.final_backup.file if deletion.final_backup else "")
    with transaction.atomic():
        locked = locked_tenant(tenant)
        for domain in Domain.objects.filter(tenant=locked):
            release(domain)
        DomainClaim.objects.filter(tenant=locked).delete()
        deletion.finished_at = datetime.now(UTC)
        deletion.save(update_fields=["finished_at", "updated_at"])
        move(locked, State.DELETED, verb="delete", reason=deletion.reason)
    return True


def _begin(tenant: Tenant) -> bool:
    """The point of no return, unless somebody cancelled while the backup was written."""
    with transaction.atomic():
        locked = locked_tenant(tenant)
        if not Deletion.objects.filter(tenant=locked, cancelled_at=None, finished_at=None).exists():
            return False
        move(locked, State.DELETING, verb="begin_deletion", reason=locked.state_reason)
    return True


def _forget_final_backups(before: datetime) -> None:
    for deletion in Deletion.objects.filter(finished_at__lt=before).exclude(final_backup=None):
        if deletion.final_backup is not None:
            forget(deletion.final_backup)


def _open(tenant: Tenant) -> Deletion:
    asked = Deletion.objects.select_for_update().filter(tenant=tenant, cancelled_at=None, finished_at=None).first()
    if asked is None:
        raise Conflict("Nobody has asked for its deletion.", code="no_deletion")
    return asked


def _person() -> tuple[Actor, UUID]:
    """Who acts. Raises Forbidden unless it is an operator in person: two commands could be one pair of hands."""
    who = actor()
    if who is None or who.user_id is None:
        raise Forbidden("Deletions are asked for and confirmed by operators in person.", code="no_operator")
    return who, who.user_id
