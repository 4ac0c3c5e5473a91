from typing import Any

from django.core.management.base import BaseCommand

from platform_config.demo.prepare import prepare
from shared_apps.tenants.migrating import migrate_institutions
from shared_apps.tenants.services import migrate_platform


class Command(BaseCommand):
    help = "Bring every table up to date, then make and fill the demo institutions that are missing."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        migrate_platform()
        outcome = migrate_institutions()
        for slug in outcome.migrated:
            self.stdout.write(f"{slug}: migrated")
        for slug, error in outcome.failed:
            self.stderr.write(f"{slug}: not migrated: {error}")
        for line in prepare():
            self.stdout.write(line)
