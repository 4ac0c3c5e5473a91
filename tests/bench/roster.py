"""How long `manage.py import_oneroster` takes over a large roster, and how much memory."""

import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import ours
from tests.bench.servers import ROOT, run_python

SLUG = "importing"
STUDENTS, SECTIONS, ENROLMENTS = 5_000, 400, 40_000
TARGET_SECONDS, TARGET_MEGABYTES = 20.0, 400.0


@dataclass(frozen=True)
class Import:
    """Seconds from the command's start to its end, and the most memory it held (MB of 10**6 bytes)."""

    seconds: float
    megabytes: float


def measure(database_url: str, redis_url: str, directory: Path) -> dict[str, dict[str, float]]:
    """Imports the roster into a new institution, then again (nothing to change); answers by the run's name."""
    from tests.tenant_apps.interop.oneroster.rosters import write_roster

    file = directory / "roster.zip"
    write_roster(file, students=STUDENTS, sections=SECTIONS, enrolments=ENROLMENTS)
    variables = ours.environment(database_url, redis_url)
    run_python("manage.py", "migrate_platform", environment=variables)
    run_python("manage.py", "tenant", "create", SLUG, "--name", "Importing", environment=variables)
    return {
        name: asdict(_import_once(file, variables, directory / f"import-{name}.log")) for name in ("first", "again")
    }


def _import_once(file: Path, variables: dict[str, str], log: Path) -> Import:
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "import_oneroster", SLUG, str(file)],
            cwd=ROOT,
            env=os.environ | variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        # wait4 gives the peak of this one child, where getrusage gives the largest of all children so far.
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"The import failed:\n{log.read_text(errors='replace')[-3_000:]}")
    return Import(time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e6)
