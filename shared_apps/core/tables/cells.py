"""From a cell to what a JSON body would hold: the parser of the resource does the rest."""

import json
import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from django.db import models
from openpyxl.utils.datetime import from_excel

from shared_apps.core.tables.columns import Column, Kind
from shared_apps.core.tables.formats import unguarded
from shared_apps.core.tables.grids import MOST_CELL, Cell

DATE_FORMATS: Final = {
    "YYYY-MM-DD": "",
    "DD.MM.YYYY": r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})",
    "MM/DD/YYYY": r"(?P<m>\d{1,2})/(?P<d>\d{1,2})/(?P<y>\d{4})",
}
TRUE, FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class BadCell(Exception):
    """A cell that cannot be what its column holds."""

    def __init__(self, detail: str, code: str) -> None:
        super().__init__(detail)
        self.detail, self.code = detail, code


class _Nothing:
    """What an empty cell of a column that must have a value stands for: nothing was said."""


NOTHING: Final = _Nothing()


def is_empty(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def text_of(cell: Cell, *, guarded: bool) -> str:
    """The text of a cell. A whole number has no decimal point, whatever the sheet keeps it as."""
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case float() if cell.is_integer():
            return str(int(cell))
        case datetime() if cell.time() == datetime.min.time():
            return cell.date().isoformat()
        case datetime() | date():
            return cell.isoformat()
        case str():
            return unguarded(cell) if guarded else cell
    return str(cell)


def value_of(column: Column, cell: Cell, *, guarded: bool, date_format: str) -> Any:
    """What a JSON body would hold for the cell; NOTHING for an empty one of a column that has to have a value.

    `guarded`: texts come from CSV, where a formula has an apostrophe before it. Raises BadCell.
    """
    if is_empty(cell):
        return _empty(column.field)
    if isinstance(cell, str):
        if len(cell) > MOST_CELL:
            raise BadCell(f"The cell holds more than {MOST_CELL:,} characters.", "too_long")
        if _CONTROLS.search(cell):
            raise BadCell("The cell holds an invisible control character; type it anew.", "control_character")
    match column.kind:
        case Kind.BOOLEAN:
            return _boolean(cell)
        case Kind.DATE:
            return _date(cell, date_format)
        case Kind.INTEGER:
            return _integer(cell)
        case Kind.JSON:
            return _json(text_of(cell, guarded=guarded))
        case Kind.NUMBER:
            return text_of(cell, guarded=False).strip()
        case Kind.ID | Kind.REFERENCE:
            return text_of(cell, guarded=guarded).strip()
    return text_of(cell, guarded=guarded)


def is_number_in_text(column: Column, cell: Cell) -> bool:
    """Whether a spreadsheet has made a number of what is a text here: leading zeros are gone then."""
    return column.kind in (Kind.TEXT, Kind.REFERENCE) and isinstance(cell, int | float) and not isinstance(cell, bool)


def _empty(field: models.Field) -> Any:
    if field.null:
        return None
    return "" if field.blank and field.empty_strings_allowed else NOTHING


def _boolean(cell: Cell) -> bool:
    word = text_of(cell, guarded=False).strip().casefold()
    if word in TRUE or word in FALSE:
        return word in TRUE
    raise BadCell(f"{word[:30]!r} is neither true nor false: write true, yes or 1; false, no or 0.", "bad_boolean")


def _integer(cell: Cell) -> int:
    text = text_of(cell, guarded=False).strip()
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    raise BadCell(f"{text[:30]!r} is no whole number.", "bad_integer")


def _date(cell: Cell, date_format: str) -> str:
    if isinstance(cell, datetime):
        if cell.time() != datetime.min.time():
            raise BadCell(f"{cell.isoformat(' ')} has a time of day; a date is wanted.", "bad_date")
        return cell.date().isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return _day(cell).isoformat()
    text = str(cell).strip()
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            return date.fromisoformat(text).isoformat()
        found = re.fullmatch(DATE_FORMATS[date_format], text, re.ASCII) if DATE_FORMATS[date_format] else None
        if found:
            return date(int(found["y"]), int(found["m"]), int(found["d"])).isoformat()
    except ValueError:
        raise BadCell(f"There is no day {text!r}.", "bad_date") from None
    others = [name for name, pattern in DATE_FORMATS.items() if pattern and re.fullmatch(pattern, text, re.ASCII)]
    hint = f" It looks like {others[0]}: send date_format={others[0]} if all dates are." if others else ""
    raise BadCell(f"{text[:30]!r} is no date as {date_format}.{hint}", "bad_date")


def _day(number: float) -> date:
    """A date as a sheet counts it: days since 1899-12-30."""
    try:
        found = from_excel(number)
    except (ValueError, OverflowError):
        found = None
    if not isinstance(found, datetime) or found.time() != datetime.min.time() or found.year < 1900:
        raise BadCell(f"The number {Decimal(str(number))} is no date.", "bad_date")
    return found.date()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise BadCell("The cell holds no JSON.", "bad_json") from None
