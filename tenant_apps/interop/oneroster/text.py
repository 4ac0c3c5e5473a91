"""From bytes to rows of text (RFC 4180, UTF-8), each with the physical line on which it starts."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from tenant_apps.interop.oneroster.findings import Code, FindingLog
from tenant_apps.interop.oneroster.package import Limits, PackageRefused

UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
SPOILT_SIGN = "�"  # stands where a byte or character had to be taken out


class TextRow(NamedTuple):
    """`sound` is False when characters had to be replaced: a finding says so; don't use the row."""

    line: int
    cells: list[str]
    sound: bool


class CsvText:
    """The rows of one file. What is wrong with its text goes to `log`; PackageRefused ends the file."""

    def __init__(self, stream: IO[bytes], file: str, log: FindingLog, limits: Limits) -> None:
        self._stream = stream
        self._file = file
        self._log = log
        self._limits = limits
        self._spoilt: list[tuple[int, Code, str]] = []
        self.broken = 0  # rows that could not be parted into cells
        self.headers: Sequence[str] = ()  # set by the reader of the header, to name columns in findings

    def rows(self) -> Iterator[TextRow]:
        """Every row but empty lines. A broken row is reported and the next line starts a new one."""
        reader = csv.reader(self._lines(), strict=True)
        line = 1
        while True:
            try:
                for cells in reader:
                    if cells:
                        sound = not self._spoilt or self._report_spoilt(cells)
                        yield TextRow(line, cells, sound)
                    line = reader.line_num + 1
                return
            except csv.Error as error:
                self.broken += 1
                self._report_spoilt(())
                code, detail = explain(str(error))
                self._log.error(code, detail, file=self._file, line=line)
                line = reader.line_num + 1

    def _lines(self) -> Iterator[str]:
        limit = self._limits.line_bytes
        readline = self._stream.readline
        number = 0
        while raw := readline(limit + 1):
            number += 1
            if len(raw) > limit:
                raise PackageRefused(
                    Code.LINE_TOO_LONG,
                    f"The line is longer than {limit // 1024} KiB: check that lines end with a line break.",
                    line=number,
                )
            if number == 1:
                raw = without_mark(raw)
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                text = raw.decode(errors="replace")
                bad = raw[error.start]
                self._spoilt.append(
                    (
                        number,
                        Code.NOT_UTF8,
                        f"The byte {bad:#04x} is not UTF-8 (in Latin-1 it would be {chr(bad)!a}): "
                        'save the file as "CSV UTF-8".',
                    )
                )
            if "\0" in text:
                text = text.replace("\0", SPOILT_SIGN)
                self._spoilt.append((number, Code.NUL_CHARACTER, "The line holds a NUL character: remove it."))
            yield text

    def _report_spoilt(self, cells: Sequence[str]) -> bool:
        column = next(
            (name for name, cell in zip(self.headers, cells, strict=False) if SPOILT_SIGN in cell),
            None,
        )
        for line, code, detail in self._spoilt:
            self._log.error(code, detail, file=self._file, line=line, column=column)
        self._spoilt.clear()
        return False


def without_mark(first: bytes) -> bytes:
    """The first line without the byte order mark that the standard tells importers to ignore."""
    if first.startswith(UTF16_MARKS):
        raise PackageRefused(Code.NOT_UTF8, 'The file is UTF-16: save it as "CSV UTF-8".', line=1)
    return first.removeprefix(UTF8_MARK)


def explain(error: str) -> tuple[Code, str]:
    """The csv module's message as a code and a sentence that says how to mend it."""
    if "field limit" in error:
        return Code.MALFORMED_CSV, (
            "A cell that starts here is longer than 128 KiB: probably its closing quotation mark is missing."
        )
    if "end of data" in error:
        return (
            Code.MALFORMED_CSV,
            "A quotation mark that opens in this row is never closed: close it, or remove it.",
        )
    if "new-line" in error:
        return (
            Code.LINE_ENDINGS,
            "Lines end with a carriage return alone: save the file with CRLF or LF line ends.",
        )
    return Code.MALFORMED_CSV, (
        "A quotation mark inside a cell is not doubled: write it twice, and put the whole cell in quotation marks."
    )
