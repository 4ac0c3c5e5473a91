"""`make test-scaffold`: a new room and two resources in a copy of the tree, then what `make test` asks of them.

About a minute; the quick half is in test_scaffold.py.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.test_house import TOP, tracked

STEPS = (
    "manage.py startroom library --above academics",
    "manage.py startresource library LibraryCard number:text(40)! holder:school.Student expires_on:day?",
    "manage.py startresource school Locker number:text(20)! campus:school.Campus! student:school.Student? remark:note",
    "manage.py check --fail-level WARNING",
    "manage.py makemigrations --check --dry-run",
)
CONTRACT = "-m pytest tests/contract tests/test_house.py -n 0 -q -k"
SERVED = "library or lockers or house or component"


def main() -> None:
    """Exits with the first step's code that fails."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        for path in tracked():
            target = top / path.relative_to(TOP)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        subprocess.run(["git", "init", "--quiet"], cwd=top, check=True)
        scratch = [sys.executable, "-m", "platform_config.launch", "scratch", sys.executable]
        steps = [[*scratch, *step.split()] for step in STEPS]
        steps += [[sys.executable, "-m", "mypy"], [sys.executable, *CONTRACT.split(), SERVED]]
        paths = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        for step in steps:
            done = subprocess.run(step, cwd=top, env={**os.environ, "PATH": paths})
            if done.returncode:
                sys.exit(done.returncode)


if __name__ == "__main__":
    main()
