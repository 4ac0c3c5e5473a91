"""manifest.csv: which files of the standard an upload holds, and how they are meant."""

from __future__ import annotations

from dataclasses import dataclass, field

from tenant_apps.interop.oneroster.cells import nearest
from tenant_apps.interop.oneroster.findings import Code, FindingLog, quoted
from tenant_apps.interop.oneroster.layout import FILES_11, IMPORTED_FILES, MANIFEST, STANDARD_FILES
from tenant_apps.interop.oneroster.package import Limits, Package, PackageRefused
from tenant_apps.interop.oneroster.text import CsvText

VERSION = "oneroster.version"
MANIFEST_VERSION = "manifest.version"
# Point releases changed texts, not files.
VERSIONS = {"1.1": "1.1", "1.1.0": "1.1", "1.2": "1.2", "1.2.0": "1.2", "1.2.1": "1.2"}
SOURCE_PROPERTIES = ("source.systemName", "source.systemCode")
FILE_PROPERTIES = {f"file.{file.removesuffix('.csv')}": file for file in STANDARD_FILES}
PROPERTIES = (MANIFEST_VERSION, VERSION, *FILE_PROPERTIES, *SOURCE_PROPERTIES)
ROW_LIMIT = 500
MODES = ("absent", "bulk", "delta")


@dataclass
class Manifest:
    """`bulk` and `delta`: the files to be read, in no order; `not_imported`: accepted, but read by nobody yet."""

    readable: bool = False
    version: str = ""
    bulk: set[str] = field(default_factory=set)
    delta: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    not_imported: list[str] = field(default_factory=list)
    system_name: str = ""
    system_code: str = ""


def read_manifest(package: Package, log: FindingLog, limits: Limits) -> Manifest:
    """Read the manifest and hold it against what the zip contains; `readable` is False when that fails."""
    manifest = Manifest(not_imported=list(package.unknown))
    if MANIFEST not in package.members:
        if MANIFEST not in package.refused:
            log.error(
                Code.MANIFEST_MISSING,
                "The zip has no manifest.csv at its top: add it, with one row for each of the "
                f"{len(STANDARD_FILES)} files of the standard.",
                file=MANIFEST,
            )
        return manifest
    properties = read_properties(package, log, limits)
    if properties is None:
        return manifest
    version = check_version(properties, log)
    if version is None:
        return manifest
    manifest.readable, manifest.version = True, version
    manifest.system_name = properties.get(SOURCE_PROPERTIES[0], ("", 0))[0]
    manifest.system_code = properties.get(SOURCE_PROPERTIES[1], ("", 0))[0]
    for name, file in FILE_PROPERTIES.items():
        if name in properties:
            take_file(file, *properties[name], package=package, manifest=manifest, log=log)
        elif version == "1.2" or file in FILES_11:
            manifest.refused.add(file)
            log.error(
                Code.PROPERTY_MISSING,
                f"The row {name} is missing: add it with the value absent, bulk or delta.",
                file=MANIFEST,
                column="propertyName",
            )
    return manifest


def read_properties(package: Package, log: FindingLog, limits: Limits) -> dict[str, tuple[str, int]] | None:
    """Property -> (value, line); None when the file can't be read or isn't a manifest."""
    properties: dict[str, tuple[str, int]] = {}
    try:
        with package.stream(MANIFEST) as stream:
            text = CsvText(stream, MANIFEST, log, limits)
            rows = text.rows()
            header = next(rows, None)
            if header is None or [name.strip() for name in of_two(header.cells)] != ["propertyName", "value"]:
                shown = quoted(",".join(header.cells)) if header else "empty"
                log.error(
                    Code.HEADER_MISSPELT if header else Code.HEADER_MISSING,
                    f"The header is {shown}: write propertyName,value.",
                    file=MANIFEST,
                    line=1,
                )
                return None
            text.headers = header.cells
            for count, row in enumerate(rows, start=1):
                if count > ROW_LIMIT:
                    raise PackageRefused(
                        Code.TOO_MANY_ROWS,
                        f"The manifest has more than {ROW_LIMIT} rows; the standard knows {len(PROPERTIES)}.",
                        line=row.line,
                    )
                if not any(row.cells) or not row.sound:
                    continue
                cells = of_two(row.cells)
                if len(cells) != 2:
                    log.error(
                        Code.ROW_LENGTH,
                        f"The row has {len(row.cells)} cells, the header 2: write one property and its value.",
                        file=MANIFEST,
                        line=row.line,
                    )
                    continue
                name, value = (cell.strip() for cell in cells)
                enter_property(name, value, row.line, properties, log)
    except PackageRefused as refusal:
        log.error(refusal.code, refusal.detail, file=MANIFEST, line=refusal.line)
        return None
    return properties


def of_two(cells: list[str]) -> list[str]:
    """The cells without empty ones after the second, such as spreadsheets write."""
    return cells if any(cells[2:]) else cells[:2]


def enter_property(name: str, value: str, line: int, properties: dict[str, tuple[str, int]], log: FindingLog) -> None:
    if name in properties:
        log.error(
            Code.PROPERTY_DUPLICATE,
            f"{quoted(name)} stands also on line {properties[name][1]}: keep one of the two.",
            file=MANIFEST,
            line=line,
            column="propertyName",
        )
    elif name in PROPERTIES:
        properties[name] = (value, line)
    else:
        meant = nearest(name, [known for known in PROPERTIES if known not in properties])
        log.warning(
            Code.PROPERTY_UNKNOWN,
            f"{quoted(name)} is no property of a manifest and is left aside."
            + (f" Did you mean {meant}?" if meant else ""),
            file=MANIFEST,
            line=line,
            column="propertyName",
        )


def check_version(properties: dict[str, tuple[str, int]], log: FindingLog) -> str | None:
    """The version that the package is in, "1.2" or "1.1"; None after an error."""
    if VERSION not in properties:
        log.error(
            Code.PROPERTY_MISSING,
            f"The row {VERSION} is missing: add it with the value 1.2.",
            file=MANIFEST,
            column="propertyName",
        )
        return None
    value, line = properties[VERSION]
    if value not in VERSIONS:
        log.error(
            Code.VERSION_UNSUPPORTED,
            f"OneRoster {quoted(value)} is not supported: export as OneRoster 1.2 or 1.1 (CSV).",
            file=MANIFEST,
            line=line,
            column="value",
        )
        return None
    version = VERSIONS[value]
    if MANIFEST_VERSION not in properties:
        log.warning(
            Code.PROPERTY_MISSING,
            f"The row {MANIFEST_VERSION} is missing; 1.0 is assumed.",
            file=MANIFEST,
            column="propertyName",
        )
    elif properties[MANIFEST_VERSION][0] != "1.0":
        value, line = properties[MANIFEST_VERSION]
        log.warning(
            Code.PROPERTY_VALUE,
            f"The manifest's version is {quoted(value)}; it is read as 1.0, the only one there is.",
            file=MANIFEST,
            line=line,
            column="value",
        )
    return version


def take_file(file: str, mode: str, line: int, *, package: Package, manifest: Manifest, log: FindingLog) -> None:
    """Enter one file.<name> row into `manifest`, checked against the zip."""
    imported = file in IMPORTED_FILES and (manifest.version == "1.2" or file in FILES_11)
    there = file in package.members
    folded = mode.casefold()
    if folded not in MODES:
        manifest.refused.add(file)
        meant = nearest(mode, MODES)
        log.error(
            Code.PROPERTY_VALUE,
            f"{quoted(mode)} is not a value of this row. "
            + (f"Did you mean {meant}? " if meant else "")
            + f"Write absent, bulk or delta for {file}.",
            file=MANIFEST,
            line=line,
            column="value",
        )
        return
    if folded != mode:
        log.warning(
            Code.PROPERTY_VALUE,
            f"{quoted(mode)} is read as {folded}: the standard writes it in lower case.",
            file=MANIFEST,
            line=line,
            column="value",
        )
    if folded == "absent":
        if there and imported:
            # Reading it could bring in what was to stay out; leaving it could lose what was to come in.
            manifest.refused.add(file)
            log.error(
                Code.FILE_UNDECLARED,
                f"The manifest says that {file} is absent, but the zip holds it: declare it bulk, or take it out.",
                file=MANIFEST,
                line=line,
                column="value",
            )
        elif there:
            manifest.not_imported.append(file)
            log.warning(
                Code.FILE_UNDECLARED,
                f"The manifest says that {file} is absent, but the zip holds it. It would not be imported anyway.",
                file=MANIFEST,
                line=line,
                column="value",
            )
        return
    if not there:
        manifest.refused.add(file)
        if file not in package.refused:
            log.error(
                Code.FILE_MISSING,
                f"The manifest names {file} as {folded}, but the zip has no such file at its top: "
                "add it, or declare it absent.",
                file=MANIFEST,
                line=line,
                column="value",
            )
    elif not imported:
        manifest.not_imported.append(file)
        log.warning(Code.FILE_NOT_IMPORTED, f"{file} is accepted, but nothing of it is imported yet.", file=file)
    else:
        (manifest.delta if folded == "delta" else manifest.bulk).add(file)
