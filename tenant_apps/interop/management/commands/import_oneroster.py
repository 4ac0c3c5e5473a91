from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from rich.console import Console
from rich.table import Table

from shared_apps.core.context import Kind, institution
from shared_apps.core.errors import Conflict, Problem
from shared_apps.core.problems import as_problem
from shared_apps.tenants.middleware import gate
from shared_apps.tenants.services import find_tenant
from tenant_apps.interop.oneroster import Finding
from tenant_apps.interop.roster import Plan
from tenant_apps.interop.services import import_roster


class Silent:
    """Nobody is told how far the import is, and nobody can stop it but Ctrl-C."""

    def __call__(self, percent: float, step: str = "") -> None:
        """See `Steps`."""

    def check(self) -> None:
        """See `Steps`."""


class Command(BaseCommand):
    help = "Import a OneRoster CSV zip into an institution. With errors it changes nothing and ends with 1."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="Slug or host of the institution.")
        parser.add_argument("file", type=Path, help="The zip.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would change, and change nothing.")
        parser.add_argument(
            "--close-missing",
            action="store_true",
            help="Close enrolments, and let students leave, that an earlier roster brought and this one lacks.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        if not path.is_file():
            raise CommandError(f"{path} is {'a directory' if path.is_dir() else 'not there'}; name the roster's zip.")
        try:
            plan = self._import(options)
        except Problem as problem:
            raise CommandError(problem.detail) from None
        except Error as error:
            known = as_problem(error)
            raise CommandError(known.detail if known else str(error).splitlines()[0]) from error
        self._print(plan, dry_run=options["dry_run"])
        if plan.error_count:
            raise SystemExit(1)

    def _import(self, options: dict[str, Any]) -> Plan:
        context = find_tenant(options["tenant"]).context
        if context.kind == Kind.OPERATOR:
            raise Conflict("The operators' own tenant is no school; name an institution.", code="operator_tenant")
        refusal = gate(context, writes=not options["dry_run"])
        if refusal is not None:
            raise refusal
        with institution(context):
            return import_roster(
                path=options["file"],
                dry_run=options["dry_run"],
                close_missing=options["close_missing"],
                steps=Silent(),
            )

    def _print(self, plan: Plan, *, dry_run: bool) -> None:
        for cause in plan.causes:
            if cause.count > 1:
                self.stdout.write(f"{cause.count:,} times from {place(cause.first)}: {cause.first.detail}")
        for finding in plan.findings:
            self.stdout.write(f"{finding.severity}: {place(finding)} {finding.code} {finding.detail}")
        shown = len(plan.findings)
        if shown < plan.error_count + plan.warning_count:
            self.stdout.write(f"(the first {shown:,} of {plan.error_count + plan.warning_count:,} findings)")
        if plan.counts:
            table = Table("", "created", "updated", "unchanged", "closed")
            for kind, counts in plan.counts.items():
                numbers = (f"{counts[name]:,}" for name in ("created", "updated", "unchanged", "closed"))
                table.add_row(kind.replace("_", " "), *numbers)
            Console(file=self.stdout._out).print(table)
        if plan.error_count:
            end = f"{plan.error_count:,} errors: nothing was changed."
        elif dry_run:
            end = "Dry run: nothing was changed."
        else:
            end = "Imported."
        self.stdout.write(f"{end} {plan.warning_count:,} warnings.")


def place(finding: Finding) -> str:
    """`file:line:column`, as far as there is one."""
    return ":".join(str(part) for part in (finding.file or "upload", finding.line, finding.column) if part is not None)
