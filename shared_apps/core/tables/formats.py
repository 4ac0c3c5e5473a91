"""Writing a table as CSV (RFC 4180) or XLSX, row by row, in constant memory; no cell of it is ever a formula."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, BinaryIO

from django.core.serializers.json import DjangoJSONEncoder
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from shared_apps.core.errors import Invalid
from shared_apps.core.tables.columns import Column, Kind

CSV, XLSX = "csv", "xlsx"
CONTENT_TYPES = {
    CSV: "text/csv; charset=utf-8",
    XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
BOM = b"\xef\xbb\xbf"  # without it Excel reads UTF-8 as the machine's old code page
WIDTHS = {Kind.ID: 38, Kind.JSON: 40, Kind.INTEGER: 10, Kind.BOOLEAN: 10, Kind.DATE: 12, Kind.INSTANT: 20}
WIDTH = 24  # of the other columns of a sheet, in characters
MOST_SHEET_ROWS = 1_048_576
MOST_CELL = 32_767
# A spreadsheet takes a cell that begins so for a formula. The apostrophe before it is taken off again by an import, so
# a text that begins with an apostrophe and then so gets one too.
DANGEROUS = re.compile(r"'*[=+\-@\t\r]")
# What XML cannot hold is written as _xHHHH_ (ECMA-376, ST_Xstring), and a text that looks like that is written so too.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]|\r|_(?=x[0-9A-Fa-f]{4}_)")
_FIRST_DATE = date(1900, 3, 1)  # before it, sheets count days that there never were

Row = Sequence[Any]


def guarded(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if DANGEROUS.match(text) else text


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return text[1:] if text[:1] == "'" and DANGEROUS.match(text) else text


def _json(value: Any) -> str:
    return "" if value is None else guarded(json.dumps(value, ensure_ascii=False, cls=DjangoJSONEncoder))


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _text(value: Any) -> str:
    return guarded(value if isinstance(value, str) else str(value))


CSV_CELLS: dict[Kind, Callable[[Any], str]] = {
    Kind.TEXT: _text,
    Kind.REFERENCE: _text,
    Kind.ID: str,
    Kind.INTEGER: str,
    Kind.NUMBER: str,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: str,
    Kind.INSTANT: _instant,
    Kind.JSON: _json,
}


def write_csv(out: BinaryIO, columns: Sequence[Column], rows: Iterable[Row]) -> None:
    """UTF-8 with a byte order mark, CRLF, quotes where needed. No value and an empty text are both an empty cell."""
    out.write(BOM)
    wrapped = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=False)
    writer = csv.writer(wrapped)
    writer.writerow([column.name for column in columns])
    cells = [CSV_CELLS[column.kind] for column in columns]
    writer.writerows(
        ["" if value is None else cell(value) for cell, value in zip(cells, row, strict=True)] for row in rows
    )
    wrapped.flush()
    wrapped.detach()


def write_xlsx(out: BinaryIO, columns: Sequence[Column], rows: Iterable[Row], *, title: str) -> None:
    """One sheet with a frozen header; dates, numbers, booleans and texts are what they are. Instants are in UTC.

    Raises Invalid for more rows or a longer text than a sheet can hold.
    """
    book = Workbook(write_only=True)
    sheet = book.create_sheet(re.sub(r"[\\/*?:\[\]]", " ", title)[:31])
    sheet.freeze_panes = "A2"
    for number, column in enumerate(columns, start=1):
        letter = get_column_letter(number)
        sheet.column_dimensions[letter].width = max(WIDTHS.get(column.kind, WIDTH), len(column.name) + 2)
    header = [WriteOnlyCell(sheet, column.name) for column in columns]
    for cell in header:
        cell.font = Font(bold=True)
    sheet.append(header)
    cells = [_SHEET_CELLS.get(column.kind, _sheet_text) for column in columns]
    for number, row in enumerate(rows, start=2):
        if number > MOST_SHEET_ROWS:
            raise Invalid(
                f"A sheet holds {MOST_SHEET_ROWS - 1:,} rows; narrow the filters, or use csv.", code="too_long"
            )
        sheet.append([None if value is None else cell(sheet, value) for cell, value in zip(cells, row, strict=True)])
    book.save(out)


def _sheet_text(sheet: Any, value: Any) -> Any:
    text = _UNWRITABLE.sub(_escaped, value if isinstance(value, str) else str(value))
    if len(text) > MOST_CELL:
        raise Invalid(f"A text is longer than a cell of a sheet ({MOST_CELL:,} characters); use csv.", code="too_long")
    if text[:1] not in "=#":
        return text or None
    cell = WriteOnlyCell(sheet, text)
    cell.data_type = "s"  # openpyxl takes = for a formula and # for an error
    return cell


def _escaped(match: re.Match[str]) -> str:
    return f"_x{ord(match[0]):04X}_"


def _sheet_date(sheet: Any, value: date) -> Any:
    return value if value >= _FIRST_DATE else value.isoformat()


def _sheet_instant(sheet: Any, value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None)


def _sheet_json(sheet: Any, value: Any) -> Any:
    return _sheet_text(sheet, json.dumps(value, ensure_ascii=False, cls=DjangoJSONEncoder))


def _as_it_is(sheet: Any, value: Any) -> Any:
    return value


_SHEET_CELLS: dict[Kind, Callable[[Any, Any], Any]] = {
    Kind.INTEGER: _as_it_is,
    Kind.NUMBER: _as_it_is,
    Kind.BOOLEAN: _as_it_is,
    Kind.DATE: _sheet_date,
    Kind.INSTANT: _sheet_instant,
    Kind.JSON: _sheet_json,
}


def write_table(out: BinaryIO, form: str, columns: Sequence[Column], rows: Iterable[Row], *, title: str) -> None:
    """Write as `form` says; as for `write_csv` and `write_xlsx`."""
    if form == CSV:
        write_csv(out, columns, rows)
    else:
        write_xlsx(out, columns, rows, title=title)
