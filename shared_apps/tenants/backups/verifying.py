"""Whether a backup is one: its file is as it was written, and a restore of it comes out as it says.

Without the key a platform can say the first only; that is what a key kept elsewhere costs.
"""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DataError, IntegrityError, NotSupportedError, ProgrammingError
from django.db.models import Max, Q

from shared_apps.core.actors import acting, platform_work
from shared_apps.core.context import platform
from shared_apps.core.errors import Invalid, NotFound
from shared_apps.tenants.addresses import fresh
from shared_apps.tenants.backups import archive
from shared_apps.tenants.backups.keeping import at_hand
from shared_apps.tenants.backups.restoring import drop_leftovers, rehearse
from shared_apps.tenants.lifecycle import LIVE
from shared_apps.tenants.models import Backup, Tenant

EVERY = timedelta(days=7)  # a backup of each institution is restored so often
SECONDS = 720.0  # after which a run looks at no other
log = structlog.get_logger(__name__)


def verify(backup: Backup) -> Backup:
    """Restore a backup aside and record what came of it. The institution goes on working; only its restores wait.

    What is no fault of the backup (the store or the database is away, a disk is full) raises, and leaves the record as
    it is; so does NotFound, for a backup that was forgotten meanwhile.
    """
    complaint = ""
    try:
        verdict = _look(backup)
    except Invalid as refused:
        verdict, complaint = Backup.Verdict.BAD, str(refused.detail)
    except (ProgrammingError, DataError, IntegrityError) as error:
        verdict, complaint = Backup.Verdict.BAD, f"Its rows cannot be restored: {error}"
    with platform():
        if not Backup.objects.filter(pk=backup.pk).exists():
            raise NotFound("The backup has been forgotten meanwhile.", code="no_backup")
    if verdict == Backup.Verdict.BAD:
        log.error("backup_bad", institution=_name(backup), file=backup.file, complaint=complaint)
    with platform():
        backup.verdict, backup.complaint, backup.verified_at = verdict, complaint[:300], datetime.now(UTC)
        backup.save(update_fields=["verdict", "complaint", "verified_at", "updated_at"])
    return backup


def _look(backup: Backup) -> str:
    """Raises Invalid, saying what is wrong."""
    with at_hand(backup) as path:
        try:
            rehearse(tenant=fresh(Tenant(pk=backup.tenant_id)) if backup.tenant_id else None, source=path)
        except Invalid as refused:
            if refused.code in (archive.SEALED, "newer_backup"):  # as it was written, for a key, a release, elsewhere
                return Backup.Verdict.INTACT
            raise
        except NotSupportedError as refused:
            log.warning("rehearsal_refused", why=str(refused))
            return Backup.Verdict.INTACT
    return Backup.Verdict.RESTORED


def _name(backup: Backup) -> str:
    return str(backup.tenant_id or "platform")


def verify_due_backups(*, seconds: float = SECONDS) -> list[Backup]:
    """Look at the newest backup of each institution, and of the platform, of which none was looked at for a week, the
    longest ago first.

    The trouble with one stops no other. Schemas that were put aside and have had their time are dropped on the way.
    """
    seen: list[Backup] = []
    if not settings.BACKUPS_SCHEDULED:
        return seen
    ends = time.monotonic() + seconds
    with acting(platform_work("backup verification")):
        drop_leftovers()
        for backup in to_verify():
            if time.monotonic() >= ends:
                break
            try:
                seen.append(verify(backup))
            except Exception as error:
                log.error("verification_failed", institution=_name(backup), exc_info=error)
    return seen


def to_verify() -> list[Backup]:
    """Those whose turn it is."""
    with platform():
        # A time to come is a wrong clock's.
        looks = Backup.objects.filter(verified_at__lte=datetime.now(UTC))
        last: dict[UUID | None, datetime | None] = dict(
            looks.order_by().values_list("tenant").annotate(Max("verified_at"))
        )
        newest = (
            Backup.objects.filter(Q(tenant=None) | Q(tenant__state__in=LIVE))
            .order_by("tenant_id", "-made_at", "-id")
            .distinct("tenant_id")
            .select_related("tenant")
        )
        turns = [(last.get(each.tenant_id) or datetime.min.replace(tzinfo=UTC), each) for each in newest]
    turns.sort(key=lambda turn: (turn[0], turn[1].made_at))
    return [backup for looked, backup in turns if looked <= datetime.now(UTC) - EVERY]
