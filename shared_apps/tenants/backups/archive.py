"""What a backup is: a compressed tar of manifest, dump and files, sealed in the age format (age-encryption.org).

The platform needs only the public keys to make one; a restore needs one of the identities, which may be kept elsewhere
until then. Any `age` program opens the file as well.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import pyrage
from django.conf import settings
from pyrage import x25519

from shared_apps.core.errors import Invalid
from shared_apps.tenants.backups.refusals import missing
from shared_apps.tenants.backups.workplace import workplace

FORMAT = 1
SEALED = "sealed_backup"  # the code of a refusal: no key that is here opens it
MANIFEST, DUMP, FILES = "manifest.json", "schema.sql", "files"
PASSING = "incoming"  # where the room `files` writes what is not kept yet: it changes while it is read
NO_KEY = "No matching keys found"  # what pyrage says of an identity that is no recipient's


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself; of the platform's own, `institution` is empty. `tables` holds the number of rows of
    each table, `digests` one over their content, `migrations` what was applied ("app.name"), `public` the rows that the
    platform has of the institution (as Django serializes them), `sha256` the digest of each part."""

    format: int
    institution: str
    slug: str
    name: str
    schema_name: str
    made_at: str
    fingerprint: str
    migrations: list[str]
    tables: dict[str, int]
    digests: dict[str, str]
    public: str
    sha256: dict[str, str]


@dataclass(frozen=True)
class Opened:
    """A backup that has been decrypted and checked, in a private directory."""

    manifest: Manifest
    dump: Path
    files: Path


def write(target: Path, *, manifest: dict[str, Any], dump: Path, files: Path) -> str:
    """Pack and seal a backup to `target`; the SHA-256 of what stands there then. Nothing is written in clear.

    Raises OSError when the disk is full, or a file changes meanwhile: kept files never do.
    """
    sealed_for = [x25519.Recipient.from_str(word) for word in recipients()]
    parts = {DUMP: dump} | {f"{FILES}/{path.relative_to(files)}": path for path in _files_below(files)}
    described = Manifest(**manifest, format=FORMAT, sha256={name: digest(path) for name, path in parts.items()})
    reading, writing = os.pipe()
    with ThreadPoolExecutor(1, thread_name_prefix="lyceum-backup") as beside, target.open("wb") as output:
        packed = beside.submit(_pack, writing, described, parts)
        with os.fdopen(reading, "rb") as source:
            try:
                pyrage.encrypt_io(source, output, sealed_for)
            except pyrage.EncryptError as error:
                raise OSError(f"{target.name} cannot be written: {error}") from None
        packed.result()
    return digest(target)


def _pack(into: int, manifest: Manifest, parts: dict[str, Path]) -> None:
    with (
        os.fdopen(into, "wb") as pipe,
        gzip.GzipFile(fileobj=pipe, mode="wb", compresslevel=3, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        text = json.dumps(asdict(manifest), indent=2).encode()
        entry = tarfile.TarInfo(MANIFEST)
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
        for name, path in parts.items():
            with path.open("rb") as part:
                read = _Digesting(part)
                tar.addfile(tar.gettarinfo(arcname=name, fileobj=part), read)
            if read.digest.hexdigest() != manifest.sha256[name]:
                raise OSError(f"{path} changed while it was packed.")


class _Digesting:
    """A file, and the digest of what was read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self.digest.update(chunk)
        return chunk


@contextmanager
def opened(source: Path) -> Iterator[Opened]:
    """Open, unpack and check a backup. Raises Invalid, saying what is wrong, before anything else is touched, and
    OSError for what is no fault of the backup: a full disk, one that cannot be read."""
    if not source.is_file():
        raise missing(str(source))
    with workplace() as directory:
        plain = directory / "plain"
        try:
            with source.open("rb") as sealed, plain.open("wb") as output:
                pyrage.decrypt_io(sealed, output, [identity := _identity(make=False)])
            with tarfile.open(plain, "r:gz") as tar:
                tar.extractall(directory / "parts", filter="data")
            plain.unlink()
            found = json.loads((directory / "parts" / MANIFEST).read_text())
        except pyrage.DecryptError as error:
            if str(error).startswith("OSError"):
                raise OSError(f"{source.name} cannot be read: {error}") from None
            if NO_KEY in str(error):
                raise Invalid(
                    f"{source.name} is sealed for another key than that of {identity.to_public()}, which is here.",
                    code=SEALED,
                ) from None
            raise Invalid(f"{source.name} is damaged, or no backup ({error}).", code="bad_backup") from None
        except (tarfile.TarError, zlib.error, OSError, ValueError, EOFError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's; what age and gzip find wrong has no number
            raise Invalid(f"{source.name} cannot be unpacked: {error}.", code="bad_backup") from None
        manifest = _checked(found, directory / "parts", source.name)
        yield Opened(manifest, directory / "parts" / DUMP, directory / "parts" / FILES)


def _checked(found: Any, parts: Path, name: str) -> Manifest:
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        form = found.get("format") if isinstance(found, dict) else None
        raise Invalid(f"{name} is of format {form}; this release reads format {FORMAT}.", code="other_format")
    try:
        manifest = Manifest(**found)
    except TypeError:
        raise Invalid(f"The manifest of {name} is not one of format {FORMAT}.", code="other_format") from None
    for part, expected in manifest.sha256.items():
        path = parts / part
        if not path.is_file() or digest(path) != expected:
            raise Invalid(f"{part} in {name} is missing or altered.", code="bad_backup")
    return manifest


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as part:
        return hashlib.file_digest(part, "sha256").hexdigest()


def _files_below(files: Path) -> list[Path]:
    """Those that are kept. A backup of which one is missing would be none, so one that goes meanwhile is an error."""
    found = (path for path in files.rglob("*") if PASSING not in path.relative_to(files).parts)
    return sorted(path for path in found if path.is_file()) if files.is_dir() else []


def recipients() -> list[str]:
    """The public keys that backups are sealed for: BACKUP_RECIPIENTS, else that of the identity that is kept here."""
    return list(settings.BACKUP_RECIPIENTS) or [str(_identity(make=True).to_public())]


def _identity(*, make: bool) -> x25519.Identity:
    """BACKUP_IDENTITY, else one made here at the first backup, readable by this user alone. Raises Invalid where none
    is, and none is to be made."""
    if settings.BACKUP_IDENTITY:
        return x25519.Identity.from_str(settings.BACKUP_IDENTITY)
    kept: Path = settings.BACKUP_DIR / "identity.txt"
    if not kept.exists():
        if not make:
            raise Invalid("The key of the backups is not here; name it by BACKUP_IDENTITY_FILE.", code=SEALED)
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with workplace(kept.parent / ".arriving") as place:
            made = place / kept.name
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{x25519.Identity.generate()}\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was first, and has sealed with its own
                os.link(made, kept)
    return x25519.Identity.from_str(kept.read_text().strip())
