"""The header row against the standard's columns, whose names and order are exact.

A misspelt or misplaced column is an error, but the rows are still read under the name that was meant: one dry
run then names the bad rows too. Without a required column, or with one twice, the rows aren't read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenant_apps.interop.oneroster.cells import nearest
from tenant_apps.interop.oneroster.findings import Code, FindingLog, quoted
from tenant_apps.interop.oneroster.layout import LEADING_HEADERS, FileLayout

EXTENSION_PREFIX = "metadata."
COLUMN_LIMIT = 200  # the longest file of the standard has 22


def match_header(found: Sequence[str], layout: FileLayout[Any], log: FindingLog) -> dict[str, int] | None:
    """Where each header of the standard stands in the file; None when the rows can't be read."""
    if len(found) > COLUMN_LIMIT:
        log.error(
            Code.MALFORMED_CSV,
            f"The header has {len(found)} columns; at most {COLUMN_LIMIT} are read: check its quotation marks.",
            file=layout.file,
            line=1,
        )
        return None
    if len(found) == 1 and any(sign in found[0] for sign in ";\t|"):
        log.error(
            Code.MALFORMED_CSV,
            f"The header is one cell, {quoted(found[0])}: separate the columns with commas.",
            file=layout.file,
            line=1,
        )
        return None
    places, strange, readable = place_known(found, layout, log)
    missing = [header for header in layout.headers if header not in places]
    left_over = take_misspelt(found, strange, places, missing, layout, log)
    readable &= report_missing(missing, layout, log)
    report_left_over(found, left_over, places, layout, log)
    report_order(found, places, layout, log)
    return places if readable else None


def place_known(
    found: Sequence[str], layout: FileLayout[Any], log: FindingLog
) -> tuple[dict[str, int], list[int], bool]:
    """Columns named as in the standard (save for case), the places of all others, whether none is doubled."""
    known = set(layout.headers)
    by_fold = {header.casefold(): header for header in layout.headers}
    places: dict[str, int] = {}
    strange: list[int] = []
    single = True
    for place, raw in enumerate(found):
        name = raw
        if name not in known:
            meant = by_fold.get(name.strip().casefold())
            if meant is None or meant in found:
                strange.append(place)
                continue
            name = meant
            log.warning(
                Code.HEADER_CASE,
                f"Column {place + 1} is named {quoted(raw)}; the standard writes it {name}. It is taken as that.",
                file=layout.file,
                line=1,
                column=raw,
            )
        if name in places:
            log.error(
                Code.HEADER_DUPLICATE,
                f"Columns {places[name] + 1} and {place + 1} are both named {name}: keep one.",
                file=layout.file,
                line=1,
                column=name,
            )
            single = False
            continue
        places[name] = place
    return places, strange, single


def take_misspelt(
    found: Sequence[str],
    strange: list[int],
    places: dict[str, int],
    missing: list[str],
    layout: FileLayout[Any],
    log: FindingLog,
) -> list[int]:
    """Enter misspelt columns into `places`, strike them off `missing`; return the unexplained places."""
    left_over: list[int] = []
    for place in strange:
        meant = None if found[place].startswith(EXTENSION_PREFIX) else nearest(found[place], missing)
        if meant is None:
            left_over.append(place)
            continue
        log.error(
            Code.HEADER_MISSPELT,
            f"Column {place + 1} is named {quoted(found[place])}. Did you mean {meant}? The standard "
            f"names it so: "
            "rename it.",
            file=layout.file,
            line=1,
            column=found[place],
        )
        places[meant] = place
        missing.remove(meant)
    return left_over


def report_missing(missing: list[str], layout: FileLayout[Any], log: FindingLog) -> bool:
    """Whether the rows can be read without the columns in `missing`."""
    required = {column.header for column in layout.columns if column.required} | {LEADING_HEADERS[0]}
    expected = list(layout.headers)
    while missing and expected[-1] == missing[-1] and missing[-1] not in required:
        # Exports made for 1.1 lack the last columns of 1.2; nothing is ambiguous then.
        log.warning(
            Code.COLUMN_MISSING,
            f"The column {missing[-1]} is missing at the end and is taken as empty.",
            file=layout.file,
            line=1,
            column=missing.pop(),
        )
        expected.pop()
    for header in missing:
        before = layout.headers[layout.headers.index(header) - 1] if header != layout.headers[0] else None
        where = f"after {before}" if before else "as the first column"
        log.error(
            Code.COLUMN_MISSING,
            f"The column {header} is missing: add it {where}, with empty cells if there is nothing to say."
            if header not in required
            else f"The required column {header} is missing: add it {where}.",
            file=layout.file,
            line=1,
            column=header,
        )
    return required.isdisjoint(missing)


def report_left_over(
    found: Sequence[str],
    left_over: list[int],
    places: dict[str, int],
    layout: FileLayout[Any],
    log: FindingLog,
) -> None:
    for place in left_over:
        name = found[place]
        if name.startswith(EXTENSION_PREFIX):
            log.warning(
                Code.COLUMN_EXTENSION,
                f"The extension column {quoted(name)} is not imported.",
                file=layout.file,
                line=1,
                column=name,
            )
            continue
        log.warning(
            Code.COLUMN_UNKNOWN,
            f"Column {place + 1}, {quoted(name)}, is not in the standard and is left aside; columns of one's own are "
            "named metadata.<name>.",
            file=layout.file,
            line=1,
            column=name,
        )


def report_order(found: Sequence[str], places: dict[str, int], layout: FileLayout[Any], log: FindingLog) -> None:
    stand = sorted(places, key=places.__getitem__)
    ought = [header for header in layout.headers if header in places]
    for here, expected in zip(stand, ought, strict=True):
        if here != expected:
            log.error(
                Code.HEADER_ORDER,
                f"Column {places[here] + 1} is {here}, where the standard has {expected}: "
                f"put the columns in the order {','.join(layout.headers)}.",
                file=layout.file,
                line=1,
                column=found[places[here]],
            )
            return
