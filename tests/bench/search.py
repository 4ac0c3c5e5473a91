"""How long the search for people takes among 20,000, and what counting them costs.

Measured at the reader of the resource: SQL, rows and JSON, without the server and the token.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.bench.people import PEOPLE, QUESTIONS, people
from tests.bench.servers import ROOT

TARGET_P95 = 30.0  # milliseconds
ROUNDS = 8


def percentiles(work: Callable[[str], object], questions: tuple[str, ...]) -> dict[str, float]:
    """Milliseconds: the median and the 95th percentile over all questions, each asked several times."""
    taken = []
    for question in questions:
        work(question)
        for _ in range(ROUNDS):
            began = time.perf_counter()
            work(question)
            taken.append((time.perf_counter() - began) * 1000)
    return {"p50": statistics.median(taken), "p95": statistics.quantiles(taken, n=20)[18], "most": max(taken)}


def fill() -> None:
    """Writes the people as students. Runs inside an institution."""
    from tenant_apps.school.models import Campus, Student

    campus = Campus.objects.create(code="SEARCH", name="Search")
    Student.objects.bulk_create((Student(campus=campus, **row) for row in people()), batch_size=2_000)


def measure() -> dict[str, dict[str, float]]:
    """Asks every question, without and with `?count=true`. Runs inside the institution, once the planner knows it."""
    from django.test import RequestFactory

    from shared_apps.core.api.reading import Sight
    from tenant_apps.school.api import StudentViewSet

    reader, everything = StudentViewSet.reader(), Sight((), ())

    def ask(question: str, **more: Any) -> bytes:
        request = RequestFactory().get("/api/v1/school/students/", {"search": question, **more})
        return reader.many(everything, reader.grammar.read(request.META["QUERY_STRING"]), request)

    return {
        "search": percentiles(ask, QUESTIONS),
        "search and count": percentiles(lambda question: ask(question, count="true"), QUESTIONS),
    }


def measure_apart() -> dict[str, dict[str, float]]:
    """In servers and a process of its own. Raises RuntimeError."""
    done = subprocess.run([sys.executable, "-m", "tests.bench.search"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The search was not measured:\n{done.stderr.decode(errors='replace')[-3_000:]}")
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def lines(found: dict[str, dict[str, float]]) -> list[str]:
    """The figures in words."""
    return [
        f"{name}, {PEOPLE:,} people: {', '.join(f'{key} {value:.1f} ms' for key, value in figures.items())}"
        f" (target p95 {TARGET_P95:.0f} ms)"
        for name, figures in found.items()
    ]


def main() -> None:
    """In throwaway servers."""
    import os
    import tempfile
    from pathlib import Path

    from platform_config.embedded import EmbeddedServers
    from tests.bench import machine, ours

    with tempfile.TemporaryDirectory(prefix="lyceum-bench-") as place:
        directory = Path(place)
        directory.chmod(0o711)
        with EmbeddedServers(directory / "servers") as servers:
            os.environ |= ours.environment(servers.database_url, servers.redis_url, directory)
            import django
            from django.db import connection

            from shared_apps.core.actors import acting, command
            from shared_apps.core.context import institution, platform
            from shared_apps.core.registry import NewInstitution

            with platform(), acting(command("bench")):
                django.setup()
                from shared_apps.tenants.services import create_institution, migrate_platform

                migrate_platform()
                tenant = create_institution(new=NewInstitution("Search", "search"))
                with institution(tenant.context):
                    fill()
                    machine.analyse(servers.superuser_url)
                    found = measure()
            connection.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
