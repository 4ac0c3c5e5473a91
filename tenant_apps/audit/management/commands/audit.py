import sys
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.errors import Problem
from shared_apps.tenants.services import every_institution, find_tenant
from tenant_apps.audit import chain, erasing


class Command(BaseCommand):
    help = "The logs of changes: verify their chains against the anchors, or expire what is too old."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verify|expire")
        verify = verbs.add_parser("verify", help="Exit code 1 when anything is not as it was sealed.")
        expire = verbs.add_parser("expire", help="Erase payloads older than AUDIT_RETENTION_YEARS.")
        expire.add_argument("--dry-run", action="store_true", help="Count, and erase nothing.")
        for one in (verify, expire):
            one.add_argument("--institution", default="", help="Slug or host; every institution without it.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            slug = options["institution"]
            places = [find_tenant(slug).context] if slug else every_institution()
        except Problem as refused:
            raise CommandError(refused.detail) from None
        if options["verb"] == "verify":
            bad = [place.slug for place in places if not self._verify(place)]
            if bad:
                self.stderr.write(f"NOT AS SEALED: {', '.join(bad)}")
                sys.exit(1)
            return
        for place in places:
            with institution(place):
                count = erasing.expire(years=settings.AUDIT_RETENTION_YEARS, dry_run=options["dry_run"])
            self.stdout.write(f"{place.slug}: {count} {'would be erased' if options['dry_run'] else 'erased'}")

    def _verify(self, place: InstitutionContext) -> bool:
        began = time.perf_counter()
        with institution(place):
            verdict = chain.verify()
        seconds = time.perf_counter() - began
        rate = round(verdict.entries / seconds) if seconds else 0
        line = f"{place.slug}: {verdict.entries} entries, {verdict.anchors} anchors, {rate} entries/s"
        if verdict.erased:
            line += f"; {verdict.erased} erased"
        if verdict.unsealed:
            line += f"; {verdict.unsealed} not sealed yet, the oldest of {verdict.oldest_unsealed:%Y-%m-%d %H:%M:%S}"
        self.stdout.write(f"{line}: {'good' if verdict.good else 'NOT AS SEALED'}")
        for finding in verdict.findings:
            self.stdout.write(f"  {finding}")
        return verdict.good
