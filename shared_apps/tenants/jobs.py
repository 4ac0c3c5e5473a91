"""What operators start and a worker does: backups, restores, migrations. Each may be begun again (core.registry)."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from shared_apps.core.errors import Conflict, NotFound
from shared_apps.core.registry import PlatformJob
from shared_apps.tenants.addresses import fresh
from shared_apps.tenants.backups import back_up, restore, undo_restore
from shared_apps.tenants.backups.keeping import at_hand
from shared_apps.tenants.checking import findings
from shared_apps.tenants.migrating import migrate_institutions
from shared_apps.tenants.models import Backup, Tenant


def make_backup(job: UUID, parameters: dict[str, Any], show: Any) -> dict[str, Any]:
    made = back_up(tenant=_tenant(parameters) if "institution" in parameters else None, work=job)
    return {"backup": str(made.pk), "size": made.size}


def restore_backup(job: UUID, parameters: dict[str, Any], show: Any) -> dict[str, Any]:
    tenant = _tenant(parameters)
    backup = Backup.objects.filter(pk=parameters["backup"], tenant=tenant).first()
    if backup is None:
        raise NotFound("The backup is gone.", code="no_backup")
    with at_hand(backup) as source:
        restore(tenant=tenant, source=source, work=job)
    return {"institution": str(tenant.pk), "backup": str(backup.pk)}


def take_back(job: UUID, parameters: dict[str, Any], show: Any) -> dict[str, Any]:
    return {"institution": str(undo_restore(tenant=_tenant(parameters), work=job).pk)}


def migrate(job: UUID, parameters: dict[str, Any], show: Any) -> dict[str, Any]:
    """Raises Conflict with each institution that failed; the others are up to date, unless a canary was among them."""

    def tell(done: int, of: int, seconds: float) -> None:
        show(100 * done / of, f"{done} of {of} institutions, {seconds / done * (of - done):.0f} s left")

    outcome = migrate_institutions(parallel=parameters["parallel"], canaries=parameters["canaries"], tell=tell)
    if outcome.failed:
        rest = "nobody else was touched" if outcome.stopped else "the others are up to date"
        raise Conflict(
            f"{len(outcome.failed)} institutions failed and are as they were; {rest}.",
            errors=[{"pointer": slug, "detail": error, "code": "migration_failed"} for slug, error in outcome.failed],
        )
    return {"migrated": len(outcome.migrated)}


def check(job: UUID, parameters: dict[str, Any], show: Any) -> dict[str, Any]:
    return {"findings": [asdict(finding) for finding in findings()]}


def _tenant(parameters: dict[str, Any]) -> Tenant:
    return fresh(Tenant(pk=UUID(parameters["institution"])))


JOBS: dict[str, PlatformJob] = {
    "tenants.backup": make_backup,
    "tenants.restore": restore_backup,
    "tenants.undo_restore": take_back,
    "tenants.migrate": migrate,
    "tenants.check": check,
}
