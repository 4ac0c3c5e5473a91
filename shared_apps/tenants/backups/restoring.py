"""Restoring a backup: into a new schema, checked there, and then made the institution's by one row.

Until that row is written everybody works on the old schema; from then on on the new one. The old schema is kept, so
that the restore can be undone. A kill on the way leaves the institution as it was and a schema that `tenant prune`
drops.
"""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.migrations.loader import MigrationLoader

from shared_apps.core.actors import acting, platform_work
from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.errors import Conflict, Invalid
from shared_apps.core.registry import registry
from shared_apps.tenants import dumps, template
from shared_apps.tenants.addresses import fresh
from shared_apps.tenants.backups import archive
from shared_apps.tenants.backups.making import digests_of, migrations_of, rows_of
from shared_apps.tenants.backups.scratch import scratch_database
from shared_apps.tenants.fingerprint import fingerprints
from shared_apps.tenants.lifecycle import demand_live, demand_no_deletion, record, tell
from shared_apps.tenants.models import KeptSchema, SchemaTemplate, Tenant, Transition, new_schema_name
from shared_apps.tenants.schemas import alone, drop_schema

KEEP_DAYS = 14


def restore(*, tenant: Tenant, source: Path, work: UUID | None = None) -> Tenant:
    """Make the institution what it was when `source` was written.

    Raises Invalid for a backup that is damaged, of another institution, or of a newer release: nothing was touched.
    Everybody has to sign in again, and what was waiting to be sent at that time is not sent again. What a job does is
    named by `work`: begun again after it was done, it does nothing.
    """
    with archive.opened(source) as backup:
        manifest = backup.manifest
        _demand_ours(manifest, tenant)
        with platform(), owner_connection(), alone(tenant):
            if _done(tenant, work):
                return fresh(tenant)
            made = KeptSchema.objects.create(tenant=tenant, schema_name=new_schema_name(), reason="restoring")
            _fill(made.schema_name, backup)
            _bring_up(tenant, made.schema_name)
            _copy_files(backup.files, Path(settings.MEDIA_ROOT) / str(tenant.pk))
            return _flip(tenant, made, reason="restored", what=f"{source.name} of {manifest.made_at}", work=work)


def rehearse(*, tenant: Tenant | None, source: Path) -> None:
    """Restore a backup into a schema that nobody reaches, or the platform's own into a database of its own, compare
    every table with what the backup says, and drop it.

    Raises Invalid for a backup of which no restore would come out as it says, and NotSupportedError where the owner's
    role may not make a database.
    """
    with archive.opened(source) as backup:
        if tenant is None:
            demand_of_platform(backup.manifest)
            with platform(), scratch_database():
                fill_public(backup)
                _demand_same_rows("public", backup.manifest)
            return
        _demand_ours(backup.manifest, tenant)
        with platform(), owner_connection(), alone(tenant):
            made = KeptSchema.objects.create(tenant=tenant, schema_name=new_schema_name(), reason="restoring")
            try:
                _fill(made.schema_name, backup)
                _demand_same_rows(made.schema_name, backup.manifest)
            finally:
                drop_schema(made.schema_name)
                made.delete()


def undo_restore(*, tenant: Tenant, work: UUID | None = None) -> Tenant:
    """Go back to the schema that the last restore put aside, and again to the one before it; when all are undone, to
    what was put aside by that. Raises Conflict when none is kept, and where a deletion is asked for."""
    with platform(), owner_connection(), alone(tenant):
        if _done(tenant, work):
            return fresh(tenant)
        aside = list(KeptSchema.objects.filter(tenant=tenant).exclude(reason="restoring").order_by("-kept_at"))
        if not aside:
            raise Conflict("No schema is kept of this institution; there is nothing to undo.", code="nothing_kept")
        kept = next((one for one in aside if one.reason == "restored"), aside[0])
        _settle(tenant.context_in(kept.schema_name), undone=True)
        return _flip(tenant, kept, reason="undone", what="", work=work)


def drop_leftovers(*, older_than: timedelta = timedelta(days=KEEP_DAYS)) -> list[str]:
    """Drop what killed restores left behind, and kept schemas that have had their time. Their names."""
    dropped = []
    with platform(), owner_connection():
        for kept in KeptSchema.objects.select_related("tenant"):
            aged = kept.kept_at < datetime.now(UTC) - older_than
            if aged or kept.reason == "restoring":
                with alone(kept.tenant):
                    if not KeptSchema.objects.filter(pk=kept.pk, schema_name=kept.schema_name).exists():
                        continue  # a restore that was running has made it the institution's
                    drop_schema(kept.schema_name)
                    kept.delete()
                    dropped.append(kept.schema_name)
    return dropped


def demand_of_platform(manifest: archive.Manifest) -> None:
    """Raises Invalid for an institution's backup, or one of a newer release."""
    if manifest.institution:
        raise Invalid(f"This is a backup of {manifest.name} ({manifest.slug}).", code="foreign_backup")
    _demand_known(manifest)


def fill_public(backup: archive.Opened) -> None:
    """The platform's own tables as they were, in one transaction, in a database that has none."""
    with transaction.atomic():
        with backup.dump.open(encoding="utf-8", newline="\n") as lines:
            # Every database is born with that schema, and it may be another's.
            dumps.play((line for line in lines if line != "CREATE SCHEMA public;\n"), name="public", into="public")
        _demand_numbers("public", backup.manifest)


def _demand_ours(manifest: archive.Manifest, tenant: Tenant) -> None:
    """Raises Invalid for another institution's backup, or one of a newer release."""
    if manifest.institution != str(tenant.pk):
        raise Invalid(f"This is a backup of {manifest.name} ({manifest.slug}).", code="foreign_backup")
    _demand_known(manifest)


def _demand_known(manifest: archive.Manifest) -> None:
    """Raises Invalid for a backup of a newer release."""
    newer = set(manifest.migrations) - {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations}
    if newer:
        raise Invalid(
            f"The backup was made by a newer release, which knows {sorted(newer)[0]}; upgrade first.",
            code="newer_backup",
        )


def _demand_same_rows(schema: str, manifest: archive.Manifest) -> None:
    """Raises Invalid when the content of a table is not what it was. A real restore is content with the numbers: rows
    may read otherwise on a later PostgreSQL, and who needs them needs them."""
    found = digests_of(schema)
    if differing := sorted(name for name in manifest.digests if manifest.digests[name] != found.get(name)):
        raise Invalid(f"Restored, the rows of {', '.join(differing)} are others.", code="bad_backup")


def _fill(schema: str, backup: archive.Opened) -> None:
    """Tables and rows as they were, in one transaction."""
    with transaction.atomic():
        with backup.dump.open(encoding="utf-8", newline="\n") as lines:
            dumps.play(lines, name=backup.manifest.schema_name, into=schema)
        if fingerprints([schema]).get(schema) != backup.manifest.fingerprint:
            raise Invalid("The restored schema differs from the one that was backed up.", code="bad_backup")
        _demand_numbers(schema, backup.manifest)


def _demand_numbers(schema: str, manifest: archive.Manifest) -> None:
    if rows_of(schema) != manifest.tables or migrations_of(schema) != manifest.migrations:
        raise Invalid("The restored rows are not those that were backed up.", code="bad_backup")


def _bring_up(tenant: Tenant, schema: str) -> None:
    """An older backup gets the migrations that it lacks; then the rooms settle what must not happen twice."""
    context = tenant.context_in(schema)
    template.migrate_schema(context)
    if fingerprints([schema])[schema] != SchemaTemplate.objects.get().fingerprint:
        raise Conflict("Migrated, the backup's schema differs from this release's template.", code="unlike_template")
    _settle(context, undone=False)


def _settle(context: InstitutionContext, *, undone: bool) -> None:
    with institution(context), acting(platform_work("restore")), transaction.atomic():
        for _, step, also_undone in registry.restore_steps:
            if also_undone or not undone:
                step()


def _done(tenant: Tenant, work: UUID | None) -> bool:
    """Whether the work has been done already, under the institution's lock. Raises Conflict where it cannot be, or
    must not: whoever confirmed a deletion has seen what it deletes."""
    now = Tenant.objects.get(pk=tenant.pk)
    demand_live(now)
    demand_no_deletion(now)
    return work is not None and Transition.objects.filter(work=work).exists()


def _flip(tenant: Tenant, to: KeptSchema, *, reason: str, what: str, work: UUID | None) -> Tenant:
    """The institution's schema and the kept one change places: one transaction over two rows."""
    with transaction.atomic():
        locked = Tenant.objects.select_for_update().get(pk=tenant.pk)
        old, locked.schema_name = locked.schema_name, to.schema_name
        to.schema_name, to.reason, to.kept_at = old, reason, datetime.now(UTC)
        # Both names are unique, and the two rows never hold the same one.
        to.save(update_fields=["schema_name", "reason", "kept_at", "updated_at"])
        locked.template_rows = SchemaTemplate.objects.get().rows if reason == "restored" else ""
        locked.save(update_fields=["schema_name", "template_rows", "updated_at"])
        record(locked, "restore" if reason == "restored" else "undo_restore", reason=what, work=work)
        tell(locked)
    return fresh(tenant)


def _copy_files(source: Path, target: Path) -> None:
    """Files that are no longer there come back; none is overwritten, for the old schema may be returned to."""
    for path in sorted(source.rglob("*")) if source.is_dir() else []:
        place = target / path.relative_to(source)
        if path.is_file() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            # Whole or not at all: half a file would be taken for a kept one by whoever restores next.
            arriving = place.with_name(f".{place.name}.arriving")
            shutil.copy(path, arriving)  # as of now: an old one that no row names yet would be swept
            arriving.replace(place)
