"""What else may go on while a backup is made, read, verified or forgotten, and what may be wrong beside it."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyrage
import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, State, institution, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.errors import Conflict, Invalid
from shared_apps.tenants.backups import (
    archive,
    back_up,
    due,
    keeping,
    making,
    restore,
    restoring,
    stores,
    undo_restore,
    verify,
    verifying,
)
from shared_apps.tenants.models import Backup, KeptSchema, Tenant
from shared_apps.tenants.schemas import alone
from tenant_apps.files import services as files
from tenant_apps.files.models import StoredFile
from tests.shared_apps.tenants.archives import forged, path_of, tenant_of, with_manifest
from tests.shared_apps.tenants.test_backups import now_at
from tests.shared_apps.tenants.test_scheduled_backups import recorded, together

HOUR = timedelta(hours=1)


def beside(work: Callable[[], Any]) -> tuple[Thread, list[Any]]:
    """Work in a thread of its own, and what becomes of it: a result or an exception."""
    results: list[Any] = []

    def run() -> None:
        with acting(command("test")):
            try:
                results.append(work())
            except Exception as error:  # noqa: BLE001 - looked at by the test
                results.append(error)
        connections.close_all()

    thread = Thread(target=run)
    thread.start()
    return thread, results


def as_it_was(*, tenant: Tenant) -> Backup:
    """The naive way: begun without asking whether somebody is at the institution as a whole."""
    with platform(), owner_connection():
        return making.back_up_alone(tenant=tenant)


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "without asking"])
def test_a_backup_waits_for_a_deletion_and_is_then_refused(
    places: Path, greenwood: InstitutionContext, naive: bool
) -> None:
    tenant = tenant_of(greenwood)
    with platform(), owner_connection(), alone(tenant):
        thread, made = beside(lambda: (as_it_was if naive else back_up)(tenant=tenant))
        thread.join(timeout=2)
        assert thread.is_alive() is not naive
        Tenant.objects.filter(pk=tenant.pk).update(state=State.DELETED)
    thread.join()
    assert isinstance(made[0], Backup if naive else Conflict)


def test_a_backup_that_waited_for_a_restore_is_of_the_restored_schema(
    places: Path, greenwood: InstitutionContext
) -> None:
    first = back_up(tenant=tenant_of(greenwood))
    stale = tenant_of(greenwood)
    restore(tenant=tenant_of(greenwood), source=path_of(first))
    with archive.opened(path_of(back_up(tenant=stale))) as opened:
        assert opened.manifest.schema_name == now_at(greenwood).schema_name != stale.schema_name


def test_a_job_s_backup_is_made_once_by_two_that_begin_it(places: Path, greenwood: InstitutionContext) -> None:
    job = recorded(greenwood, HOUR).pk
    with platform():
        Backup.objects.all().delete()
    made = together(lambda: back_up(tenant=tenant_of(greenwood), work=job))
    assert [each.pk for each in made] == [job, job]
    assert len(stores.store().keys("")) == 1


def test_two_first_backups_at_once_are_sealed_for_the_same_identity(
    places: Path, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    found = together(archive.recipients, 4)
    assert len({tuple(each) for each in found}) == 1
    assert oct((places / "backups" / "identity.txt").stat().st_mode)[-3:] == "600"


def test_who_lacks_the_key_is_told_which_is_wanted(places: Path, greenwood: InstitutionContext) -> None:
    wanted, other = (pyrage.x25519.Identity.generate() for _ in range(2))
    with override_settings(BACKUP_RECIPIENTS=[str(wanted.to_public())]):
        made = back_up(tenant=tenant_of(greenwood))
    assert made.recipients == [str(wanted.to_public())]

    def refused_to(identity: str) -> str:
        here, refusal = override_settings(BACKUP_IDENTITY=identity), pytest.raises(Invalid)
        with here, refusal as refused, keeping.at_hand(made) as source:
            restore(tenant=tenant_of(greenwood), source=source)
        assert refused.value.code == archive.SEALED
        return str(refused.value.detail)

    for told in (refused_to(str(other)), refused_to("")):
        assert str(wanted.to_public()) in told
        assert str(wanted) not in told
    assert str(other.to_public()) in refused_to(str(other))


def test_an_upload_on_its_way_is_left_out_and_a_changed_file_is_an_error(
    places: Path, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with institution(greenwood):
        incoming = files.Incoming()
        incoming.write(b"half of it")
    kept = places / "media" / str(greenwood.id) / "files" / "ab" / "report.pdf"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"%PDF")
    made = back_up(tenant=tenant_of(greenwood))
    with archive.opened(path_of(made)) as opened:
        assert [path.name for path in opened.files.rglob("*") if path.is_file()] == ["report.pdf"]
    plainly = archive.digest

    def digest_then_write(path: Path) -> str:
        found = plainly(path)
        if path == kept:
            kept.write_bytes(b"%PDX")
        return found

    monkeypatch.setattr(archive, "digest", digest_then_write)
    with pytest.raises(OSError, match="changed while it was packed"):
        back_up(tenant=tenant_of(greenwood))
    assert len(stores.store().keys("")) == 1


def test_a_disk_that_is_full_while_it_is_unpacked_is_no_verdict(
    places: Path, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up(tenant=tenant_of(greenwood))

    def full(*args: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tarfile.TarFile.extractall", full)
    with pytest.raises(OSError, match="No space left"):
        verify(made)
    monkeypatch.undo()
    with platform():
        assert Backup.objects.get().verdict == ""


def test_a_backup_of_a_newer_release_is_not_called_bad(places: Path, greenwood: InstitutionContext) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    newer = forged(made, with_manifest(migrations=["school.0099_from_the_future"]))
    path_of(made).write_bytes(newer.read_bytes())
    made.sha256 = archive.digest(newer)
    assert verify(made).verdict == "intact"


def test_a_platform_s_backup_is_intact_where_no_database_may_be_made(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up(tenant=None)
    serving = settings.DATABASES["default"]
    # The serving role may make none; the rehearsal is all that is asked of it.
    nobody = {**settings.DATABASE_OWNER, "USER": serving["USER"], "PASSWORD": serving["PASSWORD"]}
    with override_settings(DATABASE_OWNER=nobody):
        assert verify(made).verdict == "intact"
    assert verify(made).verdict == "restored", "negative control: the owner may"


def test_half_a_copy_of_a_killed_restore_is_made_whole_by_the_next(
    places: Path, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = places / "media" / str(greenwood.id) / "files" / "ab" / "report.pdf"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"%PDF, all of it")
    made = back_up(tenant=tenant_of(greenwood))
    kept.unlink()

    def killed(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"%PD")
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(restoring.shutil, "copy", killed)
        with pytest.raises(KeyboardInterrupt):
            restore(tenant=tenant_of(greenwood), source=path_of(made))
    assert not kept.exists()
    restore(tenant=tenant_of(greenwood), source=path_of(made))
    assert kept.read_bytes() == b"%PDF, all of it"
    assert kept.stat().st_mtime > time.time() - 60, "young: nobody sweeps it before its row is there"


def test_files_of_the_schema_that_was_put_aside_are_there_when_the_restore_is_taken_back(
    places: Path, greenwood: InstitutionContext
) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    with institution(greenwood):
        later = files.keep(name="a.pdf", content_type="application/pdf", purpose="report", chunks=[b"%PDF"], owner=None)
        place = later.place
    restore(tenant=tenant_of(greenwood), source=path_of(made))
    long_ago = (datetime.now(UTC) - files.ORPHANED_AFTER - HOUR).timestamp()
    os.utime(place, (long_ago, long_ago))
    with institution(now_at(greenwood)):
        assert not StoredFile.objects.filter(pk=later.pk).exists()
        assert files.sweep_orphans() == 0
    undo_restore(tenant=tenant_of(greenwood))
    with institution(now_at(greenwood)):
        assert StoredFile.objects.get(pk=later.pk).place.read_bytes() == b"%PDF"
    with platform():
        KeptSchema.objects.all().delete()
    with institution(now_at(greenwood)):
        StoredFile.objects.filter(pk=later.pk).delete()
        assert files.sweep_orphans() == 1, "negative control: with nothing to go back to it is swept"


def test_a_clock_that_was_ahead_for_a_while_stops_no_backup_and_takes_few_along(
    places: Path, greenwood: InstitutionContext
) -> None:
    with override_settings(BACKUPS_SCHEDULED=True):
        ahead = recorded(greenwood, -400 * 24 * HOUR, verified_at=datetime.now(UTC) + 400 * 24 * HOUR)
        assert greenwood.id in {each.tenant.pk for each in due.due() if each.tenant}
        assert verifying.to_verify() == [ahead]
    days = [recorded(greenwood, day * 24 * HOUR) for day in range(20)]
    with platform():
        Backup.objects.update(made_at=datetime(2025, 1, 1, tzinfo=UTC))
        gone = keeping.forget_old(tenant_of(greenwood))
        assert len(gone) == keeping.AT_A_TIME
        every = list(Backup.objects.all())
        assert len(every) == len(days) - 1
        assert len(keeping.superfluous(every, now=datetime.now(UTC))) > keeping.AT_A_TIME, "negative control"


def test_verification_of_what_is_forgotten_meanwhile_says_nothing_of_it(
    places: Path, greenwood: InstitutionContext
) -> None:
    from structlog.testing import capture_logs

    from shared_apps.core.errors import NotFound

    made = back_up(tenant=tenant_of(greenwood))
    stale = Backup(pk=made.pk, tenant_id=made.tenant_id, made_at=made.made_at, file=made.file, sha256=made.sha256)
    with platform():
        keeping.forget(made)
    with capture_logs() as lines, pytest.raises(NotFound, match="forgotten"):
        verify(stale)
    assert lines == []


def test_a_restore_and_a_look_at_the_same_backup_take_turns(places: Path, greenwood: InstitutionContext) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    begun = Event()

    def look() -> Backup:
        begun.set()
        return verify(made)

    thread, looked = beside(look)
    begun.wait()
    restored = restore(tenant=tenant_of(greenwood), source=path_of(made))
    thread.join()
    assert looked[0].verdict == "restored"
    with platform():
        assert [kept.schema_name for kept in KeptSchema.objects.all()] == [greenwood.schema_name]
    assert restored.schema_name == now_at(greenwood).schema_name


def test_a_deletion_takes_files_along_that_are_on_no_record(places: Path, greenwood: InstitutionContext) -> None:
    """Those of backups that were killed at the very end. The naive way goes by the records."""
    lost, final = (back_up(tenant=tenant_of(greenwood)) for _ in range(2))
    with platform():
        Backup.objects.filter(pk=lost.pk).delete()
        for backup in Backup.objects.exclude(pk=final.pk):
            keeping.forget(backup)
        assert stores.store().keys("") == sorted([lost.file, final.file]), "negative control"
        keeping.forget_files_but(tenant_of(greenwood), final.file)
    assert stores.store().keys("") == [final.file]
