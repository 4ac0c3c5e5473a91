"""A backup is believed when a restore of it has come out as it says."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from structlog.testing import capture_logs

from shared_apps.core.context import InstitutionContext, platform
from shared_apps.tenants.backups import archive, back_up, due, scheduled, verify, verifying
from shared_apps.tenants.checking import findings
from shared_apps.tenants.models import Backup, KeptSchema
from shared_apps.tenants.tasks import verify_backups
from tests.faults.dying import killed_at, points_of, seeded
from tests.shared_apps.tenants.archives import content_of, forged, path_of, tenant_of, with_manifest
from tests.shared_apps.tenants.test_backups import schemas


def damage(backup: Backup) -> None:
    """One bit, somewhere in the middle."""
    content = bytearray(path_of(backup).read_bytes())
    content[len(content) // 2] ^= 1
    path_of(backup).write_bytes(content)


def is_there(backup: Backup) -> bool:
    """The naive way: a file of the right size."""
    return path_of(backup).stat().st_size == backup.size


def test_a_backup_is_restored_aside_and_nobody_notices(
    places: Path, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    before = [content_of(place.schema_name) for place in (greenwood, lumiere)], schemas()
    looked = verify(back_up(tenant=tenant_of(greenwood)))
    assert (looked.verdict, looked.complaint) == ("restored", "")
    assert looked.verified_at is not None
    assert ([content_of(place.schema_name) for place in (greenwood, lumiere)], schemas()) == before
    with platform():
        assert not KeptSchema.objects.exists()
        assert Backup.objects.get().verdict == "restored"
    assert tenant_of(greenwood).schema_name == greenwood.schema_name


def test_a_damaged_or_lost_file_is_told_by_log_check_and_figures_and_replaced(
    places: Path, greenwood: InstitutionContext
) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    damage(made)
    assert is_there(made), "negative control: it looks as it did"
    refused = pytest.raises(CommandError, match="is not what was written")
    with platform(), capture_logs() as lines, refused:
        call_command("tenant", "verify-backup", "greenwood")
    assert [line["event"] for line in lines] == ["backup_bad"]
    assert [(found.where, found.mend) for found in findings()] == [("greenwood", "manage.py tenant backup greenwood")]
    assert due.figures()["backups_bad"] == 1
    with override_settings(BACKUPS_SCHEDULED=True):
        assert greenwood.id in {backup.tenant_id for backup in scheduled.make_due_backups()}
    assert findings() == []
    path_of(made).unlink()
    assert verify(made).complaint.startswith("There is no such backup")


def test_a_store_that_is_away_is_no_fault_of_the_backup(places: Path, greenwood: InstitutionContext) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    (places / "backups").rename(places / "elsewhere")
    with pytest.raises(OSError, match="mounted"):
        verify(made)
    with platform():
        assert Backup.objects.get().verdict == ""


def with_another_room(parts: dict[str, bytes]) -> dict[str, bytes]:
    """As many rows, of the same tables, but not the same: the digests of the parts are right."""
    dump = parts["schema.sql"]
    assert b"Greenwood" in dump
    dump = dump.replace(b"Greenwood", b"Blackwood")
    return with_manifest(sha256={"schema.sql": hashlib.sha256(dump).hexdigest()})(parts | {"schema.sql": dump})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (with_another_room, "Restored, the rows of .* are others"),
        (with_manifest(tables={}), "rows are not those"),
        (with_manifest(fingerprint="0" * 32), "schema differs"),
    ],
)
def test_what_a_restore_would_not_bring_back_is_found(
    places: Path, greenwood: InstitutionContext, change: Any, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    path_of(made).write_bytes(forged(made, change).read_bytes())
    made.sha256 = archive.digest(path_of(made))
    looked = verify(made)
    assert looked.verdict == "bad"
    assert re.search(complaint, looked.complaint)
    if change is with_another_room:
        monkeypatch.setattr("shared_apps.tenants.backups.restoring._demand_same_rows", lambda *args: None)
        assert verify(made).verdict == "restored", "negative control: numbers alone do not tell"


def test_without_the_key_the_file_alone_is_looked_at(places: Path, greenwood: InstitutionContext) -> None:
    away = pyrage.x25519.Identity.generate()
    with override_settings(BACKUP_RECIPIENTS=[str(away.to_public())]):
        made = back_up(tenant=tenant_of(greenwood))
        assert verify(made).verdict == "intact"
        assert not (places / "backups" / "identity.txt").exists()
        damage(made)
        assert verify(made).verdict == "bad"


def test_each_institution_has_its_turn_once_a_week(
    places: Path, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    verify_backups.run()
    old, other = back_up(tenant=tenant_of(greenwood)), back_up(tenant=tenant_of(lumiere))
    with override_settings(BACKUPS_SCHEDULED=True):
        verify_backups.run()
        with platform():
            assert set(Backup.objects.values_list("verdict", flat=True)) == {"restored"}
        assert verifying.verify_due_backups() == []
        newest = back_up(tenant=tenant_of(greenwood))
        assert verifying.to_verify() == [], "one of this institution was looked at not long ago"
        with platform():
            for backup in (old, other):
                long_ago = datetime.now(UTC) - verifying.EVERY - timedelta(hours=backup == other)
                Backup.objects.filter(pk=backup.pk).update(verified_at=long_ago)
        assert verifying.to_verify() == [other, newest]


def test_a_look_that_is_killed_leaves_nothing_that_the_next_does_not_sweep(
    places: Path, greenwood: InstitutionContext
) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    before = schemas()
    last = points_of(lambda: verify(made))
    for point in seeded(last - 5, 2, first=4):
        assert killed_at(point, lambda: verify(made))
    assert tenant_of(greenwood).schema_name == greenwood.schema_name
    with override_settings(BACKUPS_SCHEDULED=True), platform():
        Backup.objects.update(verified_at=None)
        assert [backup.verdict for backup in verifying.verify_due_backups()] == ["restored"]
    assert schemas() == before
