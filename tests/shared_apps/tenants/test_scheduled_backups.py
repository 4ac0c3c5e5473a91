"""Backups by the clock: whoever wrote gets one, the longest waiting first, each once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connection, connections
from django.test import override_settings

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.tenants.backups import due, keeping, scheduled
from shared_apps.tenants.backups.workplace import workplace
from shared_apps.tenants.checking import findings
from shared_apps.tenants.models import Backup, Tenant
from shared_apps.tenants.schemas import alone
from shared_apps.tenants.tasks import back_up_what_is_due
from tenant_apps.school.models import Campus
from tests.faults.dying import killed_at, points_of, seeded

HOUR = timedelta(hours=1)
NOW = datetime.now(UTC)


@pytest.fixture
def on(places: Path) -> Iterator[Path]:
    with override_settings(BACKUPS_SCHEDULED=True):
        yield places


def recorded(context: InstitutionContext, age: timedelta, **more: Any) -> Backup:
    """A backup as it would stand had it been made so long ago."""
    made_at = datetime.now(UTC) - age
    with platform():
        file = f"{context.id}/{made_at:%Y%m%dT%H%M%S%f}.age"
        return Backup.objects.create(tenant_id=context.id, made_at=made_at, file=file, sha256="0" * 64, **more)


def wrote(context: InstitutionContext, age: timedelta) -> None:
    """The last entry of the institution's log was made so long ago."""
    with platform(), owner_connection(), connection.cursor() as cursor:
        log = f"{context.schema_name}.audit_entry"
        cursor.execute(f"ALTER TABLE {log} DISABLE TRIGGER USER")
        cursor.execute(f"UPDATE {log} SET at = %s", [datetime.now(UTC) - age])
        cursor.execute(f"ALTER TABLE {log} ENABLE TRIGGER USER")


def waiting() -> list[str]:
    """Which institutions are due; the platform's own tables are always, here."""
    return [each.tenant.slug for each in due.due() if each.tenant]


def by_age_alone() -> list[str]:
    """The naive way: whatever is older than a day."""
    with platform():
        newest = {backup.tenant_id: backup for backup in Backup.objects.order_by("made_at")}
        return [backup.tenant.slug for backup in newest.values() if backup.made_at < datetime.now(UTC) - 24 * HOUR]


def test_whoever_wrote_is_due_after_a_day_and_whoever_did_not_after_a_month(
    on: Path, greenwood: InstitutionContext, lumiere: InstitutionContext, console: InstitutionContext
) -> None:
    for place, written in ((greenwood, 5), (lumiere, 100), (console, 100)):
        wrote(place, written * HOUR)
    assert set(waiting()) == {"greenwood", "lumiere", "console"}, "those without any backup"
    for place in (greenwood, lumiere, console):
        recorded(place, 30 * HOUR)
    assert waiting() == ["greenwood"]
    assert len(by_age_alone()) == 3
    recorded(greenwood, 3 * HOUR)
    assert waiting() == []
    with platform():
        Backup.objects.filter(tenant_id=lumiere.id).update(made_at=datetime.now(UTC) - due.IDLE - HOUR)
    assert waiting() == ["lumiere"]


def test_a_change_that_was_committed_after_the_snapshot_is_not_forgotten(
    on: Path, greenwood: InstitutionContext, lumiere: InstitutionContext, console: InstitutionContext
) -> None:
    for place in (greenwood, lumiere, console):
        recorded(place, 30 * HOUR)
        wrote(place, 40 * HOUR)
    wrote(greenwood, 30 * HOUR + timedelta(minutes=20))
    assert waiting() == ["greenwood"]


def test_the_longest_waiting_come_first_and_a_bad_backup_counts_for_none(
    on: Path, greenwood: InstitutionContext, lumiere: InstitutionContext, console: InstitutionContext
) -> None:
    for place, age in ((greenwood, 26), (lumiere, 40), (console, 30)):
        recorded(place, age * HOUR)
        wrote(place, HOUR)
    assert waiting() == ["lumiere", "console", "greenwood"]
    recorded(lumiere, HOUR, verdict=Backup.Verdict.BAD)
    assert waiting()[0] == "lumiere"
    assert [each.tenant.slug for each in due.overdue()] == []
    wrote(lumiere, HOUR)
    with platform():
        Backup.objects.filter(tenant_id=lumiere.id, verdict="").update(made_at=datetime.now(UTC) - 50 * HOUR)
    bad, late = findings()
    assert bad.mend == late.mend == "manage.py tenant backup lumiere"
    assert ("is bad" in bad.what, "is due since" in late.what) == (True, True)
    assert due.figures() == {"backups_scheduled": 1, "backups_overdue": 1, "backups_bad": 1}


def test_the_schedule_makes_what_is_due_and_then_nothing(on: Path, lumiere: InstitutionContext) -> None:
    back_up_what_is_due.run()
    with platform():
        assert set(Backup.objects.values_list("tenant__name", flat=True)) == {
            None,
            *Tenant.objects.values_list("name", flat=True),
        }
        assert all((on / "backups" / backup.file).is_file() for backup in Backup.objects.all())
    assert scheduled.make_due_backups() == []
    with institution(lumiere):
        Campus.objects.update(name="Rive gauche")
    assert scheduled.make_due_backups() == [], "a day has not gone by"


def test_nothing_is_made_where_nobody_said_where_to_and_check_says_so(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from django.core.management import call_command

    assert scheduled.make_due_backups() == []
    with platform():
        call_command("tenant", "check")
    assert "Backups are off" in capsys.readouterr().err


def together(work: Callable[[], Any], times: int = 2) -> list[Any]:
    """The results of so many runs at once."""
    results: list[Any] = []
    start = Barrier(times)

    def run() -> None:
        start.wait()
        with acting(command("test")):
            results.append(work())
        connections.close_all()

    threads = [Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@contextmanager
def nobody_asks(tenant: Tenant) -> Iterator[bool]:
    yield True


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "without asking"])
def test_two_runs_at_once_make_one_backup_of_each(on: Path, monkeypatch: pytest.MonkeyPatch, naive: bool) -> None:
    if naive:
        monkeypatch.setattr(scheduled, "alone_unless_busy", nobody_asks)
        monkeypatch.setattr(scheduled, "is_due", lambda tenant: True)
    runs = together(scheduled.make_due_backups)
    with platform():
        assert (Backup.objects.count() == 4) is not naive
    assert naive or sum(len(run) for run in runs) == 4


def test_a_third_run_at_once_finds_no_place(on: Path) -> None:
    with platform(), owner_connection(), scheduled._slot() as first:
        others = together(lambda: _place_taken(), 1)
        assert (first, others) == (True, [(True, False)])


def _place_taken() -> tuple[bool, bool]:
    with platform(), scheduled._slot() as second:
        beside = connections.create_connection("default")
        mine, connections["default"] = connections["default"], beside
        try:
            with scheduled._slot() as third:
                return second, third
        finally:
            beside.close()
            connections["default"] = mine


def test_an_institution_that_is_being_restored_has_its_turn_later(on: Path, greenwood: InstitutionContext) -> None:
    with platform():
        tenant = Tenant.objects.get(pk=greenwood.id)
        with owner_connection(), alone(tenant):
            (made,) = together(scheduled.make_due_backups, 1)
    assert len(made) == 3
    assert [backup.tenant_id for backup in scheduled.make_due_backups()] == [greenwood.id]


def test_the_trouble_of_one_institution_stops_no_other(
    on: Path, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = scheduled.back_up_alone

    def failing(*, tenant: Tenant | None) -> Backup:
        if tenant and tenant.pk == greenwood.id:
            raise OSError("a file of it cannot be read")
        return plainly(tenant=tenant)

    monkeypatch.setattr(scheduled, "back_up_alone", failing)
    assert len(scheduled.make_due_backups()) == 3
    monkeypatch.undo()
    assert [backup.tenant_id for backup in scheduled.make_due_backups()] == [greenwood.id]


def test_a_run_that_is_killed_is_gone_on_with_by_the_next(on: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each institution has one backup in the end, and nothing in clear or half written is left."""
    monkeypatch.setattr("tempfile.tempdir", str(on / "tmp"))
    (on / "tmp").mkdir()
    points = points_of(scheduled.make_due_backups)
    with platform():
        Backup.objects.all().delete()
    for point in (*seeded(points // 3, 2, first=5), points // 2):
        assert killed_at(point, scheduled.make_due_backups)
    scheduled.make_due_backups()
    with platform():
        # A kill between file and record leaves one more, which is on record by then.
        files = {str(path.relative_to(on / "backups")) for path in (on / "backups").rglob("*.age")}
        assert set(Backup.objects.values_list("file", flat=True)) == files
        assert Backup.objects.values("tenant").distinct().count() == 4
    with workplace():
        pass
    assert not list((on / "tmp").rglob("*.sql"))
    assert not list((on / "backups").rglob("sealed"))


def test_a_place_of_work_is_swept_when_its_process_is_dead_and_not_before(tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    (left / ".lock").touch()
    (left / "schema.sql").write_text("in clear")
    with workplace(tmp_path) as held:
        assert not left.exists()
        with workplace(tmp_path):
            assert held.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def at(days: float, verdict: str = "") -> Backup:
    return Backup(made_at=NOW - timedelta(days=days), file=str(days), verdict=verdict)


def kept_of(*backups: Backup) -> list[float]:
    old = keeping.superfluous(list(backups), now=NOW)
    return sorted(float(backup.file) for backup in backups if backup not in old)


def test_two_weeks_are_kept_by_the_day_and_three_months_by_the_week() -> None:
    kept = kept_of(*(at(day + 0.5) for day in range(150)))
    assert kept[:14] == [day + 0.5 for day in range(14)]
    weekly = kept[14:]
    assert 10 <= len(weekly) <= 12
    assert all(earlier < 91 for earlier in weekly)
    assert {round(b - a) for a, b in pairwise(weekly)} == {7}


def test_the_last_good_backup_is_never_forgotten() -> None:
    assert kept_of(at(400)) == [400]
    assert kept_of(at(400), at(300), at(200, "bad")) == [300]
    assert kept_of(at(400, "restored"), at(300), at(1, "bad")) == [1, 300, 400]


def test_forgetting_takes_the_file_along_and_leaves_the_final_backup(on: Path, greenwood: InstitutionContext) -> None:
    from shared_apps.tenants.models import Deletion

    final, old, new = (recorded(greenwood, timedelta(days=days)) for days in (120, 110, 1))
    with platform():
        Deletion.objects.create(
            tenant_id=greenwood.id, reason="r", requested_by=greenwood.id, requested_by_name="a", final_backup=final
        )
        file = on / "backups" / old.file
        file.parent.mkdir(parents=True)
        file.touch()
        assert [backup.file for backup in keeping.forget_old(Tenant.objects.get(pk=greenwood.id))] == [old.file]
        assert not file.exists()
        assert set(Backup.objects.all()) == {final, new}
