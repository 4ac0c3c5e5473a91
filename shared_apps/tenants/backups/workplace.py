"""Private directories for work on backups. Nothing in one outlives it: what a kill leaves is swept by the next."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import IO

LOCK = ".lock"


@contextmanager
def workplace(root: Path | None = None) -> Iterator[Path]:
    """An empty directory below `root` (by default in the system's place for such, see TMPDIR) that this user alone may
    enter, and that is gone afterwards. Raises PermissionError when `root` is somebody else's."""
    root = root or Path(gettempdir()) / f"lyceum-backups-{os.getuid()}"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if root.stat().st_uid != os.getuid():
        raise PermissionError(f"{root} belongs to another user; set TMPDIR to a directory of your own.")
    with _held(root):  # nobody sweeps between the making of a place and its lock
        _sweep(root)
        place = Path(mkdtemp(dir=root))
        lock = (place / LOCK).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield place
    finally:
        with lock, _held(root):  # a sweep that looked meanwhile would find half of it
            shutil.rmtree(place)


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    with (directory / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(root: Path) -> None:
    """Remove the places whose processes have died: their locks are free."""
    for lock in root.glob(f"*/{LOCK}"):
        with lock.open("w") as left:
            if _free(left):
                shutil.rmtree(lock.parent)


def _free(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
