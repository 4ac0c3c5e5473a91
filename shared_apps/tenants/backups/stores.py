"""Where backups are kept: a directory, or an object store. A key is a path below it,
`<institution>/20260901T080000Z-1f2e3d.age`; those of the platform's own tables begin with `platform/`."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from django.conf import settings

from shared_apps.tenants.backups.refusals import missing
from shared_apps.tenants.backups.workplace import workplace


class Store(Protocol):
    """Keeps sealed files under keys."""

    def arriving(self, key: str) -> AbstractContextManager[Path]:
        """A path to write to. Left without an error, what is written there is kept: whole, or not at all. Raises
        OSError when the store is away, or full."""

    def at_hand(self, key: str) -> AbstractContextManager[Path]:
        """A path to read the file from. Raises Invalid (`no_backup`) when it is not there, OSError when
        the store is away."""

    def remove(self, key: str) -> None:
        """Forget a file; one that is gone already is no trouble."""

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with `prefix`, which is empty or ends in a slash, in their order: those of one folder are
        in the order of their making. Raises OSError when the store is away."""

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
            folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)  # the name, too, before a record says that it is there
            finally:
                os.close(folder)

    @contextmanager
    def at_hand(self, key: str) -> Iterator[Path]:
        path = self._root / key
        self._demand_there()
        if not path.is_file():
            raise missing(str(path))
        with ExitStack() as stack:
            try:
                # A second name: whoever forgets the backup meanwhile takes nothing away from who reads it.
                place = stack.enter_context(workplace(self._root / ".arriving"))
                os.link(path, place / path.name)
                path = place / path.name
            except FileNotFoundError:
                raise missing(str(path)) from None
            except OSError:
                pass  # a disk that knows no second names, or may only be read
            yield path

    def remove(self, key: str) -> None:
        (self._root / key).unlink(missing_ok=True)

    def keys(self, prefix: str) -> list[str]:
        self._demand_there()
        found = (path.relative_to(self._root) for path in (self._root / prefix).rglob("*.age"))
        return sorted(str(path) for path in found if not path.parts[0].startswith("."))

    def _demand_there(self) -> None:
        if not self._root.is_dir():
            raise NotADirectoryError(f"{self._root} is not there; is its disk mounted?")

    def where(self, key: str) -> str:
        return str(self._root / key)


def store() -> Store:
    """The one that is configured."""
    if settings.BACKUP_STORE:
        # boto3 takes half a second and 40 MB: only whoever writes or reads a backup pays that.
        from shared_apps.tenants.backups.object_store import ObjectStore

        return ObjectStore(**settings.BACKUP_STORE)
    return Directory(settings.BACKUP_DIR)
