"""The kinds of cell in OneRoster CSV: text to value, or a refusal that says how to mend it.

A kind is stateless; `column_reader` turns it into a reader of whole columns that parses each distinct text
once. Rosters repeat themselves (40,000 enrolments hold a few hundred classes, dates and roles), so a column
costs two passes in C and a handful of calls.
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, ClassVar, NamedTuple

from shared_apps.core.text import stray
from tenant_apps.interop.oneroster.findings import Code, Detail, Severity, quoted
from tenant_apps.school.standards import FIRST_DAY, LAST_DAY

TEXT_LIMIT = 255  # characters; the standard's least for identifiers, and what one line on a screen can show
LIST_LIMIT = 1024
MEMO_LIMIT = 20_000  # distinct texts a column remembers before it starts afresh

IDENTIFIER = re.compile(r"[0-9A-Za-z.\-_/@]{1,255}")
EXTENSION = re.compile(r"ext:[0-9A-Za-z.\-_]{1,60}")
EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+")
DIGITS = re.compile(r"[0-9]{4}")
SOME_DAY = re.compile(r"[1-9]")  # what 0000-00-00, 00/00/0000, NULL and n/a lack
BREAKS = re.compile(r"[\r\n\t]+")


class CellRefused(Exception):
    """A cell that can't be taken. A warning carries the `value` that stands in for it."""

    def __init__(self, code: Code, detail: Detail, *, severity: Severity = "error", value: object = None) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.severity = severity
        self.value = value


class Fault(NamedTuple):
    """A refused cell of a column: `at` counts from 0 within the cells read together."""

    at: int
    severity: Severity
    code: Code
    detail: Detail


@dataclass(frozen=True, slots=True)
class Kind(ABC):
    """What a column holds. `blank` is the value of an empty cell."""

    required: bool = False
    blank: ClassVar[Any] = ""

    def value(self, cell: str) -> Any:
        """The value of `cell`, whatever surrounds it stripped. Raises CellRefused."""
        text = cell.strip()
        if text:
            return self.parse(text)
        if self.required:
            raise CellRefused(Code.REQUIRED, "This column must have a value here, and the cell is empty: fill it in.")
        return self.blank

    @abstractmethod
    def parse(self, text: str) -> Any:
        """The value of what is left when the surrounding space is away. Raises CellRefused."""


@dataclass(frozen=True, slots=True)
class Text(Kind):
    def parse(self, text: str) -> str:
        text = in_one_line(text)
        if len(text) > TEXT_LIMIT:
            raise CellRefused(
                Code.TOO_LONG,
                f"{quoted(text)} has {len(text)} characters; at most {TEXT_LIMIT} fit: shorten it.",
            )
        return text


@dataclass(frozen=True, slots=True)
class Words(Kind):
    """A list of texts, separated by commas inside one quoted cell."""

    blank: ClassVar[tuple[str, ...]] = ()

    def parse(self, text: str) -> tuple[str, ...]:
        text = in_one_line(text)
        if len(text) > LIST_LIMIT:
            raise CellRefused(
                Code.TOO_LONG,
                f"{quoted(text)} has {len(text)} characters; at most {LIST_LIMIT} fit: shorten the list.",
            )
        return tuple(word for word in (part.strip() for part in text.split(",")) if word)


@dataclass(frozen=True, slots=True)
class Identifier(Kind):
    def value(self, cell: str) -> str:
        # Not stripped: a space is no part of an identifier, and the other file may hold it without.
        if cell:
            return self.parse(cell)
        if self.required:
            raise CellRefused(Code.REQUIRED, "This column must have an identifier here, and the cell is empty.")
        return ""

    def parse(self, text: str) -> str:
        if IDENTIFIER.fullmatch(text):
            return text
        raise CellRefused(Code.BAD_IDENTIFIER, f"{quoted(text)} is no identifier: {identifier_mend(text)}")


@dataclass(frozen=True, slots=True)
class References(Kind):
    """A list of identifiers, separated by commas inside one quoted cell."""

    blank: ClassVar[tuple[str, ...]] = ()

    def parse(self, text: str) -> tuple[str, ...]:
        found = dict.fromkeys(part for part in (part.strip() for part in text.split(",")) if part)
        for part in found:
            if not IDENTIFIER.fullmatch(part):
                raise CellRefused(
                    Code.BAD_IDENTIFIER,
                    f"{quoted(part)} is no identifier: {identifier_mend(part)} "
                    "Several are separated by commas, inside one pair of quotation marks.",
                )
        if self.required and not found:
            raise CellRefused(Code.REQUIRED, "This column must name at least one row: fill in its sourcedId.")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    values: frozenset[str] = frozenset()
    extensible: bool = False

    def parse(self, text: str) -> str:
        if text in self.values or (self.extensible and EXTENSION.fullmatch(text)):
            return text
        raise CellRefused(Code.BAD_ENUM, partial(self.advice, text))

    def advice(self, text: str) -> str:
        meant = nearest(text, self.values)
        hint = f'Did you mean "{meant}"? ' if meant else ""
        more = ", or ext:<name> for one of your own" if self.extensible else ""
        return (
            f"{quoted(text)} is not a value of this column. {hint}Write one of {', '.join(sorted(self.values))}{more}."
        )


@dataclass(frozen=True, slots=True)
class Flag(Kind):
    blank: ClassVar[bool | None] = None

    def parse(self, text: str) -> bool:
        folded = text.casefold()
        if folded not in ("true", "false"):
            raise CellRefused(Code.BAD_BOOLEAN, f"{quoted(text)} is neither true nor false: write one of the two.")
        return folded == "true"


@dataclass(frozen=True, slots=True)
class Day(Kind):
    blank: ClassVar[date | None] = None

    def parse(self, text: str) -> date:
        # date.fromisoformat also takes 20250831 and 2025-W35-7, which the standard doesn't.
        if len(text) == 10 and text[4] == "-" and text[7] == "-":
            try:
                return date.fromisoformat(text)
            except ValueError:
                pass
        mend = "write year, month and day as YYYY-MM-DD, as in 2025-08-31."
        if not self.required and not SOME_DAY.search(text):
            mend = "leave the cell empty where there is none."
        raise CellRefused(Code.BAD_DATE, f"{quoted(text)} is no date: {mend}")


@dataclass(frozen=True, slots=True)
class PersonsDay(Day):
    """A day of somebody's life. Systems write 1900-01-01 for no day and 9999-12-31 for an open end (`end`): both are
    taken as blank."""

    end: bool = False

    def parse(self, text: str) -> date:
        day = Day.parse(self, text)
        if day > LAST_DAY and self.end:
            raise CellRefused(
                Code.BAD_DATE,
                f"{day} is taken for an end that is open: leave the cell empty then.",
                severity="warning",
                value=None,
            )
        if day == FIRST_DAY:
            raise CellRefused(
                Code.BAD_DATE,
                f"{day} is taken for no date: leave the cell empty where there is none.",
                severity="warning",
                value=None,
            )
        if not FIRST_DAY <= day <= LAST_DAY:
            raise CellRefused(
                Code.BAD_DATE, f"{day} can't be meant: people's days lie between {FIRST_DAY} and {LAST_DAY}."
            )
        return day


@dataclass(frozen=True, slots=True)
class Moment(Kind):
    """A point in time, in UTC where the text names no offset."""

    blank: ClassVar[datetime | None] = None

    def parse(self, text: str) -> datetime:
        if len(text) >= 19 and text[10] in "Tt ":
            try:
                found = datetime.fromisoformat(text)
                return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
            except (ValueError, OverflowError):
                pass
        raise CellRefused(
            Code.BAD_DATE,
            f"{quoted(text)} is no point in time: write it as in 2025-08-31T14:05:00.000Z.",
        )


@dataclass(frozen=True, slots=True)
class Status(Kind):
    """Whether a row of a delta file still holds. `inactive` is version 1.0's word for a row to be deleted."""

    def parse(self, text: str) -> str:
        folded = text.casefold()
        if folded in ("active", "tobedeleted"):
            return folded
        if folded == "inactive":
            return "tobedeleted"
        raise CellRefused(Code.BAD_ENUM, f"{quoted(text)} is no status: write active or tobedeleted.")


@dataclass(frozen=True, slots=True)
class Year(Kind):
    blank: ClassVar[int | None] = None

    def parse(self, text: str) -> int:
        if not DIGITS.fullmatch(text) or text == "0000":
            raise CellRefused(
                Code.BAD_YEAR,
                f"{quoted(text)} is no year: write the year in which the school year ends, as in 2026.",
            )
        return int(text)


@dataclass(frozen=True, slots=True)
class Email(Kind):
    """An e-mail address. People without one are common, so a bad one is left out with a warning."""

    def parse(self, text: str) -> str:
        if len(text) > 254 or not EMAIL.fullmatch(text):
            raise CellRefused(
                Code.BAD_EMAIL,
                f"{quoted(text)} is no e-mail address and is left out: write one as name@example.org, or nothing.",
                severity="warning",
                value="",
            )
        return text


ColumnReader = Callable[[Sequence[str]], tuple[list[Any], list[Fault]]]


def column_reader(kind: Kind, pool: dict[str, str]) -> ColumnReader:
    """A reader of cells of `kind`: values in the same order (None for a refused cell), and the faults.

    `pool` holds one copy of each text for the whole roster: an identifier named by 40,000 rows is held once.
    """
    memo: dict[str, Any] = {}
    refused: dict[str, CellRefused] = {}

    def read(cells: Sequence[str]) -> tuple[list[Any], list[Fault]]:
        if len(memo) > MEMO_LIMIT:
            memo.clear()
            refused.clear()
        for cell in set(cells) - memo.keys():
            try:
                value = kind.value(cell)
            except CellRefused as refusal:
                refused[cell] = refusal
                value = refusal.value
            memo[cell] = pool.setdefault(value, value) if type(value) is str else value
        values = [memo[cell] for cell in cells]
        if not refused:
            return values, []
        faults = [
            Fault(at, refused[cell].severity, refused[cell].code, refused[cell].detail)
            for at, cell in enumerate(cells)
            if cell in refused
        ]
        return values, faults

    return read


def in_one_line(text: str) -> str:
    """The text with a space for line breaks and tabs. Raises CellRefused for other invisible characters."""
    if text.isprintable():
        return text
    text = BREAKS.sub(" ", text)
    sign = stray(text)
    if sign is not None:
        raise CellRefused(Code.CONTROL_CHARACTER, f"{quoted(text)} holds the invisible character {sign}: remove it.")
    return text


def nearest(word: str, words: Sequence[str] | frozenset[str]) -> str | None:
    """The one of `words` that `word` was probably meant to be; None when nothing is near."""
    folded = {known.casefold(): known for known in words}
    close = difflib.get_close_matches(word.casefold()[:100], folded, n=1, cutoff=0.75)
    return folded[close[0]] if close else None


def identifier_mend(text: str) -> str:
    if len(text) > 255:
        return f"it has {len(text)} characters, and at most 255 are allowed."
    if text != text.strip():
        return "take away the space around it."
    return "only letters A-Z and a-z, digits and . - _ / @ are allowed."
