"""Edits of the source tree: each adds what lacks and leaves what is there."""

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from django.core.management.base import CommandError

TOP = Path(__file__).resolve().parents[3]


@dataclass(slots=True)
class Tree:
    """The source tree below `top`, and what was done to it."""

    top: Path = TOP
    done: list[str] = field(default_factory=list)

    def room(self, name: str) -> Path:
        return self.top / "tenant_apps" / name

    def create(self, path: Path, text: str) -> None:
        """Write a file, unless there is one."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            self.done.append(f"wrote {path.relative_to(self.top)}")

    def insert(self, path: Path, text: str, *, after: str, sign: str) -> None:
        """Put `text` behind the last match of the pattern `after`, unless the file holds `sign`."""
        present = path.read_text(encoding="utf-8")
        if sign in present:
            return
        places = list(re.finditer(after, present, re.MULTILINE))
        if not places:
            raise CommandError(f"{path.relative_to(self.top)} has another form than the house's: nothing to add to.")
        at = places[-1].end()
        path.write_text(present[:at] + text + present[at:], encoding="utf-8")
        self.done.append(f"added {sign.strip()} to {path.relative_to(self.top)}")

    def append(self, path: Path, text: str, *, sign: str) -> None:
        """Put `text` at the end, unless the file holds `sign`."""
        present = path.read_text(encoding="utf-8")
        if sign not in present:
            path.write_text(f"{present.rstrip()}\n{text}", encoding="utf-8")
            self.done.append(f"added {sign.strip()} to {path.relative_to(self.top)}")

    def imports(self, path: Path, *lines: str) -> None:
        """Put import lines behind the docstring; `tidy` sorts them, and merges those from one module."""
        present = path.read_text(encoding="utf-8")
        end = present.index('"""', present.index('"""') + 3) + 3
        path.write_text(present[:end] + "\n\n" + "\n".join(lines) + "\n" + present[end:], encoding="utf-8")

    def floors(self) -> list[list[str]]:
        """The institutions' rooms, highest floor first."""
        contracts = tomllib.loads((self.top / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        (layers,) = (found["layers"] for found in contracts if found.get("containers") == ["tenant_apps"])
        return [[name.strip() for name in layer.split("|")] for layer in layers]

    def floor_of(self, room: str) -> int:
        """How far from the top. Raises CommandError for a room that stands on none."""
        for index, names in enumerate(self.floors()):
            if room in names:
                return index
        raise CommandError(
            f"There is no room {room!r}; there are {', '.join(name for names in self.floors() for name in names)}."
        )

    def tidy(self, *paths: Path) -> None:
        """Sort imports and format, as `make lint` wants them."""
        names = [str(path) for path in paths]
        self.run("-m", "ruff", "check", "--fix", "--quiet", "--select", "I", *names)
        self.run("-m", "ruff", "format", "--quiet", *names)

    def migrate(self, room: str, name: str) -> None:
        """The room's next migration, made by a process that sees the new files."""
        folder = self.room(room) / "migrations"
        before = set(folder.glob("0*.py"))
        self.run("manage.py", "makemigrations", room, "--name", name if before else "initial")
        new = sorted(set(folder.glob("0*.py")) - before)
        if new:
            self.tidy(*new)
            self.done += [f"wrote {path.relative_to(self.top)}" for path in new]

    def run(self, *command: str) -> None:
        """Python with arguments, in the tree. Raises CommandError with what it said."""
        asked = subprocess.run([sys.executable, *command], cwd=self.top, capture_output=True, text=True)
        if asked.returncode:
            raise CommandError(f"{' '.join(command)} failed:\n{asked.stdout}{asked.stderr}")
