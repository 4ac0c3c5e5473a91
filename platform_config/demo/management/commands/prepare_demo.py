from typing import Any

from django.core.management.base import BaseCommand

from platform_config.demo.prepare import prepare
from shared_apps.tenants.services import migrate_all, migrate_platform


class Command(BaseCommand):
    help = "Bring every table up to date, then make and fill the demo institutions that are missing."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        migrate_platform()
        for tenant in migrate_all():
            self.stdout.write(f"{tenant.name}: migrated")
        for line in prepare():
            self.stdout.write(line)
