"""How long `manage.py import_oneroster` takes over a large roster, and how much memory."""

import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from platform_config.children import own_identity, spawn
from tests.bench import ours
from tests.bench.servers import ROOT

STUDENTS, SECTIONS, ENROLMENTS_EACH = 5_000, 400, 8
TARGET_SECONDS, TARGET_MEGABYTES = 20.0, 400.0
LIMIT = 300.0  # seconds, then the import is killed


@dataclass(frozen=True)
class Import:
    """Seconds from the command's start to its end, and the most memory it held (MB of 10**6 bytes)."""

    seconds: float
    megabytes: float


def measure(database_url: str, redis_url: str, directory: Path) -> dict[str, dict[str, float]]:
    """Imports the roster into the empty institution, then again (nothing to change); answers by the run's name."""
    from tests.tenant_apps.interop.oneroster.rosters import write_roster

    file = directory / "roster.zip"
    write_roster(file, students=STUDENTS, sections=SECTIONS, enrolments_per_student=ENROLMENTS_EACH)
    variables = ours.environment(database_url, redis_url, directory)
    return {
        name: asdict(_import_once(file, variables, directory / f"import-{name}.log")) for name in ("first", "again")
    }


def _import_once(file: Path, variables: dict[str, str], log: Path) -> Import:
    started = time.perf_counter()
    with log.open("wb") as output:
        process = spawn(
            [sys.executable, "manage.py", "import_oneroster", ours.EMPTY_SLUG, str(file)],
            identity=own_identity(),
            cwd=ROOT,
            environment=os.environ | variables,
            output=output,
            farewell=signal.SIGKILL,
        )
    limit = threading.Timer(LIMIT, process.kill)
    limit.start()
    # wait4 gives the peak of this one child, where getrusage gives the largest of all children so far.
    _, status, usage = os.wait4(process.pid, 0)
    limit.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"The import failed:\n{log.read_text(errors='replace')[-3_000:]}")
    return Import(time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e6)
