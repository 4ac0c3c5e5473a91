"""Keeping files: first the content, whole and durable, then the row in the caller's transaction.

A row therefore never names a file that is not there. What a killed writer or a rolled-back transaction leaves behind
has no row, and the sweep removes it.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone

from shared_apps.core.context import current_institution, platform
from shared_apps.core.errors import Gone, PaymentRequired, Unavailable
from shared_apps.core.ids import uuid7
from shared_apps.core.limits import STORAGE
from shared_apps.core.media import own_folder
from shared_apps.core.quotas import demand_room
from shared_apps.tenants.schemas import is_kept_aside
from tenant_apps.files.models import StoredFile

CHUNK = 256 * 1024
# A row may be committed as long after its file as the longest task takes; only then a file without one is an orphan.
ORPHANED_AFTER = timedelta(seconds=settings.LONGEST_TASK_SECONDS, hours=1)
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# The group reads too: a web server that sends the files (FILES_SENT_BY_PROXY) runs as another user.
FILE_MODE, FOLDER_MODE = 0o640, 0o750
SWEPT_AT_ONCE = 500
log = structlog.get_logger(__name__)


def folder() -> Path:
    """Where the current institution's files lie."""
    return own_folder() / "files"


def stored_bytes() -> int:
    """What the institution's limit counts; a file that has expired counts no more, though it may not be swept yet."""
    alive = StoredFile.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    return int(alive.aggregate(whole=Sum("size"))["whole"] or 0)


class Incoming:
    """A file that is being written, beside the kept ones and under a name that nobody looks at.

    Leaving the block without `keep` removes it. Raises Unavailable when there is no room.
    """

    def __init__(self) -> None:
        self.key = uuid7()
        self.path = folder() / "incoming" / self.key.hex
        self.size = 0
        self._digest = hashlib.sha256()
        self._file: int | None = None
        try:
            self.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        except OSError as trouble:
            raise self._no_room(trouble) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    @property
    def sha256(self) -> str:
        """Of what has been written so far."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> int:
        """Append; how many bytes that were (all of them)."""
        if self._file is None:
            raise ValueError("The file is closed.")
        rest = memoryview(chunk)
        self._digest.update(rest)
        self.size += len(rest)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as trouble:
            self.discard()
            raise self._no_room(trouble) from None
        return len(chunk)

    def keep(
        self, *, name: str, content_type: str, purpose: str, owner: UUID | None, expires_at: datetime | None = None
    ) -> StoredFile:
        """Make the content durable at its lasting place, then add the row to the caller's transaction.

        Raises Unavailable when there is no room on the server, PaymentRequired when the institution has none left."""
        place = folder() / self.key.hex[-2:] / self.key.hex
        try:
            if self._file is None:
                raise ValueError("The file is closed.")
            os.fsync(self._file)
            self._close()
            place.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            self.path.rename(place)
            for changed in (place.parent, place.parent.parent):
                _flush(changed)
        except OSError as trouble:
            self.discard()
            raise self._no_room(trouble) from None
        try:
            with transaction.atomic():
                kept = StoredFile.objects.create(
                    id=self.key,
                    name=clean_name(name),
                    content_type=content_type,
                    size=self.size,
                    sha256=self.sha256,
                    path=str(place.relative_to(settings.MEDIA_ROOT)),
                    owner_id=owner,
                    purpose=purpose,
                    expires_at=expires_at,
                )
                demand_room(STORAGE)
        except PaymentRequired:
            place.unlink(missing_ok=True)
            raise
        return kept

    def discard(self) -> None:
        """Leave nothing behind; nothing happens to a file that is kept."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _no_room(self, trouble: OSError) -> Unavailable:
        """The file can't be stored; the reason goes to the log, for whoever runs the server."""
        log.error("file_not_stored", reason=trouble.strerror, errno=errno.errorcode.get(trouble.errno or 0))
        if trouble.errno in NO_ROOM:
            return Unavailable(
                "The server has no room left for the file; its operators must make some.", code="no_room"
            )
        return Unavailable("The server cannot store the file for the moment.", code="not_stored")


def keep(
    *,
    name: str,
    content_type: str,
    purpose: str,
    chunks: Iterable[bytes] | BinaryIO,
    owner: UUID | None,
    expires_at: datetime | None = None,
) -> StoredFile:
    """Keep a file of the current institution; `chunks` is its content or an open binary file, read to its end.

    `owner` is the id of the person who may fetch it at its `url`. Raises Unavailable when there is no room,
    PaymentRequired when the institution has none left, and what `chunks` raises; nothing is left behind then.
    """
    with Incoming() as incoming:
        for chunk in _pieces(chunks):
            incoming.write(chunk)
        return incoming.keep(name=name, content_type=content_type, purpose=purpose, owner=owner, expires_at=expires_at)


def open_file(stored: StoredFile) -> BinaryIO:
    """The content, for reading. Raises Gone for a file that has expired or lies no longer there."""
    try:
        if not stored.expired:
            return stored.place.open("rb")
    except FileNotFoundError:
        log.error("stored_file_missing", file=str(stored.pk), path=stored.path)
    raise Gone("The file is no longer kept; make it anew.", code="file_expired")


def remove(stored: StoredFile) -> None:
    """Forget a file: the row now, the content once that is committed."""
    place = stored.place
    stored.delete()
    transaction.on_commit(lambda: place.unlink(missing_ok=True), robust=True)


def sweep_expired() -> int:
    """Remove the current institution's expired files; how many there were."""
    removed = 0
    while found := list(StoredFile.objects.filter(expires_at__lte=timezone.now())[:SWEPT_AT_ONCE]):
        with transaction.atomic():
            for stored in found:
                remove(stored)
        removed += len(found)
    return removed


def sweep_orphans() -> int:
    """Remove what killed writers and rolled-back transactions have left behind; how many files that were.

    A file as young as the longest task is left alone: its row may be about to be committed. So is everything while a
    schema of the institution is kept aside: its rows name files, too, and a restore may be taken back.
    """
    own = current_institution().id
    with platform():
        if is_kept_aside(own):
            return 0
    before = (timezone.now() - ORPHANED_AFTER).timestamp()
    old = {entry.name: Path(entry.path) for entry in _entries(folder()) if entry.stat().st_mtime < before}
    names = sorted(old)
    removed = 0
    for start in range(0, len(names), SWEPT_AT_ONCE):
        some = names[start : start + SWEPT_AT_ONCE]
        known = {pk.hex for pk in StoredFile.objects.filter(pk__in=some).values_list("pk", flat=True)}
        for name in some:
            if name not in known:
                old[name].unlink(missing_ok=True)
                removed += 1
    return removed


def _entries(top: Path) -> Iterator["os.DirEntry[str]"]:
    """Every file below `top` that this room has named."""
    with suppress(FileNotFoundError), os.scandir(top) as shelves:
        for shelf in shelves:
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(shelf.path) as entries:
                yield from (entry for entry in entries if len(entry.name) == 32 and entry.is_file())


def _pieces(content: Iterable[bytes] | BinaryIO) -> Iterable[bytes]:
    read = getattr(content, "read", None)
    return iter(lambda: read(CHUNK), b"") if read is not None else content


def clean_name(name: str) -> str:
    """A file name as the platform keeps it: without a path or invisible signs, 255 characters at most."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(sign for sign in last if sign.isprintable()).strip(" .")[:255] or "file"


def _flush(directory: Path) -> None:
    """Make a rename within the directory survive a power cut."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
