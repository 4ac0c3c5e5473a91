"""Short ways to import a roster in a test, and to see what an institution holds."""

from pathlib import Path
from typing import Any

from django.db import connection

from shared_apps.core.context import current_institution
from tenant_apps.interop import services
from tenant_apps.interop.oneroster.findings import Finding
from tenant_apps.interop.roster import Plan
from tests.tenant_apps.interop.oneroster.rosters import write_roster

Counts = dict[str, dict[str, int]]


class Quiet:
    """Steps that nobody watches."""

    def __call__(self, percent: float, step: str = "") -> None:
        """See `Steps`."""

    def check(self) -> None:
        """See `Steps`."""


def bring(path: Path, *, dry_run: bool = False, close_missing: bool = False) -> Plan:
    """Import the zip into the current institution."""
    return services.import_roster(path=path, dry_run=dry_run, close_missing=close_missing, steps=Quiet())


def bring_rows(tmp_path: Path, *, dry_run: bool = False, close_missing: bool = False, **roster: Any) -> Plan:
    """Write a roster with these arguments of `write_roster` and import it."""
    return bring(write_roster(tmp_path / "roster.zip", **roster), dry_run=dry_run, close_missing=close_missing)


def tables() -> list[str]:
    """All tables of the current institution."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s ORDER BY 1",
            [current_institution().schema_name],
        )
        return [name for (name,) in cursor.fetchall()]


def digests() -> dict[str, str | None]:
    """Table -> digest of all its rows, timestamps included."""
    found: dict[str, str | None] = {}
    with connection.cursor() as cursor:
        for name in tables():
            cursor.execute(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM \"{name}\" AS t")
            found[name] = cursor.fetchone()[0]
    return found


def holds_text(text: str) -> list[str]:
    """Tables of the current institution in which some row contains the text."""
    with connection.cursor() as cursor:
        found = []
        for name in tables():
            cursor.execute(f'SELECT EXISTS (SELECT 1 FROM "{name}" AS t WHERE position(%s in t::text) > 0)', [text])
            if cursor.fetchone()[0]:
                found.append(name)
        return found


def totals(plan: Plan, *names: str) -> tuple[int, ...]:
    """Sums over all kinds: `totals(plan, "created", "closed")`."""
    return tuple(sum(counts[name] for counts in plan.counts.values()) for name in names)


def found(plan: Plan, code: str) -> list[Finding]:
    return [finding for finding in plan.findings if str(finding.code) == code]


def place(finding: Finding) -> tuple[str | None, int | None, str | None]:
    return finding.file, finding.line, finding.column
