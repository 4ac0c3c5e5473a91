"""Where backups are kept: a directory. A key is a path below it, `<institution>/20260901T080000Z-1f2e3d.age`."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from django.conf import settings

from shared_apps.core.errors import Invalid
from shared_apps.tenants.backups.workplace import workplace


class Store(Protocol):
    """Keeps sealed files under keys."""

    def arriving(self, key: str) -> AbstractContextManager[Path]:
        """A path to write to. Left without an error, what is written there is kept: whole, or not at all."""

    def at_hand(self, key: str) -> AbstractContextManager[Path]:
        """A path to read the file from. Raises Invalid (`no_backup`) when it is not there, OSError when
        the store is away."""

    def remove(self, key: str) -> None:
        """Forget a file; one that is gone already is no trouble."""

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with `prefix`, which ends in a slash, in their order."""

    def where(self, key: str) -> str:
        """Where a person finds the file."""


class Directory:
    """A directory, and what lies below it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def arriving(self, key: str) -> Iterator[Path]:
        target = self._root / key
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with workplace(self._root / ".arriving") as place:
            sealed = place / "sealed"
            yield sealed
            with sealed.open("rb") as written:
                os.fsync(written.fileno())
            sealed.replace(target)

    @contextmanager
    def at_hand(self, key: str) -> Iterator[Path]:
        path = self._root / key
        if not self._root.is_dir():
            raise NotADirectoryError(f"{self._root} is not there; is its disk mounted?")
        if not path.is_file():
            raise missing(str(path))
        yield path

    def remove(self, key: str) -> None:
        (self._root / key).unlink(missing_ok=True)

    def keys(self, prefix: str) -> list[str]:
        return sorted(str(path.relative_to(self._root)) for path in (self._root / prefix).glob("*.age"))

    def where(self, key: str) -> str:
        return str(self._root / key)


def missing(where: str) -> Invalid:
    return Invalid(f"There is no such backup: {where}.", code="no_backup")


def store() -> Store:
    """The one that is configured."""
    return Directory(settings.BACKUP_DIR)
