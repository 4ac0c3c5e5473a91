"""What a roster's check found: each finding says what is wrong, where, and how to mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Severity = Literal["error", "warning"]

# A sentence, or what makes it: looking for the word that was meant is too slow to do for findings nobody will see.
Detail = str | Callable[[], str]


class Code(StrEnum):
    """Stable names of all that a check can report. The API publishes them: never give one another meaning."""

    # The upload as a whole
    NOT_READABLE = "not-readable"
    UPLOAD_TOO_LARGE = "upload-too-large"
    NOT_A_ZIP = "not-a-zip"
    ZIP_TRUNCATED = "zip-truncated"
    ZIP_DAMAGED = "zip-damaged"
    ZIP_BOMB = "zip-bomb"
    ZIP_UNSUPPORTED = "zip-unsupported"
    TOO_MANY_MEMBERS = "too-many-members"
    ENCRYPTED = "encrypted"
    UNSAFE_PATH = "unsafe-path"
    SYMLINK = "symlink"
    DUPLICATE_MEMBER = "duplicate-member"
    NOT_AT_ROOT = "not-at-root"
    UNKNOWN_FILE = "unknown-file"
    FILE_NAME_CASE = "file-name-case"
    # The manifest
    MANIFEST_MISSING = "manifest-missing"
    PROPERTY_MISSING = "property-missing"
    PROPERTY_DUPLICATE = "property-duplicate"
    PROPERTY_UNKNOWN = "property-unknown"
    PROPERTY_VALUE = "property-value"
    VERSION_UNSUPPORTED = "version-unsupported"
    FILE_MISSING = "file-missing"
    FILE_UNDECLARED = "file-undeclared"
    FILE_NOT_IMPORTED = "file-not-imported"
    # One file as text
    NOT_UTF8 = "not-utf8"
    NUL_CHARACTER = "nul-character"
    LINE_ENDINGS = "line-endings"
    LINE_TOO_LONG = "line-too-long"
    MALFORMED_CSV = "malformed-csv"
    HEADER_MISSING = "header-missing"
    HEADER_MISSPELT = "header-misspelt"
    HEADER_CASE = "header-case"
    HEADER_ORDER = "header-order"
    HEADER_DUPLICATE = "header-duplicate"
    COLUMN_MISSING = "column-missing"
    COLUMN_UNKNOWN = "column-unknown"
    COLUMN_EXTENSION = "column-extension"
    ROW_LENGTH = "row-length"
    ROW_BLANK = "row-blank"
    NO_ROWS = "no-rows"
    TOO_MANY_ROWS = "too-many-rows"
    # One cell
    REQUIRED = "required"
    TOO_LONG = "too-long"
    BAD_IDENTIFIER = "bad-identifier"
    BAD_ENUM = "bad-enum"
    BAD_DATE = "bad-date"
    BAD_YEAR = "bad-year"
    BAD_BOOLEAN = "bad-boolean"
    BAD_EMAIL = "bad-email"
    CONTROL_CHARACTER = "control-character"
    DATE_ORDER = "date-order"
    STATUS_IN_BULK = "status-in-bulk"
    DELETION_IN_BULK = "deletion-in-bulk"
    CREDENTIALS_DROPPED = "credentials-dropped"
    # Rows against rows
    DUPLICATE_ID = "duplicate-id"
    DANGLING_REFERENCE = "dangling-reference"
    REFERENCE_FILE_ABSENT = "reference-file-absent"
    REFERENCE_CYCLE = "reference-cycle"
    REFERENCE_SELF = "reference-self"
    SESSIONS_OVERLAP = "sessions-overlap"
    CLASS_WITHOUT_TEACHER = "class-without-teacher"
    USER_WITHOUT_ROLE = "user-without-role"
    ROLE_UNKNOWN = "role-unknown"
    PRIMARY_ROLE = "primary-role"
    ENROLLMENT_ROLE = "enrollment-role"
    ENROLLMENT_SCHOOL = "enrollment-school"
    ENROLLMENT_OVERLAP = "enrollment-overlap"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend (`error`) or to know (`warning`).

    `file` is the member's name, None when the upload as a whole is meant. `line` is the physical line on
    which the row starts (the header is line 1), `column` the header's name; each is None where there is none.
    """

    severity: Severity
    file: str | None
    line: int | None
    column: str | None
    code: Code
    detail: str

    def as_dict(self) -> dict[str, str | int | None]:
        """The finding as the API shows it."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "code": self.code.value,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Cause:
    """Findings of one code in one column (or file, or upload): how many there are, and the first of them."""

    count: int
    first: Finding

    def as_dict(self) -> dict[str, str | int | None]:
        """The cause as the API shows it."""
        return {"severity": self.first.severity, "count": self.count, **self.first.as_dict()}


class FindingLog:
    """Collects findings: counts all, shows at most `keep`.

    Errors come before warnings, and each kind of finding in each file gets its share: 5,000 rows that name a missing
    school don't hide the one row with a bad date.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._kept: dict[Severity, dict[tuple[str | None, Code], list[Finding]]] = {"error": {}, "warning": {}}
        self._counts: Counter[Severity] = Counter()
        self._causes: Counter[tuple[Severity, str | None, str | None, Code]] = Counter()
        self._first: dict[tuple[Severity, str | None, str | None, Code], Finding] = {}

    def add(
        self,
        severity: Severity,
        code: Code,
        detail: Detail,
        *,
        file: str | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        self._counts[severity] += 1
        kept = self._kept[severity].setdefault((file, code), [])
        cause = (severity, file, column, code)
        self._causes[cause] += 1
        if len(kept) < self._keep or cause not in self._first:
            found = Finding(severity, file, line, column, code, detail if isinstance(detail, str) else detail())
            self._first.setdefault(cause, found)
            if len(kept) < self._keep:
                kept.append(found)

    def error(
        self,
        code: Code,
        detail: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        self.add("error", code, detail, file=file, line=line, column=column)

    def warning(
        self,
        code: Code,
        detail: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        self.add("warning", code, detail, file=file, line=line, column=column)

    @property
    def error_count(self) -> int:
        return self._counts["error"]

    @property
    def warning_count(self) -> int:
        return self._counts["warning"]

    @property
    def causes(self) -> list[Cause]:
        """What there is to mend and to know, in one line each: errors first, and of them what concerns most rows."""
        found = [Cause(self._causes[cause], first) for cause, first in self._first.items()]
        return sorted(found, key=lambda cause: (cause.first.severity, -cause.count))

    def shown(self, file_order: list[str]) -> list[Finding]:
        """The findings as a person works through them: by file in `file_order`, then by line."""
        rank = {name: place for place, name in enumerate(file_order)}
        errors = shares(list(self._kept["error"].values()), self._keep)
        warnings = shares(list(self._kept["warning"].values()), self._keep - len(errors))
        return sorted(
            errors + warnings,
            key=lambda found: (
                -1 if found.file is None else rank.get(found.file, len(rank)),
                found.file or "",
                found.line or 0,
            ),
        )


def shares(groups: list[list[Finding]], room: int) -> list[Finding]:
    """At most `room` findings, the first ones of each group; small groups whole, large ones alike."""
    taken: list[Finding] = []
    groups = sorted(groups, key=len)
    for place, group in enumerate(groups):
        share = (room - len(taken)) // (len(groups) - place)
        taken += group[:share]
    return taken


def quoted(value: str, limit: int = 40) -> str:
    """`value` in quotes for a message: shortened, and with control characters made visible."""
    shown = value if len(value) <= limit else value[: limit - 1] + "…"
    return '"' + "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in shown) + '"'
