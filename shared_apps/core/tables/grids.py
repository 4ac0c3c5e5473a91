"""Reading a table that somebody sends: CSV in the encodings that spreadsheets write, or a sheet of an XLSX workbook.

Whatever is wrong with the file as a whole is refused with its place and what to do about it.
"""

import codecs
import csv
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, BinaryIO

from openpyxl import load_workbook
from openpyxl.utils import get_column_letter

from shared_apps.core.errors import Invalid, TooLarge

Cell = str | int | float | bool | datetime | date | time | None
Cells = Sequence[Cell]
MOST_ROWS = 100_000
MOST_COLUMNS = 256
MOST_UNZIPPED = 512 * 1024 * 1024
MOST_TEXTS = 96 * 1024 * 1024  # the one part of a workbook that is read into memory as a whole
MOST_PARTS = 2_000
MOST_CELL = 100_000
HELP_SHEET = "Explanations"
COMMENT = "#lyceum:"
OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ZIP = b"PK\x03\x04"
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*ref="([^"]{1,40})"')
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_DELIMITERS = (",", ";", "\t")


@dataclass(slots=True)
class Grid:
    """The header and the rows of a table. `form` is csv or xlsx; `warnings` say how the file was understood."""

    form: str
    header: list[str]
    rows: Iterator[tuple[int, list[Cell]]]
    warnings: list[dict[str, Any]] = field(default_factory=list)


def refused(detail: str, code: str) -> Invalid:
    return Invalid.at("/file", detail, code=code)


def form_of(start: bytes) -> str:
    """csv or xlsx, from a file's first bytes. Raises Invalid for what is neither."""
    if start.startswith(OLE2):
        raise refused(
            "This is an old .xls or a password-protected workbook; save it as .xlsx without a password.", "old_workbook"
        )
    if start.startswith(ZIP):
        return "xlsx"
    if b"\x00" in start and not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise refused("This is no table: send CSV or XLSX.", "not_a_table")
    if not start.strip():
        raise refused("The file is empty.", "empty_file")
    return "csv"


def read_grid(path: Path, *, sheet: str = "") -> Grid:
    """Open a table. Rows come one by one, numbered as a spreadsheet numbers them (the header is 1); they may raise too.

    Raises Invalid or TooLarge.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    form = form_of(start)
    if form == "csv" and sheet:
        raise Invalid.at("/sheet", "A CSV file has no sheets; leave the name away.", code="no_sheets")
    grid = _read_xlsx(path, sheet) if form == "xlsx" else _read_csv(path)
    grid.rows = _bounded(grid.rows)
    return grid


def _bounded(rows: Iterator[tuple[int, list[Cell]]]) -> Iterator[tuple[int, list[Cell]]]:
    for count, (number, cells) in enumerate(rows, start=1):
        if count > MOST_ROWS:
            raise TooLarge.at("/file", f"An import takes {MOST_ROWS:,} rows; split the table.", code="too_many_rows")
        yield number, cells


def _headed(names: Sequence[Cell]) -> list[str]:
    """The header as texts. Raises Invalid for one that names no columns, or one twice."""
    header = ["" if name is None else str(name).strip() for name in names]
    while header and not header[-1]:
        header.pop()
    if not header:
        raise refused("The first row names no columns; put the columns' names there.", "no_header")
    if len(header) > MOST_COLUMNS:
        raise TooLarge.at("/file", f"A table has {MOST_COLUMNS} columns at most.", code="too_many_columns")
    seen: dict[str, int] = {}
    for place, name in enumerate(header, start=1):
        if not name:
            detail = f"Column {get_column_letter(place)} has no name in the first row; name it or remove it."
            raise refused(detail, "empty_header")
        if name in seen:
            columns = f"{get_column_letter(seen[name])} and {get_column_letter(place)}"
            raise refused(f"Columns {columns} are both named {name[:60]!r}; rename or remove one.", "duplicate_header")
        seen[name] = place
    return header


# CSV


def _encoding(path: Path) -> tuple[str, str]:
    """The encoding of a text and a warning about it. Raises Invalid."""
    with path.open("rb") as file:
        start = file.read(4)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16", ""
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while chunk := file.read(1024 * 1024):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252", "The file is not UTF-8, so it was read as Windows-1252; look at letters with accents."
        return "utf-8-sig", ""


def _read_csv(path: Path) -> Grid:
    encoding, doubt = _encoding(path)
    file = path.open(encoding=encoding, newline="")
    try:
        first = file.readline(1024 * 1024)
        bare = re.sub(r'"[^"]*"', "", first)
        delimiter = max(_DELIMITERS, key=bare.count)
        file.seek(0)
        lines = _csv_rows(file, delimiter)
        _, names = next(lines, (1, []))
        header = _headed(names)
    except BaseException as error:
        file.close()
        if isinstance(error, UnicodeError):
            raise _unreadable(encoding) from None
        raise
    warnings = [{"row": None, "column": None, "detail": doubt, "code": "guessed_encoding"}] if doubt else []
    return Grid("csv", header, lines, warnings)


def _csv_rows(file: io.TextIOWrapper, delimiter: str) -> Iterator[tuple[int, list[Cell]]]:
    with closing(file):
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        number = 0
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                detail = f"Line {reader.line_num} cannot be read as CSV ({error}); look for a quote that is not closed."
                raise refused(detail, "bad_csv") from None
            except UnicodeError:
                raise _unreadable(file.encoding) from None
            number += 1
            if cells and not cells[0].startswith(COMMENT):
                yield number, list(cells)


def _unreadable(encoding: str) -> Invalid:
    return refused(f"The text cannot be read as {encoding}; save the file as CSV UTF-8.", "bad_encoding")


# XLSX


def _read_xlsx(path: Path, wanted: str) -> Grid:
    _demand_bounded(path)
    file = path.open("rb")  # by its content: the kept file has no ending, and openpyxl goes by that
    try:
        book = load_workbook(file, read_only=True, data_only=False, keep_links=False)
    except Exception:  # noqa: BLE001 - whatever a damaged or hostile file makes the reader raise
        file.close()
        raise _damaged() from None
    try:
        sheet, warnings = _chosen(book, wanted)
        _demand_no_merged_cells(path, sheet)
        rows = _sheet_rows(file, sheet)
        _, names = next(rows, (1, []))
        return Grid("xlsx", _headed(names), rows, warnings)
    except BaseException:
        file.close()
        raise


def _damaged() -> Invalid:
    return refused("The workbook is damaged, or is no workbook; save it anew as .xlsx.", "damaged_workbook")


def _demand_bounded(path: Path) -> None:
    """Refuse a workbook that unpacks to more than this machine is asked to hold. The sizes in the archive bind: no more
    than that is ever unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise _damaged() from None
    texts = sum(part.file_size for part in parts if part.filename.endswith(("sharedStrings.xml", "styles.xml")))
    whole = sum(part.file_size for part in parts)
    if whole > MOST_UNZIPPED or texts > MOST_TEXTS or len(parts) > MOST_PARTS:
        raise TooLarge.at(
            "/file", "The workbook unpacks to too much; split it, or send CSV.", code="too_large_unpacked"
        )
    if not any(part.filename == "[Content_Types].xml" for part in parts):
        raise refused("This is a zip and no workbook: send CSV or XLSX.", "not_a_table")
    if any(part.flag_bits & 1 for part in parts):
        raise refused("The workbook is protected by a password; save it without one.", "encrypted_workbook")


def _chosen(book: Any, wanted: str) -> tuple[Any, list[dict[str, Any]]]:
    """The sheet to read: the named one, else the only visible one with anything in it."""
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    visible = [sheet for sheet in sheets.values() if sheet.sheet_state == "visible" and sheet.title != HELP_SHEET]
    names = ", ".join(repr(sheet.title[:40]) for sheet in visible[:10])
    if wanted:
        if wanted not in sheets:
            raise Invalid.at("/sheet", f"There is no sheet {wanted[:40]!r}; there are {names}.", code="no_such_sheet")
        return sheets[wanted], []
    hidden = [sheet.title for sheet in sheets.values() if sheet.sheet_state != "visible"]
    filled = [sheet for sheet in visible if _has_content(sheet)]
    if not filled:
        raise refused("No visible sheet of the workbook has anything in it.", "empty_file")
    if len(filled) > 1:
        raise Invalid.at("/sheet", f"Several sheets have content; name one in `sheet`: {names}.", code="several_sheets")
    warnings = []
    if hidden:
        detail = f"Hidden sheets were passed over: {', '.join(repr(name[:40]) for name in hidden[:10])}."
        warnings.append({"row": None, "column": None, "detail": detail, "code": "hidden_sheet"})
    return filled[0], warnings


def _has_content(sheet: Any) -> bool:
    return next(_raw_rows(sheet), None) is not None


def _raw_rows(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """The rows of a sheet that have a cell with something in it, with their numbers."""
    sheet.reset_dimensions()  # a sheet may state a size that it does not have
    try:
        for number, row in enumerate(sheet.iter_rows(max_col=MOST_COLUMNS + 1), start=1):
            if number > MOST_ROWS * 2:
                raise TooLarge.at(
                    "/file", f"An import takes {MOST_ROWS:,} rows; split the table.", code="too_many_rows"
                )
            if any(cell.value is not None for cell in row):
                yield number, list(row)
    except (Invalid, TooLarge):
        raise
    except Exception:  # noqa: BLE001 - whatever a damaged or hostile sheet makes the reader raise
        raise _damaged() from None


def _sheet_rows(file: BinaryIO, sheet: Any) -> Iterator[tuple[int, list[Cell]]]:
    try:
        for number, row in _raw_rows(sheet):
            yield number, [_cell(cell) for cell in row]
    finally:
        file.close()


def _cell(cell: Any) -> Cell:
    value = cell.value
    kind = getattr(cell, "data_type", "n")
    if kind == "f":
        detail = f"Cell {cell.coordinate} holds a formula; copy the table and paste it as values."
        raise refused(detail, "formula")
    if kind == "e":
        raise refused(f"Cell {cell.coordinate} holds the error {value}; correct it.", "error_cell")
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value) if isinstance(value, str) else value


def _demand_no_merged_cells(path: Path, sheet: Any) -> None:
    """Only the first of merged cells has the value; which rows it is meant for is for a person to say."""
    with zipfile.ZipFile(path) as archive, archive.open(sheet._worksheet_path.lstrip("/")) as xml:
        kept = b""
        while chunk := xml.read(1024 * 1024):
            found = _MERGED.search(kept + chunk)
            if found:
                area = found[1].decode("ascii", "replace")
                raise refused(f"The cells {area} are merged; split them, so that each row has its values.", "merged")
            kept = chunk[-200:]
