"""What a backup is: a compressed tar of manifest, dump and files, encrypted in the age format (age-encryption.org).

The platform needs only the public keys to make one; a restore needs one of the identities, which may be kept elsewhere
until then. Any `age` program opens the file as well.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyrage
from django.conf import settings
from pyrage import x25519

from shared_apps.core.errors import Invalid
from shared_apps.tenants.backups.stores import missing
from shared_apps.tenants.backups.workplace import workplace

FORMAT = 1
SEALED = "sealed_backup"  # the code of a refusal: no key that is here opens it
MANIFEST, DUMP, FILES = "manifest.json", "schema.sql", "files"


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself. `tables` holds the number of rows of each table, `digests` one over their content,
    `migrations` what was applied ("app.name"), `sha256` the digest of each part."""

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
    sha256: dict[str, str]


@dataclass(frozen=True)
class Opened:
    """A backup that has been decrypted and checked, in a private directory."""

    manifest: Manifest
    dump: Path
    files: Path


def write(target: Path, *, manifest: dict[str, Any], dump: Path, files: Path) -> str:
    """Pack and encrypt a backup to `target`; the SHA-256 of what stands there then. Nothing is written in clear."""
    recipients = _recipients()
    parts = {DUMP: dump} | {f"{FILES}/{path.relative_to(files)}": path for path in _files_below(files)}
    described = Manifest(**manifest, format=FORMAT, sha256={name: digest(path) for name, path in parts.items()})
    reading, writing = os.pipe()
    with ThreadPoolExecutor(1, thread_name_prefix="lyceum-backup") as beside, target.open("wb") as output:
        packed = beside.submit(_pack, writing, described, parts)
        with os.fdopen(reading, "rb") as source:
            pyrage.encrypt_io(source, output, recipients)
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
            tar.add(path, name, recursive=False)


@contextmanager
def opened(source: Path) -> Iterator[Opened]:
    """Decrypt, unpack and check a backup. Raises Invalid, saying what is wrong, before anything else is touched."""
    if not source.is_file():
        raise missing(str(source))
    with workplace() as directory:
        plain = directory / "plain"
        try:
            with source.open("rb") as sealed, plain.open("wb") as output:
                pyrage.decrypt_io(sealed, output, [_identity(make=False)])
            with tarfile.open(plain, "r:gz") as tar:
                tar.extractall(directory / "parts", filter="data")
            plain.unlink()
            found = json.loads((directory / "parts" / MANIFEST).read_text())
        except pyrage.DecryptError as error:
            raise Invalid(
                f"{source.name} cannot be opened: it is damaged, no backup, or made for another key ({error}).",
                code=SEALED,
            ) from None
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            raise Invalid(f"{source.name} cannot be unpacked: {error}.", code="bad_backup") from None
        manifest = _checked(found, directory / "parts", source.name)
        yield Opened(manifest, directory / "parts" / DUMP, directory / "parts" / FILES)


def _checked(found: Any, parts: Path, name: str) -> Manifest:
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        form = found.get("format") if isinstance(found, dict) else None
        raise Invalid(f"{name} is of format {form}; this release reads format {FORMAT}.", code="other_format")
    manifest = Manifest(**found)
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
    return sorted(path for path in files.rglob("*") if path.is_file()) if files.is_dir() else []


def _recipients() -> list[x25519.Recipient]:
    """Whom backups are made for: BACKUP_RECIPIENTS, else the identity that is kept here."""
    if settings.BACKUP_RECIPIENTS:
        return [x25519.Recipient.from_str(word) for word in settings.BACKUP_RECIPIENTS]
    return [_identity(make=True).to_public()]


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
        descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{x25519.Identity.generate()}\n")
    return x25519.Identity.from_str(kept.read_text().strip())
