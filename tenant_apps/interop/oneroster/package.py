"""Opening an upload safely: what is in the zip, and streams that count what they really unpack.

Nothing is written to disk and no member's name is ever used as a path. Every refusal is a `PackageRefused`,
which the caller turns into a finding.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tenant_apps.interop.oneroster.findings import Code, FindingLog, quoted
from tenant_apps.interop.oneroster.layout import MANIFEST, STANDARD_FILES

MEBIBYTE = 1 << 20

# A member may expand this much before its ratio is looked at: short repetitive files compress well honestly.
RATIO_FREE_BYTES = 4 * MEBIBYTE

# PKWARE APPNOTE 4.3.14-4.3.16: the end records that say how large the central directory is.
END = struct.Struct("<4s4H2LH")
END64_LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
CENTRAL_ENTRY_LEAST = 46  # bytes of a central directory entry without its name

ENCRYPTED_FLAG = 0x1
READABLE_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# All that zipfile and zlib raise over damaged bytes (NotImplementedError and RuntimeError: odd features).
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    IndexError,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one upload may hold. 200,000 enrolments are about 20 MB unpacked and 4 MB as a zip."""

    upload_bytes: int = 64 * MEBIBYTE
    unpacked_bytes: int = 256 * MEBIBYTE
    ratio: int = 200  # unpacked / packed, per member; honest rosters reach about 30
    members: int = 200
    rows: int = 500_000  # per file
    line_bytes: int = MEBIBYTE
    findings: int = 1000  # kept; the counts stay complete


class PackageRefused(Exception):
    """The upload, or the rest of one member, can't be read. `detail` says why and how to mend it."""

    def __init__(self, code: Code, detail: str, *, line: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.line = line


class Package:
    """An opened upload: `members` maps the standard's file names to what the zip holds for them."""

    def __init__(self, archive: zipfile.ZipFile, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        self._unpacked = 0
        self.members: dict[str, zipfile.ZipInfo] = {}
        self.refused: set[str] = set()  # in the zip, but unreadable: a finding says why
        self.unknown: list[str] = []

    @contextmanager
    def stream(self, file: str) -> Iterator[IO[bytes]]:
        """The bytes of `file`. Raises PackageRefused, also while it is read."""
        member = self.members[file]
        try:
            raw = self._archive.open(member)
        except DAMAGE as damage:
            raise damaged(file, damage) from None
        with raw, io.BufferedReader(_Metered(raw, member, self), 1 << 16) as stream:
            yield stream

    def spend(self, count: int) -> None:
        self._unpacked += count
        if self._unpacked > self._limits.unpacked_bytes:
            raise PackageRefused(
                Code.ZIP_BOMB,
                f"The files unpack to more than {self._limits.unpacked_bytes // MEBIBYTE} MiB: split the roster.",
            )

    @property
    def ratio(self) -> int:
        return self._limits.ratio


class _Metered(io.RawIOBase):
    """A member's bytes, counted as they come out: the sizes a zip claims prove nothing."""

    def __init__(self, raw: IO[bytes], member: zipfile.ZipInfo, package: Package) -> None:
        super().__init__()
        self._raw = raw
        self._name = member.filename
        self._package = package
        self._free = max(RATIO_FREE_BYTES, member.compress_size * package.ratio)
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            chunk = self._raw.read(len(buffer))
        except DAMAGE as damage:
            raise damaged(self._name, damage) from None
        self._read += len(chunk)
        if self._read > self._free:
            raise PackageRefused(
                Code.ZIP_BOMB,
                f"{self._name} unpacks to more than {self._package.ratio} times its packed size, which no "
                f"roster does: "
                "export it again.",
            )
        self._package.spend(len(chunk))
        buffer[: len(chunk)] = chunk
        return len(chunk)


@contextmanager
def open_package(path: Path, log: FindingLog, limits: Limits) -> Iterator[Package]:
    """The upload at `path`, its members checked by name and claimed size before anything is unpacked.

    What is wrong with single members goes to `log`; what makes the whole unreadable raises PackageRefused.
    """
    try:
        upload = path.open("rb")
    except OSError as refusal:
        raise PackageRefused(Code.NOT_READABLE, f"The upload can't be opened: {refusal.strerror}.") from None
    with upload:
        check_ends(upload, limits)
        try:
            archive = zipfile.ZipFile(upload)
        except DAMAGE:
            raise PackageRefused(
                Code.ZIP_DAMAGED, "The zip's table of contents is damaged: pack or download the file again."
            ) from None
        with archive:
            package = Package(archive, limits)
            check_members(archive.infolist(), package, log, limits)
            yield package


def check_ends(upload: IO[bytes], limits: Limits) -> None:
    """Refuse what is no zip, and a table of contents too large to load. Raises PackageRefused."""
    size = upload.seek(0, io.SEEK_END)
    if size > limits.upload_bytes:
        raise PackageRefused(
            Code.UPLOAD_TOO_LARGE,
            f"The upload has {size // MEBIBYTE} MiB; at most {limits.upload_bytes // MEBIBYTE} MiB are "
            f"taken: "
            "leave out the files that aren't imported, or split the roster.",
        )
    upload.seek(0)
    start = upload.read(4)
    tail_at = max(0, size - (1 << 16) - END.size - END64.size - END64_LOCATOR.size)
    upload.seek(tail_at)
    tail = upload.read()
    end_at = len(tail) - END.size
    if end_at < 0 or tail[end_at : end_at + 4] != b"PK\5\6" or tail[-2:] != b"\0\0":
        end_at = tail.rfind(b"PK\5\6")
    if end_at < 0 or len(tail) - end_at < END.size:
        if start == b"PK\3\4":
            raise PackageRefused(
                Code.ZIP_TRUNCATED, "The zip ends in the middle: the transfer was cut off. Upload it again."
            )
        what = "is empty" if size == 0 else "is no zip file"
        raise PackageRefused(
            Code.NOT_A_ZIP, f"The upload {what}: pack manifest.csv and the other CSV files into one zip."
        )
    *_, directory_bytes, _offset, _comment = END.unpack_from(tail, end_at)
    # zipfile follows a ZIP64 locator wherever it finds one, so its claim counts too.
    locator_at = end_at - END64_LOCATOR.size
    end64_at = locator_at - END64.size
    if end64_at >= 0 and tail[locator_at : locator_at + 4] == b"PK\6\7" and tail[end64_at : end64_at + 4] == b"PK\6\6":
        directory_bytes = END64.unpack_from(tail, end64_at)[8]
    # Names and extra fields of an honest entry stay far below 1,000 bytes.
    if directory_bytes > limits.members * (CENTRAL_ENTRY_LEAST + 1000):
        raise too_many_members(limits)


def check_members(found: list[zipfile.ZipInfo], package: Package, log: FindingLog, limits: Limits) -> None:
    """Sort the members of the zip into known, unknown and refused. Raises PackageRefused for the whole."""
    if len(found) > limits.members:
        raise too_many_members(limits)
    if sum(member.file_size for member in found) > limits.unpacked_bytes:
        raise PackageRefused(
            Code.ZIP_BOMB,
            f"The zip says that it unpacks to more than {limits.unpacked_bytes // MEBIBYTE} MiB: split the roster.",
        )
    known = {name.casefold(): name for name in (MANIFEST, *STANDARD_FILES)}
    seen: set[str] = set()
    folders: dict[str, str] = {}
    for member in found:
        name = member.orig_filename
        if is_litter(name):
            continue
        shown = quoted(name, 80)
        if is_unsafe(name):
            log.error(
                Code.UNSAFE_PATH,
                f"The zip holds a file named {shown}, a path that leads outside of it: "
                "pack the CSV files themselves, without a path.",
                file=printable(name),
            )
        elif stat.S_ISLNK(member.external_attr >> 16):
            log.error(
                Code.SYMLINK,
                f"{shown} is a link, not a file: pack the file that it points to.",
                file=printable(name),
            )
        elif member.is_dir():
            continue
        elif "/" in name:
            folders.setdefault(name.split("/")[0], name)
        elif name.casefold() in seen:
            log.error(
                Code.DUPLICATE_MEMBER,
                f"The zip holds {shown} twice, so it isn't clear which one counts: keep one.",
                file=printable(name),
            )
        else:
            seen.add(name.casefold())
            take_member(member, known.get(name.casefold()), package, log)
    for folder, example in folders.items():
        log.error(
            Code.NOT_AT_ROOT,
            f"{quoted(example, 80)} lies in the folder {quoted(folder)}: zip the files themselves, not their folder.",
            file=printable(example),
        )


def take_member(member: zipfile.ZipInfo, file: str | None, package: Package, log: FindingLog) -> None:
    """Enter one member, whose name is sound, into the package under the standard's name `file`."""
    shown = printable(member.filename)
    if file is None:
        package.unknown.append(shown)
        log.warning(
            Code.UNKNOWN_FILE,
            f"{quoted(shown, 80)} is no file of OneRoster 1.2 and is left aside.",
            file=shown,
        )
    elif member.flag_bits & ENCRYPTED_FLAG:
        log.error(Code.ENCRYPTED, f"{file} is protected by a password: pack it without one.", file=file)
    elif member.compress_type not in READABLE_METHODS:
        log.error(
            Code.ZIP_UNSUPPORTED,
            f"{file} is packed with an unusual method ({member.compress_type}): use an ordinary zip (deflate).",
            file=file,
        )
    else:
        if member.filename != file:
            log.warning(
                Code.FILE_NAME_CASE,
                f"{quoted(shown)} is read as {file}: the standard writes it so, in these upper and lower case letters.",
                file=file,
            )
        package.members[file] = member
        return
    if file is not None:
        package.refused.add(file)


def is_litter(name: str) -> bool:
    """Whether `name` is what macOS and Windows leave in zips."""
    parts = name.split("/")
    return parts[0] == "__MACOSX" or parts[-1] in (".DS_Store", "Thumbs.db", "desktop.ini")


def is_unsafe(name: str) -> bool:
    return (
        not name or name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/") or name[1:2] == ":"
    )


def printable(name: str) -> str:
    """A member's name as a finding may carry it: short, and free of control characters."""
    return quoted(name, 120)[1:-1]


def too_many_members(limits: Limits) -> PackageRefused:
    return PackageRefused(
        Code.TOO_MANY_MEMBERS,
        f"The zip holds more than {limits.members} files; a roster has at most {len(STANDARD_FILES) + 1}: "
        "pack only the CSV files.",
    )


def damaged(file: str, damage: BaseException) -> PackageRefused:
    reason = str(damage) or type(damage).__name__
    return PackageRefused(
        Code.ZIP_DAMAGED, f"{file} can't be unpacked ({quoted(reason, 80)}): pack or download the zip again."
    )
