from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from shared_apps.core.context import Kind, institution
from shared_apps.core.errors import Problem
from shared_apps.tenants.services import find_tenant
from tenant_apps.interop.roster.exporting import export_roster
from tenant_apps.interop.roster.packing import VERSIONS


def moment(text: str) -> datetime:
    """A point in time; UTC where no offset is named. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = "Write an institution's roster as a OneRoster CSV zip, all of it or what has changed since."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="Slug or host of the institution.")
        parser.add_argument("file", type=Path, help="The zip to write; one that is there is replaced.")
        parser.add_argument("--oneroster", choices=VERSIONS, default="1.2", help="Of OneRoster.")
        parser.add_argument("--since", type=moment, help="A delta: what was written or deleted from then on.")

    def handle(self, *args: Any, **options: Any) -> None:
        target: Path = options["file"]
        try:
            context = find_tenant(options["tenant"]).context
        except Problem as problem:
            raise CommandError(problem.detail) from None
        if context.kind == Kind.OPERATOR:
            raise CommandError("The operators' own tenant is no school; name an institution.")
        beside = target.with_name(f".{target.name}.part")
        try:
            with institution(context), transaction.atomic():
                exported = export_roster(beside, version=options["oneroster"], since=options["since"])
            beside.replace(target)
        except OSError as error:
            raise CommandError(f"{target} cannot be written: {error.strerror}.") from None
        finally:
            beside.unlink(missing_ok=True)
        counts = ", ".join(f"{count:,} {name}" for name, count in exported.counts.items())
        self.stdout.write(f"{target}: {counts}\nThe next delta: --since {exported.as_of.isoformat()}")
