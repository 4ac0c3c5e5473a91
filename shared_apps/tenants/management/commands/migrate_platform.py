from typing import Any

from django.core.management.base import BaseCommand

from shared_apps.tenants.services import migrate_platform


class Command(BaseCommand):
    help = "Apply the platform's own migrations (public schema) and give the serving role its rights."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        migrate_platform()
        self.stdout.write("platform: migrated")
