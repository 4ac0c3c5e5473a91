"""`python -m tests.bench.tenancy`: many institutions made, migrated and served, beside stock.

A new institution is compared with django-tenants' own `create_schema` on its own engine; migrations with Django's
executor on ours, which spares it a statement for each cursor. Both are given our apps and the same database, are
measured on fewer institutions, and compared per institution. `make bench-tenancy` runs it in full.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from platform_config.embedded import EmbeddedServers
from tests.bench import machine, ours
from tests.bench.load import PATIENCE
from tests.bench.servers import ROOT, Peer, Running, serving

STUDENTS = 50
LATER = {"school": "tests.shared_apps.tenants.later_release"}
Figures = dict[str, Any]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tenancy", description=__doc__)
    parser.add_argument("--institutions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5, help="of two by stock and twenty of ours (5)")
    parser.add_argument("--columns-over", type=int, default=200, help="institutions that get ten columns (200)")
    parser.add_argument("--seconds", type=float, default=15, help="of each round robin (15)")
    parser.add_argument("--files", type=Path, help="where the database keeps its files (the system's temporary place)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def seconds_of(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def as_stock(count: int, first: int) -> list[float]:
    """Seconds of each of `count` schemas that stock django-tenants makes, in a process of its own that is warm."""
    command = [sys.executable, "-m", "tests.bench.stock.provisioning", str(count), str(first)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        raise RuntimeError(f"The stock peer failed:\n{found.stderr[-3_000:]}")
    seconds: list[float] = json.loads(found.stdout.splitlines()[-1])
    return seconds


def provision(options: argparse.Namespace) -> tuple[Figures, list[Any]]:
    """Institutions one after the other, in turn with stock's, and the rest of them eight at once."""
    from django.db import connections

    from shared_apps.core.context import platform
    from shared_apps.core.registry import NewInstitution
    from shared_apps.tenants import services

    tenants: list[Any] = []

    def make(number: int) -> float:
        new = NewInstitution(f"School {number}", f"school-{number}", admin_email="head@school.test")
        with platform():
            return seconds_of(lambda: tenants.append(services.create_institution(new=new)))

    def make_beside(number: int) -> float:
        try:
            return make(number)
        finally:
            connections.close_all()

    stock: list[float] = []
    alone: list[float] = []
    for _ in range(options.rounds):
        stock += as_stock(2, len(stock))
        alone += [make(number) for number in range(len(alone), len(alone) + 20)]
    stock += as_stock(2, len(stock))
    with ThreadPoolExecutor(8) as pool:
        began = time.perf_counter()
        rest = list(pool.map(make_beside, range(len(alone), options.institutions)))
        together = time.perf_counter() - began
    figures = {
        "p50_seconds": statistics.median(alone),
        "p95_seconds": sorted(alone)[len(alone) * 95 // 100],
        "stock_p50_seconds": statistics.median(stock),
        "ratio": statistics.median(stock) / statistics.median(alone),
        "eight_at_once_per_second": len(rest) / together if rest else None,
        "errors": options.institutions - len(tenants),
    }
    return figures, tenants


def migrate(options: argparse.Namespace, tenants: list[Any]) -> Figures:
    """Nothing to do over all, then ten columns over some, each beside the stock executor's time per institution."""
    from django.test import override_settings

    from shared_apps.core.context import platform
    from shared_apps.core.engine.owner import owner_connection
    from shared_apps.tenants import migrating, services, template
    from shared_apps.tenants.models import Tenant

    def by_stock(some: list[Any]) -> float:
        with platform(), owner_connection():
            return seconds_of(lambda: [template.migrate_schema(tenant.context) for tenant in some]) / len(some)

    nothing = seconds_of(migrating.migrate_institutions)
    stock_nothing = by_stock(tenants[:20])
    with override_settings(MIGRATION_MODULES=LATER):
        services.migrate_platform()
        stock_columns = by_stock(tenants[:10])
        # The others are put aside, so that a run over 200 is a run over 200.
        aside = [tenant.pk for tenant in tenants[10 + options.columns_over :]]
        Tenant.objects.filter(pk__in=aside).update(state="deleted")
        began = time.perf_counter()
        outcome = migrating.migrate_institutions()
        columns = time.perf_counter() - began
        Tenant.objects.filter(pk__in=aside).update(state="active")
    if outcome.failed:
        raise RuntimeError(f"{len(outcome.failed)} institutions failed: {outcome.failed[:2]}")
    each = columns / len(outcome.migrated)
    return {
        "nothing_to_do_seconds": nothing,
        "stock_nothing_to_do_seconds": stock_nothing * len(tenants),
        "ten_columns_institutions": len(outcome.migrated),
        "ten_columns_seconds_each": each,
        "stock_ten_columns_seconds_each": stock_columns,
        "ten_columns_ratio": stock_columns / each,
    }


def fill(tenants: list[Any]) -> list[tuple[str, str]]:
    """Fifty students and a principal in each; (host, access token) of all.

    Its connection, which has touched them all, is closed: the memory of the server's own is what is measured.
    """
    from django.db import connection

    from shared_apps.core.context import institution
    from shared_apps.core.permissions import Scope
    from tenant_apps.accounts import sessions
    from tenant_apps.accounts.models import Role, User, UserRole
    from tenant_apps.school.models import Campus, Student
    from tests.bench.students import student_rows

    asked = []
    for tenant in tenants:
        with institution(tenant.context):
            principal = User.objects.create(email=ours.PRINCIPAL)
            UserRole.objects.create(user=principal, role=Role.objects.get(code="principal"), scope=Scope.INSTITUTION)
            campus = Campus.objects.create(code="C", name="Campus")
            Student.objects.bulk_create(Student(campus=campus, **row) for row in student_rows(STUDENTS))
            issued = sessions.open_session(user=principal, address="127.0.0.1", user_agent="bench")
            asked.append((tenant.host, issued.access))
    connection.close()
    return asked


@contextmanager
def memory_of_backends(postmaster: int) -> Iterator[list[float]]:
    """Afterwards holds the largest private memory of one backend, in MB."""
    seen: list[float] = []
    yield seen
    for backend in psutil.Process(postmaster).children():
        with suppress(psutil.NoSuchProcess):
            info = backend.memory_full_info()
            seen.append(info.uss / 1e6)


def round_robin(running: Running, asked: list[tuple[str, str]], seconds: float) -> Figures:
    """The students' list of one institution after the other, on one kept connection; latencies in milliseconds."""
    path = "/api/v1/school/students/?page_size=50"
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)

    def ask(host: str, token: str) -> float:
        began = time.perf_counter()
        connection.request("GET", path, headers={"Host": host, "Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{host} answered {answer.status}: {body[:300]!r}")
        return (time.perf_counter() - began) * 1000

    for host, token in asked:  # every institution touched before anything is measured
        for _ in range(2):
            ask(host, token)
    latencies, ends = [], time.perf_counter() + seconds
    while time.perf_counter() < ends:
        latencies += [ask(*each) for each in asked]
    ordered = sorted(latencies)
    return {"requests": len(ordered), "p50_ms": statistics.median(ordered), "p95_ms": ordered[len(ordered) * 95 // 100]}


def take_back(tenant: Any) -> Figures:
    """Seconds of a backup and of its restore, for an institution of 1,200 students beside the others."""
    from shared_apps.core.context import institution
    from shared_apps.tenants.backups import back_up, restore
    from tests.shared_apps.tenants.archives import path_of

    with institution(tenant.context):
        ours.fill()
    began = time.perf_counter()
    backup = back_up(tenant=tenant)
    made = time.perf_counter()
    restore(tenant=tenant, source=path_of(backup))
    return {
        "backup_seconds": made - began,
        "restore_seconds": time.perf_counter() - made,
        "megabytes": backup.size / 1e6,
    }


def serve(
    options: argparse.Namespace,
    variables: dict[str, str],
    asked: list[tuple[str, str]],
    directory: Path,
    pids: dict[str, int],
) -> Figures:
    """p50 over ten institutions and over all, and what a database backend holds once all were touched."""
    peer = Peer(
        name="ours",
        command=ours.web_command(),
        host=asked[0][0],
        token_path="",
        credentials={},
        list_path="",
        environment=variables,
    )
    with serving(peer, directory, sign_in=False) as running:
        few = round_robin(running, asked[:10], options.seconds)
        with memory_of_backends(pids["postgresql"]) as backends:
            many = round_robin(running, asked, options.seconds)
    return {
        "over_10": few,
        f"over_{len(asked)}": many,
        "p50_ratio": many["p50_ms"] / few["p50_ms"],
        "largest_backend_megabytes": max(backends),
    }


def main() -> None:
    options = read_options()
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="lyceum-tenancy-", dir=options.files) as name:
        directory = Path(name)
        directory.chmod(0o711)  # as root, PostgreSQL runs as another user, who must reach its directory
        with EmbeddedServers(directory / "servers") as servers:
            variables = ours.environment(servers.database_url, servers.redis_url, directory)
            os.environ.update(variables)
            import django

            from shared_apps.core.actors import acting, command
            from shared_apps.core.context import platform

            figures: Figures = {"machine": machine.describe(servers.superuser_url, servers.redis_url)}
            with platform(), acting(command("bench")):
                django.setup()
                from shared_apps.core.registry import NewInstitution
                from shared_apps.tenants.services import create_institution, migrate_platform

                migrate_platform()
                figures["provisioning"], tenants = provision(options)
                console.print(figures["provisioning"])
                asked = fill(tenants)
            machine.analyse(servers.superuser_url)
            pids = machine.database_pids(servers.superuser_url, servers.redis_url)
            figures["serving"] = serve(options, variables, asked, directory, pids)
            console.print(figures["serving"])
            with platform(), acting(command("bench")):
                figures["backup"] = take_back(create_institution(new=NewInstitution("Taken back", "taken-back")))
                console.print(figures["backup"])
                figures["migrations"] = migrate(options, tenants)
                console.print(figures["migrations"])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
