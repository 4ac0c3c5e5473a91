"""Rows of a roster into a zip: bulk or what has changed since, as OneRoster 1.2 or 1.1."""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from tenant_apps.interop.oneroster import layout
from tenant_apps.interop.oneroster.layout import FileLayout

EPOCH = (1980, 1, 1, 0, 0, 0)  # of a zip's entries: the earliest that the format knows
VERSIONS = ("1.2", "1.1")
# Roles of 1.2 that 1.1 has no word for.
ROLE_IN_11 = {
    "counselor": "aide",
    "districtAdministrator": "administrator",
    "principal": "administrator",
    "siteAdministrator": "administrator",
    "systemAdministrator": "administrator",
}
SEXES_11 = ("female", "male")

Cells = dict[str, Any]
"""A row by header. Besides: `at`, when it was last written, and `gone`, whether it has been deleted since."""
Files = Iterable[tuple[FileLayout[Any], Iterable[Cells]]]


def write_package(target: Path, files: Files, *, version: str, since: datetime | None) -> dict[str, int]:
    """Write the zip; how many rows each file has. With `since` only what was written or deleted from then on."""
    if version == "1.1":
        files = _in_11({each.file: (each, rows) for each, rows in files})
    counts: dict[str, int] = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        manifest = _manifest(version, "bulk" if since is None else "delta")
        _write(package, layout.MANIFEST, (("propertyName", "value"), *manifest))
        for each, rows in files:
            chosen = _changed(rows, since) if since else (row for row in rows if not row.get("gone"))
            counts[each.file.removesuffix(".csv")] = _write(package, each.file, _table(each, chosen)) - 1
    return counts


def _manifest(version: str, mode: str) -> Iterator[tuple[str, str]]:
    yield "manifest.version", "1.0"
    yield "oneroster.version", version
    for name in sorted(layout.FILES_11 if version == "1.1" else layout.STANDARD_FILES):
        yield f"file.{name.removesuffix('.csv')}", mode if name in layout.IMPORTED_FILES else "absent"
    yield "source.systemName", "Lyceum"


def _changed(rows: Iterable[Cells], since: datetime) -> Iterator[Cells]:
    for row in rows:
        at: datetime = row["at"]
        if at >= since:
            stamp = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
            yield row | {"status": "tobedeleted" if row.get("gone") else "active", "dateLastModified": stamp}


def _in_11(files: dict[str, tuple[FileLayout[Any], Iterable[Cells]]]) -> Files:
    """The same rows as 1.1 has them: a person's first role stands in users.csv, and there is no roles.csv."""
    roles: dict[str, list[Cells]] = {}
    for role in files.pop(layout.ROLES_FILE.file)[1]:
        roles.setdefault(role["userSourcedId"], []).append(role)
    for file, (each, rows) in files.items():
        if file == layout.USERS.file:
            yield layout.USERS_11, (_user_in_11(row, roles.get(row["sourcedId"], [])) for row in rows)
        elif file == layout.DEMOGRAPHICS.file:
            yield each, (row | {"sex": row.get("sex") if row.get("sex") in SEXES_11 else ""} for row in rows)
        else:
            yield each, rows


def _user_in_11(row: Cells, roles: list[Cells]) -> Cells:
    first = [role for role in roles if role["roleType"] == "primary"][:1]
    role = first[0]["role"] if first else None
    orgs = [held["orgSourcedId"] for held in (*first, *(held for held in roles if held["role"] == role))]
    return row | {"role": ROLE_IN_11.get(role or "", role), "orgSourcedIds": list(dict.fromkeys(orgs))}


def _table(each: FileLayout[Any], rows: Iterable[Cells]) -> Iterator[tuple[str, ...]]:
    yield each.headers
    for row in rows:
        yield tuple(_cell(row.get(header)) for header in each.headers)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case date():
            return value.isoformat()
        case list() | tuple():
            return ",".join(value)
        case _:
            return str(value)


def _write(package: zipfile.ZipFile, name: str, rows: Iterable[tuple[str, ...]]) -> int:
    """One file of the package (RFC 4180), row by row; how many rows it has."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    count = 0
    with package.open(entry, "w") as raw, io.TextIOWrapper(raw, "utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\r\n")
        for row in rows:
            writer.writerow(row)
            count += 1
    return count
