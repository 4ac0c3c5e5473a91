"""Whether all is as it should be, and what to run where it is not."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection

from shared_apps.core.context import State, platform
from shared_apps.tenants.backups.due import bad, overdue
from shared_apps.tenants.migrating import unlike_the_template
from shared_apps.tenants.models import Deletion, KeptSchema, SchemaTemplate, Tenant
from shared_apps.tenants.schemas import at_work, in_the_making, schema_stands

LATE = timedelta(days=1)  # the schedule carries deletions out every hour
SCHEMAS = r"SELECT nspname FROM pg_namespace WHERE nspname ~ '^(t|template)_[a-z0-9]+$' ORDER BY nspname"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not as it should be. `where` is a slug or a schema; `mend` says what to do."""

    where: str
    what: str
    mend: str


def findings() -> list[Finding]:
    """What killed commands left and what was changed by hand; empty when all is well. Work under way is no finding."""
    with platform():
        unlike = [_unlike(tenant) for tenant in unlike_the_template()]
        half = [*_half_made(), *_half_deleted(), *_half_restored()]
        return [*unlike, *half, *_overdue(), *_unknown_schemas(), *_backups()]


def _unlike(tenant: Tenant) -> Finding:
    if not schema_stands(tenant.schema_name):
        return Finding(tenant.slug, f"its schema {tenant.schema_name} is not there", "manage.py tenant recover")
    return Finding(tenant.slug, f"schema {tenant.schema_name} differs from the template", "manage.py tenant migrate")


def _half_made() -> list[Finding]:
    left = Tenant.objects.filter(state=State.PROVISIONING).prefetch_related("domains")
    return [
        Finding(tenant.slug, "its making has ended half way", f"manage.py tenant finish-making {tenant.slug}")
        for tenant in left
        if not in_the_making(tenant.schema_name)
    ]


def _half_deleted() -> list[Finding]:
    left = Tenant.objects.filter(state=State.DELETING).prefetch_related("domains")
    return [
        Finding(tenant.slug, "its deletion has ended half way", "manage.py tenant finish-deletions")
        for tenant in left
        if not at_work(tenant.pk)
    ]


def _overdue() -> list[Finding]:
    late = Deletion.objects.filter(due_at__lt=datetime.now(UTC) - LATE, cancelled_at=None, finished_at=None)
    mend = "see deletion_failed in the log, then manage.py tenant finish-deletions"
    return [
        Finding(deletion.tenant.slug, "its deletion is overdue", mend)
        for deletion in late.filter(tenant__state=State.ARCHIVED).select_related("tenant")
    ]


def _half_restored() -> list[Finding]:
    return [
        Finding(kept.schema_name, "a restore has ended half way and left this schema", "manage.py tenant prune")
        for kept in KeptSchema.objects.filter(reason="restoring")
        if not at_work(kept.tenant_id)
    ]


def _unknown_schemas() -> list[Finding]:
    known = {
        name for model in (Tenant, KeptSchema, SchemaTemplate) for (name,) in model.objects.values_list("schema_name")
    }
    with connection.cursor() as cursor:
        cursor.execute(SCHEMAS)
        found = [name for (name,) in cursor.fetchall()]
    return [
        Finding(name, "a schema that belongs to no institution", "look into it, and drop it by hand")
        for name in found
        if name not in known
    ]


def _backups() -> list[Finding]:
    """Those that are bad, and those that the schedule should have made; without one nobody has said when one is due."""
    wrong = [
        Finding(
            _whose(backup.tenant),
            f"its newest backup is bad ({backup.complaint.replace(';', ',')})",
            _backup_of(backup.tenant),
        )
        for backup in bad()
    ]
    return wrong + [
        Finding(
            _whose(each.tenant),
            f"its backup is due since {each.since:%Y-%m-%d %H:%M} UTC (see backup_failed in the log)",
            _backup_of(each.tenant),
        )
        for each in (overdue() if settings.BACKUPS_SCHEDULED else ())
    ]


def _whose(tenant: Tenant | None) -> str:
    return tenant.slug if tenant else "the platform"


def _backup_of(tenant: Tenant | None) -> str:
    return f"manage.py tenant backup {tenant.slug if tenant else '--platform'}"
