"""Typed rows of one file, read in batches and checked by column.

A row with an error is reported and left out of the typed rows, but its sourcedId stays known, so that the
rows which refer to it aren't reported for its sake.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from typing import Any, Generic, NamedTuple

from tenant_apps.interop.oneroster.cells import ColumnReader, Fault, column_reader
from tenant_apps.interop.oneroster.findings import Code, FindingLog, quoted
from tenant_apps.interop.oneroster.headers import match_header
from tenant_apps.interop.oneroster.layout import ID, LEADING_HEADERS, MODIFIED, STATUS, FileLayout, R
from tenant_apps.interop.oneroster.package import Limits, Package, PackageRefused
from tenant_apps.interop.oneroster.text import CsvText, TextRow

BATCH = 2000  # rows; large enough to make the column passes cheap, small enough to stay in a processor's cache
HEADER_LIMIT = 100  # characters


@dataclass
class Table(Generic[R]):
    """One file as read. `lines` maps every sourcedId in it, also of refused rows, to its line.

    A `delta` holds only what has changed: `rows` as they are now, and those to be deleted in `ended`.
    """

    layout: FileLayout[R]
    rows: list[R] = field(default_factory=list)
    ended: list[R] = field(default_factory=list)
    delta: bool = False
    lines: dict[str, int] = field(default_factory=dict)
    present: bool = False
    complete: bool = False  # False: unread or cut off, so nothing can be said of ids that it lacks
    refused: int = 0  # rows with an error

    @property
    def intact(self) -> bool:
        """Whether `rows` are all that the file holds, so that what is missing there is missing indeed."""
        return self.complete and not self.refused


class _PlannedColumn(NamedTuple):
    """`place` in the file, None when the file lacks the column. `named`: as the file's own header has it."""

    header: str
    named: str
    place: int | None
    read: ColumnReader
    blank: Any


def read_table(
    package: Package, layout: FileLayout[R], log: FindingLog, pool: dict[str, str], limits: Limits, *, delta: bool
) -> Table[R]:
    """Read one member of the package; whatever is wrong with it goes to `log`."""
    table: Table[R] = Table(layout, delta=delta, present=True)
    try:
        with package.stream(layout.file) as stream:
            text = CsvText(stream, layout.file, log, limits)
            rows = text.rows()
            header = next(rows, None)
            if header is None:
                log.error(
                    Code.HEADER_MISSING,
                    f"The file is empty: give it the header {','.join(layout.headers)}, or call it absent.",
                    file=layout.file,
                    line=1,
                )
                return table
            # Names go into findings, so they are held to a length.
            found = [name[:HEADER_LIMIT] for name in header.cells]
            places = match_header(found, layout, log)
            if places is None or not header.sound:
                return table
            text.headers = found
            _TableReader(table, found, places, log, pool, limits).read(rows)
            table.complete = text.broken == 0
    except PackageRefused as refusal:
        log.error(refusal.code, refusal.detail, file=layout.file, line=refusal.line)
    return table


class _TableReader(Generic[R]):
    """The row loop of one file."""

    def __init__(
        self,
        table: Table[R],
        found: Sequence[str],
        places: dict[str, int],
        log: FindingLog,
        pool: dict[str, str],
        limits: Limits,
    ) -> None:
        self.table = table
        self.layout = table.layout
        self.file = table.layout.file
        self.width = len(found)
        self.places = places
        self.log = log
        self.limits = limits
        self.named = {header: found[place] for header, place in places.items()}
        self.id_place = places[LEADING_HEADERS[0]]
        self.plan = [self._planned(LEADING_HEADERS[0], ID, pool)]
        self.plan += [
            self._planned(column.header, column.kind, pool) for column in self.layout.columns if column.kind is not None
        ]
        self.leading = [
            self._planned(header, kind, pool)
            for header, kind in zip(LEADING_HEADERS[1:], (STATUS, MODIFIED), strict=True)
            if table.delta and header in places
        ]
        # Columns that are read past: the first line that fills a cell, and how many do.
        self.passed: dict[str, tuple[int, int]] = {}
        # Rows with empty cells beyond the header's last, as spreadsheets write them: the first line, and how many.
        self.padded = (0, 0)

    def _planned(self, header: str, kind: Any, pool: dict[str, str]) -> _PlannedColumn:
        return _PlannedColumn(
            header,
            self.named.get(header, header),
            self.places.get(header),
            column_reader(kind, pool),
            kind.blank,
        )

    def read(self, rows: Iterator[TextRow]) -> None:
        sound = self._whole_rows(rows)
        while batch := list(islice(sound, BATCH)):
            self._take(batch)
        self._report_passed()
        self._report_padded()
        if not self.table.lines and not self.table.delta:
            self.log.warning(
                Code.NO_ROWS,
                "The file has no rows; the standard asks for at least one, or `absent` in the manifest.",
                file=self.file,
                line=1,
            )

    def _whole_rows(self, rows: Iterator[TextRow]) -> Iterator[TextRow]:
        """Rows with as many cells as the header, and no characters that had to be replaced."""
        width = self.width
        for count, row in enumerate(rows, start=1):
            if count > self.limits.rows:
                raise PackageRefused(
                    Code.TOO_MANY_ROWS,
                    f"The file has more than {self.limits.rows:,} rows: split the roster.",
                    line=row.line,
                )
            if len(row.cells) > width and any(row.cells) and not any(row.cells[width:]):
                self.padded = (self.padded[0] or row.line, self.padded[1] + 1)
                del row.cells[width:]
            if len(row.cells) == width and row.sound and row.cells[0]:
                yield row
            elif not any(row.cells):
                self.log.warning(
                    Code.ROW_BLANK,
                    "All cells of the row are empty: it is skipped.",
                    file=self.file,
                    line=row.line,
                )
            elif len(row.cells) != width:
                self._remember(row)
                few = len(row.cells) < width
                self.log.error(
                    Code.ROW_LENGTH,
                    f"The row has {len(row.cells)} cells, the header {width}: "
                    + (
                        "fill it up with empty cells, or look for a cell with an unquoted line break."
                        if few
                        else "put cells that hold commas in quotation marks."
                    ),
                    file=self.file,
                    line=row.line,
                )
            elif not row.sound:
                self._remember(row)
            else:
                yield row

    def _remember(self, row: TextRow) -> None:
        self.table.refused += 1
        if self.id_place < len(row.cells):
            self.table.lines.setdefault(row.cells[self.id_place], row.line)

    def _take(self, batch: list[TextRow]) -> None:
        lines = [row.line for row in batch]
        columns = list(zip(*(row.cells for row in batch), strict=True))
        # True: kept; False: left out with a warning; None: refused.
        keep: list[bool | None] = [True] * len(batch)
        values: dict[str, Sequence[Any]] = {}
        ending = self._read_leading(columns, lines, keep)
        for column in self.plan:
            if column.place is None:
                values[column.header] = [column.blank] * len(batch)
                continue
            values[column.header], faults = column.read(columns[column.place])
            if ending and column.header != LEADING_HEADERS[0]:
                # A row to be deleted need only be named: systems leave the rest of it out.
                faults = [fault for fault in faults if fault.at not in ending]
            self._report(faults, column, lines, keep)
        self._check_passed(columns, lines, keep)
        self._check_periods(values, lines, keep, ending)
        self._enter_ids(values[LEADING_HEADERS[0]], lines, keep)
        made = map(self.layout.make, zip(lines, *values.values(), strict=True))
        if ending:
            for at, row in enumerate(list(made)):
                if keep[at]:
                    (self.table.ended if at in ending else self.table.rows).append(row)
        else:
            self.table.rows.extend(compress(made, keep))
        self.table.refused += keep.count(None)

    def _report(self, faults: list[Fault], column: _PlannedColumn, lines: list[int], keep: list[bool | None]) -> None:
        for fault in faults:
            self.log.add(
                fault.severity,
                fault.code,
                fault.detail,
                file=self.file,
                line=lines[fault.at],
                column=column.named,
            )
            if fault.severity == "error":
                keep[fault.at] = None

    def _read_leading(self, columns: list[tuple[str, ...]], lines: list[int], keep: list[bool | None]) -> set[int]:
        """Where in the batch the rows stand that a delta says are to be deleted."""
        ending: set[int] = set()
        for column in self.leading:
            found, faults = column.read(columns[self.places[column.header]])
            self._report(faults, column, lines, keep)
            ending.update(at for at, value in enumerate(found) if value == "tobedeleted")
        return ending

    def _enter_ids(self, ids: Sequence[str | None], lines: list[int], keep: list[bool | None]) -> None:
        known = self.table.lines
        for index, sourced_id in enumerate(ids):
            if sourced_id is None:
                continue
            first = known.setdefault(sourced_id, lines[index])
            if first != lines[index]:
                keep[index] = None
                self.log.error(
                    Code.DUPLICATE_ID,
                    f"{quoted(sourced_id)} is also the sourcedId of line {first}: each row needs its own.",
                    file=self.file,
                    line=lines[index],
                    column=self.named[LEADING_HEADERS[0]],
                )

    def _check_periods(
        self, values: dict[str, Sequence[Any]], lines: list[int], keep: list[bool | None], ending: set[int]
    ) -> None:
        for begin_header, end_header, empty_refused in self.layout.periods:
            column = self.named.get(end_header, end_header)
            for index, (begin, end) in enumerate(zip(values[begin_header], values[end_header], strict=True)):
                if begin is None or end is None or begin < end or index in ending:
                    continue
                if begin == end and not empty_refused:
                    # A pupil who was withdrawn on the first day: usual in exports, and nothing to import.
                    keep[index] = keep[index] and False
                    self.log.warning(
                        Code.DATE_ORDER,
                        f"{end_header} is exclusive, so the row covers no day from {begin} to {end}: it "
                        f"is not imported.",
                        file=self.file,
                        line=lines[index],
                        column=column,
                    )
                    continue
                keep[index] = None
                self.log.error(
                    Code.DATE_ORDER,
                    f"{end_header} {end} is not after {begin_header} {begin}: end dates are exclusive, "
                    "so write the day after the last one."
                    if begin == end
                    else f"{end_header} {end} is before {begin_header} {begin}: exchange or correct them.",
                    file=self.file,
                    line=lines[index],
                    column=column,
                )

    def _check_passed(self, columns: list[tuple[str, ...]], lines: list[int], keep: list[bool | None]) -> None:
        """Cells that aren't kept: passwords, and in bulk files (there blank) `status` and `dateLastModified`."""
        skipped = [
            *(() if self.table.delta else LEADING_HEADERS[1:]),
            *(column.header for column in self.layout.columns if column.kind is None),
        ]
        for header in skipped:
            place = self.places.get(header)
            if place is None or not any(columns[place]):
                continue
            for index, cell in enumerate(columns[place]):
                if not cell:
                    continue
                if header != "status" or cell.strip().casefold() == "active":
                    first, count = self.passed.get(header, (lines[index], 0))
                    self.passed[header] = (first, count + 1)
                    continue
                keep[index] = None
                self._refuse_status(cell, lines[index])

    def _refuse_status(self, cell: str, line: int) -> None:
        if cell.strip().casefold() in ("tobedeleted", "deleted"):
            code = Code.DELETION_IN_BULK
            detail = (
                f"{quoted(cell)} marks a row for deletion, which only delta files can: a bulk file holds "
                f"what exists, "
                "so remove the row."
            )
        else:
            code = Code.BAD_ENUM
            detail = f"{quoted(cell)} is no status: leave the cell empty, as a bulk file should."
        self.log.error(code, detail, file=self.file, line=line, column=self.named["status"])

    def _report_padded(self) -> None:
        line, count = self.padded
        if count:
            rows = "1 row has" if count == 1 else f"{count:,} rows have"
            self.log.warning(
                Code.ROW_LENGTH,
                f"{rows} empty cells beyond the header's {self.width}, which are left aside: save without them.",
                file=self.file,
                line=line,
            )

    def _report_passed(self) -> None:
        for header, (line, count) in self.passed.items():
            rows = "1 row" if count == 1 else f"{count:,} rows"
            if header in LEADING_HEADERS:
                code, detail = (
                    Code.STATUS_IN_BULK,
                    f"{header} is filled in {rows}; in a bulk file it should be empty, and it is not used.",
                )
            else:
                code, detail = (
                    Code.CREDENTIALS_DROPPED,
                    f"{header} is filled in {rows}; passwords are never read or stored: export without them.",
                )
            self.log.warning(code, detail, file=self.file, line=line, column=self.named[header])
