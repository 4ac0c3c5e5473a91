"""How long an export of 100,000 rows and a preview of 10,000 take in a worker, and how much memory.

The stock peer of the export is Django REST framework's serializer over the ORM and `csv.writer`, in the same process.
"""

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from tests.bench import ours
from tests.bench.servers import ROOT

ROWS, PREVIEWED = 100_000, 10_000
TARGET_MEGABYTES, TARGET_SECONDS = 100.0, 5.0
LIMIT = 600


def measure(database_url: str, redis_url: str, directory: Path) -> dict[str, dict[str, float]]:
    """Fills the empty institution and measures in a process of its own; answers by the subject's name."""
    variables = os.environ | ours.environment(database_url, redis_url, directory)
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.tables"], cwd=ROOT, env=variables, capture_output=True, timeout=LIMIT
    )
    if done.returncode:
        raise RuntimeError(f"The tables were not measured:\n{done.stderr.decode(errors='replace')[-3_000:]}")
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _peak() -> float:
    """The most memory that the process has held (MB of 10**6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _timed(work: Any) -> dict[str, float]:
    before, started = _peak(), time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - started, "megabytes": _peak() - before}


def _measure_here() -> dict[str, dict[str, float]]:
    from django.db import transaction

    from shared_apps.core.tables.exporting import read_export, resource_named
    from shared_apps.core.tables.importing import Import, Options
    from tenant_apps.accounts.authentication import principal_for_user
    from tenant_apps.accounts.models import Role, User, UserRole
    from tenant_apps.school.models import Campus, Student

    person = User.objects.create(email="bench@tables.test", full_name="Bench", password="!")
    UserRole.objects.create(user=person, role=Role.objects.get(code="principal"), scope="institution")
    campus = Campus.objects.create(code="BENCH", name="Bench")
    for start in range(0, ROWS, 2_000):
        Student.objects.bulk_create(
            Student(
                student_number=f"X{number}",
                given_name=f"Given{number}",
                family_name=f"Family{number}",
                birth_date=date(2014, 1, 1),
                email=f"s{number}@x.test",
                campus=campus,
            )
            for number in range(start, start + 2_000)
        )
    students, principal = resource_named("school.StudentViewSet"), principal_for_user(person.pk)

    def export(form: str) -> dict[str, float]:
        return _timed(lambda: read_export(students, f"format={form}", principal).spool().close())

    def stock() -> None:
        with tempfile.TemporaryFile("w", newline="") as out:
            writer = csv.writer(out)
            for record in Student.objects.iterator(chunk_size=2_000):
                writer.writerow(students.serializer_class(record).data.values())

    table = Path(tempfile.mkdtemp()) / "students.csv"
    rows = (f"N{n},Given{n},Family{n},2014-01-01,female,n{n}@x.test,BENCH" for n in range(PREVIEWED))
    table.write_text("\r\n".join(("student_number,given_name,family_name,birth_date,sex,email,campus", *rows)))

    def preview() -> None:
        with transaction.atomic():
            outcome = Import(students, principal, Options(dry_run=True)).run(table)
            transaction.set_rollback(True)
        assert outcome.counts["created"] == PREVIEWED, outcome.counts

    return {
        "export": export("csv"),
        "XLSX export": export("xlsx"),
        "preview": _timed(preview),
        "stock export": _timed(stock),
    }


def main() -> None:
    import django

    django.setup()
    from shared_apps.core.actors import acting, command
    from shared_apps.core.context import institution, platform
    from shared_apps.core.limits import STUDENTS
    from shared_apps.tenants.entitlements import allow
    from shared_apps.tenants.services import find_tenant

    with platform(), acting(command("bench")):
        context = allow(tenant=find_tenant(ours.EMPTY_SLUG), wanted={STUDENTS: 2 * ROWS}).context
    with institution(context), acting(command("bench")):
        print(json.dumps(_measure_here()))


if __name__ == "__main__":
    main()
