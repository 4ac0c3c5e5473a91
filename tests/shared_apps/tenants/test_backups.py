"""One institution is taken back to another day while its neighbours are not touched."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
from django.db import connection, transaction
from django.test import override_settings

from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.errors import Conflict, Invalid
from shared_apps.tenants import migrating
from shared_apps.tenants.backups import archive, back_up, drop_leftovers, restore, restoring, undo_restore
from shared_apps.tenants.fingerprint import fingerprints
from shared_apps.tenants.models import KeptSchema, Tenant
from shared_apps.tenants.services import migrate_platform
from tenant_apps.audit import anchors
from tenant_apps.audit.chain import head, seal_some, verify
from tenant_apps.eventlog.models import Job, OutboxMessage
from tenant_apps.school.models import Campus
from tests import cast as casting
from tests.api import as_person
from tests.shared_apps.tenants.archives import content_of, forged, parts_of, path_of, tenant_of, with_manifest

LATER = {"school": "tests.shared_apps.tenants.later_release"}


def rename_the_campus(context: InstitutionContext, name: str) -> None:
    with institution(context), transaction.atomic():
        campus = Campus.objects.order_by("id").first()
        assert campus is not None
        campus.name = name
        campus.save()


def campus_names(context: InstitutionContext) -> set[str]:
    with institution(context):
        return set(Campus.objects.values_list("name", flat=True))


def now_at(context: InstitutionContext) -> InstitutionContext:
    return tenant_of(context).context


def test_a_restore_brings_back_rows_and_files_and_touches_no_neighbour(
    places: Path, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    kept = places / "media" / str(greenwood.id) / "a" / "report.pdf"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"%PDF")
    before, neighbour = content_of(greenwood.schema_name), content_of(lumiere.schema_name)
    made = back_up(tenant=tenant_of(greenwood))
    rename_the_campus(greenwood, "Renamed by mistake")
    kept.unlink()
    restored = restore(tenant=tenant_of(greenwood), source=path_of(made))
    assert restored.schema_name != greenwood.schema_name
    after = content_of(restored.schema_name)
    differing = {name for name in before if before[name] != after[name]}
    assert "Renamed by mistake" not in campus_names(restored.context)
    assert not {name for name in differing if name.startswith(("school_", "academics_"))}
    assert kept.read_bytes() == b"%PDF"
    assert content_of(lumiere.schema_name) == neighbour
    assert fingerprints_agree(restored, lumiere)


def fingerprints_agree(tenant: Tenant, other: InstitutionContext) -> bool:
    with platform():
        return len(set(fingerprints([tenant.schema_name, other.schema_name]).values())) == 1


def test_everybody_signs_in_again_and_nothing_is_sent_twice(places: Path, greenwood: InstitutionContext) -> None:
    principal = as_person(greenwood, casting.of(greenwood).principal)
    assert principal.get("/api/v1/school/campuses/").status_code == 200
    with institution(greenwood):
        OutboxMessage.objects.create(topic="notify", payload={})
        Job.objects.create(kind="test", state=Job.State.RUNNING)
    made = back_up(tenant=tenant_of(greenwood))
    restored = restore(tenant=tenant_of(greenwood), source=path_of(made))
    assert principal.get("/api/v1/school/campuses/").status_code == 401
    assert as_person(greenwood, casting.of(greenwood).principal).get("/api/v1/school/campuses/").status_code == 200
    with institution(restored.context):
        assert not OutboxMessage.objects.filter(done_at=None).exists()
        assert Job.objects.get().state == Job.State.FAILED


def test_a_restore_can_be_undone_and_done_again(places: Path, greenwood: InstitutionContext) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    rename_the_campus(greenwood, "Later")
    restore(tenant=tenant_of(greenwood), source=path_of(made))
    assert "Later" not in campus_names(now_at(greenwood))
    undo_restore(tenant=tenant_of(greenwood))
    assert now_at(greenwood).schema_name == greenwood.schema_name
    assert "Later" in campus_names(now_at(greenwood))
    undo_restore(tenant=tenant_of(greenwood))
    assert "Later" not in campus_names(now_at(greenwood))


def test_of_two_restores_each_can_be_undone(places: Path, greenwood: InstitutionContext) -> None:
    """Somebody presses twice, or takes the wrong day first: what stood before both is not lost."""
    made = back_up(tenant=tenant_of(greenwood))
    rename_the_campus(greenwood, "Monday's work")
    for _ in range(2):
        restore(tenant=tenant_of(greenwood), source=path_of(made))
    undo_restore(tenant=tenant_of(greenwood))
    assert "Monday's work" not in campus_names(now_at(greenwood))
    undo_restore(tenant=tenant_of(greenwood))
    assert now_at(greenwood).schema_name == greenwood.schema_name
    assert "Monday's work" in campus_names(now_at(greenwood))


def test_nothing_is_undone_where_nothing_was_restored(places: Path, greenwood: InstitutionContext) -> None:
    with pytest.raises(Conflict):
        undo_restore(tenant=tenant_of(greenwood))


def test_a_backup_is_readable_by_its_identity_alone(places: Path, greenwood: InstitutionContext) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    raw = path_of(made).read_bytes()
    assert raw.startswith(b"age-encryption.org/v1")
    assert b"Greenwood" not in raw
    other = pyrage.x25519.Identity.generate()
    with override_settings(BACKUP_IDENTITY=str(other)), pytest.raises(Invalid, match="another key"):
        restore(tenant=tenant_of(greenwood), source=path_of(made))
    identity = archive._identity(make=False)
    assert b"Greenwood" in parts_of(pyrage.decrypt(raw, [identity]))["manifest.json"]


def test_backups_can_be_made_for_a_key_that_is_kept_elsewhere(places: Path, greenwood: InstitutionContext) -> None:
    away = pyrage.x25519.Identity.generate()
    with override_settings(BACKUP_RECIPIENTS=[str(away.to_public())]):
        made = back_up(tenant=tenant_of(greenwood))
    assert not (places / "backups" / "identity.txt").exists()
    with override_settings(BACKUP_IDENTITY=str(away)):
        assert restore(tenant=tenant_of(greenwood), source=path_of(made)).pk == greenwood.id


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (with_manifest(format=2), "other_format"),
        (with_manifest(institution="019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f"), "foreign_backup"),
        (with_manifest(migrations=["school.0099_from_the_future"]), "newer_backup"),
        (with_manifest(fingerprint="0" * 32), "bad_backup"),
        (with_manifest(tables={}), "bad_backup"),
        (lambda parts: parts | {"schema.sql": parts["schema.sql"][:-500]}, "bad_backup"),
        (lambda parts: {name: part for name, part in parts.items() if name != "schema.sql"}, "bad_backup"),
        (lambda parts: parts | {"../escape": b"x"}, "bad_backup"),
    ],
)
def test_a_backup_that_is_not_what_it_says_changes_nothing(
    places: Path, greenwood: InstitutionContext, change: Any, code: str
) -> None:
    source = forged(back_up(tenant=tenant_of(greenwood)), change)
    with pytest.raises(Invalid) as refused:
        restore(tenant=tenant_of(greenwood), source=source)
    assert refused.value.code == code
    assert now_at(greenwood).schema_name == greenwood.schema_name
    drop_leftovers()
    assert schemas() == {greenwood.schema_name} | others(greenwood)


def schemas() -> set[str]:
    with platform(), connection.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 't\\_%'")
        return {name for (name,) in cursor.fetchall()}


def others(context: InstitutionContext) -> set[str]:
    with platform():
        return set(Tenant.objects.exclude(pk=context.id).values_list("schema_name", flat=True))


@pytest.mark.parametrize("content", [b"", b"not a backup", b"age-encryption.org/v1\n" + b"x" * 100])
def test_a_file_that_is_no_backup_is_refused(places: Path, greenwood: InstitutionContext, content: bytes) -> None:
    source = places / "some.age"
    source.write_bytes(content)
    with pytest.raises(Invalid):
        restore(tenant=tenant_of(greenwood), source=source)
    with pytest.raises(Invalid, match="no such backup"):
        restore(tenant=tenant_of(greenwood), source=places / "missing.age")


def test_an_older_backup_gets_the_migrations_that_it_lacks(places: Path, greenwood: InstitutionContext) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    with override_settings(MIGRATION_MODULES=LATER):
        migrate_platform()
        assert migrating.migrate_institutions().failed == []
        restored = restore(tenant=tenant_of(greenwood), source=path_of(made))
        assert migrating.unlike_the_template() == []
        assert migrating.institutions_behind() == []
        with institution(restored.context), connection.cursor() as cursor:
            cursor.execute("SELECT extra_9 FROM school_campus LIMIT 1")


def test_a_restore_that_dies_before_the_flip_leaves_the_institution_as_it_is(
    places: Path, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    before = schemas()

    def die(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(restoring, "_flip", die)
    with pytest.raises(KeyboardInterrupt):
        restore(tenant=tenant_of(greenwood), source=path_of(made))
    monkeypatch.undo()
    assert now_at(greenwood).schema_name == greenwood.schema_name
    (left,) = schemas() - before
    assert drop_leftovers() == [left]
    assert schemas() == before


def test_kept_schemas_go_after_their_time_and_not_before(places: Path, greenwood: InstitutionContext) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    restore(tenant=tenant_of(greenwood), source=path_of(made))
    assert drop_leftovers() == []
    assert drop_leftovers(older_than=timedelta(0)) == [greenwood.schema_name]
    with platform():
        assert not KeptSchema.objects.exists()
    assert campus_names(now_at(greenwood)) != "Nothing"


def test_a_backup_counts_its_rows_in_the_dump_s_own_snapshot(
    places: Path, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer goes on while the backup is made."""
    from shared_apps.tenants.backups import making

    plainly = making.snapshots.write

    def dump_then_write(schema: str, target: Path) -> None:
        plainly(schema, target)
        with owner_connection_of_another():
            rename_the_campus(greenwood, "While it was written")

    monkeypatch.setattr(making.snapshots, "write", dump_then_write)
    made = back_up(tenant=tenant_of(greenwood))
    monkeypatch.undo()
    restored = restore(tenant=tenant_of(greenwood), source=path_of(made))
    assert "While it was written" not in campus_names(restored.context)


def owner_connection_of_another() -> Any:
    """A connection beside the one that holds the snapshot."""
    from contextlib import contextmanager

    from django.db import connections

    @contextmanager
    def beside() -> Iterator[None]:
        holding = connections["default"]
        connections["default"] = connections.create_connection("default")
        try:
            yield
        finally:
            connections["default"].close()
            connections["default"] = holding

    return beside()


def test_the_log_verifies_after_a_restore_and_after_its_undoing(
    places: Path, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last lines are the negative control: without the mark the restored chain looks cut off."""
    monkeypatch.setattr("django.conf.settings.AUDIT_ANCHORS", places / "anchors")

    def seal(context: InstitutionContext) -> None:
        with institution(context):
            while seal_some():
                pass
            sealed = head()
            assert sealed is not None
            anchors.anchor(context.id, sealed)

    def complaints(context: InstitutionContext) -> list[Any]:
        with institution(context):
            return list(verify().findings)

    seal(greenwood)
    made = back_up(tenant=tenant_of(greenwood))
    rename_the_campus(greenwood, "After the backup")
    seal(greenwood)
    restore(tenant=tenant_of(greenwood), source=path_of(made))
    seal(now_at(greenwood))
    assert complaints(now_at(greenwood)) == []
    undo_restore(tenant=tenant_of(greenwood))
    assert complaints(now_at(greenwood)) == []
    monkeypatch.setattr(anchors, "_append", lambda *args: None)
    restore(tenant=tenant_of(greenwood), source=path_of(made))
    anchors.file_of(greenwood.id).write_text(
        "\n".join(line for line in anchors.file_of(greenwood.id).read_text().splitlines() if "restored" not in line)
    )
    assert complaints(now_at(greenwood))
