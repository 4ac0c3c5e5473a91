from typing import Any

from django.core.management.base import BaseCommand

from platform_config.demo.prepare import prepare


class Command(BaseCommand):
    help = "Make and fill the demo institutions that are missing."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        for line in prepare():
            self.stdout.write(line)
