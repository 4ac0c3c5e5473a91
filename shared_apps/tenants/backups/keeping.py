"""Which backups are kept: all of two weeks, one of each week for three months, and always the last that is sound."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared_apps.core.context import platform
from shared_apps.core.errors import Invalid
from shared_apps.tenants.backups import archive
from shared_apps.tenants.backups.making import PLATFORM_FOLDER, STAMP
from shared_apps.tenants.backups.stores import store
from shared_apps.tenants.models import Backup, Deletion, Tenant

DAILY = timedelta(days=14)
WEEKLY = timedelta(days=91)
AT_A_TIME = 2  # forgotten after each backup, at most: a clock that is wrong for a day takes no more along


@contextmanager
def at_hand(backup: Backup) -> Iterator[Path]:
    """Its file to read from, as it was written. Raises Invalid when it is gone, altered, or (in the block) sealed for a
    key that is not here; OSError when the store is away."""
    with store().at_hand(backup.file) as path:
        if archive.digest(path) != backup.sha256:
            raise Invalid(f"{path.name} is not what was written: its digest is another.", code="bad_backup")
        try:
            yield path
        except Invalid as refused:
            if refused.code == archive.SEALED and backup.recipients:
                raise Invalid(
                    f"{refused.detail} It was sealed for {', '.join(backup.recipients)}.", code=archive.SEALED
                ) from None
            raise


def folder_of(tenant: Tenant | None) -> str:
    """Below which the keys of its backups stand."""
    return f"{tenant.pk if tenant else PLATFORM_FOLDER}/"


def take_on_record(tenant: Tenant | None) -> list[Backup]:
    """Record the files of the store that no record names: of backups that were killed at the very end, or are newer
    than a platform that was itself restored. Runs on the platform, under `alone`."""
    known = set(Backup.objects.filter(tenant=tenant).values_list("file", flat=True))
    found = []
    for key in store().keys(folder_of(tenant)):
        try:
            made_at = datetime.strptime(Path(key).name.partition("-")[0], STAMP).replace(tzinfo=UTC)
        except ValueError:
            continue  # somebody else's
        if key not in known:
            with store().at_hand(key) as path:
                size, sha256 = path.stat().st_size, archive.digest(path)
            found.append(Backup.objects.create(tenant=tenant, made_at=made_at, file=key, size=size, sha256=sha256))
    return found


def forget_old(tenant: Tenant | None) -> list[Backup]:
    """Forget backups of an institution, or of the platform, that have had their time, the oldest first. Which they
    were."""
    with platform():
        final = set(Deletion.objects.filter(tenant=tenant).values_list("final_backup", flat=True)) if tenant else set()
        old = superfluous(list(Backup.objects.filter(tenant=tenant)), now=datetime.now(UTC))
        oldest = [backup for backup in reversed(old) if backup.pk not in final]
        return [forget(backup) for backup in oldest[:AT_A_TIME]]


def superfluous(backups: list[Backup], *, now: datetime) -> list[Backup]:
    """Those of one institution that nobody will miss, the newest first."""
    newest_first = sorted(backups, key=lambda backup: (backup.made_at, backup.pk), reverse=True)
    kept = set()
    for verdicts in (("", "intact", "restored"), ("restored",)):
        # The last that is not known to be bad, and the last that is known to be good.
        kept |= {backup.pk for backup in [each for each in newest_first if each.verdict in verdicts][:1]}
    weeks = set()
    for backup in newest_first:
        age, week = now - backup.made_at, backup.made_at.isocalendar()[:2]
        sound = backup.verdict != Backup.Verdict.BAD
        if age <= DAILY or (age <= WEEKLY and sound and week not in weeks):
            kept.add(backup.pk)
        if sound:
            weeks.add(week)
    return [backup for backup in newest_first if backup.pk not in kept]


def forget(backup: Backup) -> Backup:
    """The file first: a kill in between leaves a record, and the next run ends what it began."""
    store().remove(backup.file)
    backup.delete()
    return backup


def forget_files_but(tenant: Tenant, kept: str) -> None:
    """Remove every file of the institution's but the one, also those that are on no record."""
    for key in store().keys(folder_of(tenant)):
        if key != kept:
            store().remove(key)
