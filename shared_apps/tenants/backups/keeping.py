"""Which backups are kept: all of two weeks, one of each week for three months, and always the last that is sound."""

from datetime import UTC, datetime, timedelta

from shared_apps.core.context import platform
from shared_apps.tenants.backups.stores import store
from shared_apps.tenants.models import Backup, Deletion, Tenant

DAILY = timedelta(days=14)
WEEKLY = timedelta(days=91)


def forget_old(tenant: Tenant | None) -> list[Backup]:
    """Forget the backups of an institution, or of the platform, that have had their time. Which they were."""
    with platform():
        final = set(Deletion.objects.filter(tenant=tenant).values_list("final_backup", flat=True)) if tenant else set()
        old = superfluous(list(Backup.objects.filter(tenant=tenant)), now=datetime.now(UTC))
        return [forget(backup) for backup in old if backup.pk not in final]


def superfluous(backups: list[Backup], *, now: datetime) -> list[Backup]:
    """Those of one institution that nobody will miss."""
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
