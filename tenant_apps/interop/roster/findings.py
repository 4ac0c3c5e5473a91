"""What a roster's comparison with the institution found, beside what its reading found."""

from __future__ import annotations

from enum import StrEnum
from typing import cast

from tenant_apps.interop.oneroster.findings import Code, FindingLog, Severity, quoted


class PlanCode(StrEnum):
    """Codes that only a comparison can report. Published by the API like `Code`: never give one another meaning."""

    CELL_LEFT_OUT = "cell-left-out"
    NUMBER_TAKEN = "number-taken"
    NUMBER_SHARED = "number-shared"
    ORG_NOT_IMPORTED = "org-not-imported"
    ROOT_UNCLEAR = "root-unclear"
    INSTITUTION_OTHER = "institution-other"
    NO_CAMPUS = "no-campus"
    SESSION_NOT_IMPORTED = "session-not-imported"
    SESSION_OUTSIDE = "session-outside"
    SESSION_WITHOUT_YEAR = "session-without-year"
    CLASS_WITHOUT_TERM = "class-without-term"
    AGENT_NOT_GUARDIAN = "agent-not-guardian"
    USERS_DISABLED = "users-disabled"
    STATE_DIFFERS = "state-differs"
    ENROLLMENT_NOT_IMPORTED = "enrollment-not-imported"
    ENROLLMENT_MOVED = "enrollment-moved"
    NO_BEGIN_DATE = "no-begin-date"
    NOT_CLOSED = "not-closed"
    NOT_DELETED = "not-deleted"
    NOT_HERE = "not-here"
    BIRTH_DATE = "birth-date"
    QUOTA_EXCEEDED = "quota-exceeded"
    NOTHING_TO_CLOSE_BY = "nothing-to-close-by"


class PlanLog(FindingLog):
    """A FindingLog that also takes the plan's codes."""

    def note(
        self,
        severity: Severity,
        code: PlanCode | Code,
        detail: str,
        *,
        file: str,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        # The log groups and prints codes by their value alone, so an enumeration beside the reader's own fits.
        self.add(severity, cast(Code, code), detail, file=file, line=line, column=column)

    def fitting(self, text: str, limit: int, *, file: str, line: int, column: str, needed: bool = False) -> str:
        """`text` if it has at most `limit` characters. A longer one is an error when it is needed, else left out."""
        if len(text) <= limit:
            return text
        if needed:
            detail = f"{quoted(text)} has {len(text)} characters; at most {limit} fit here: shorten it."
            self.note("error", Code.TOO_LONG, detail, file=file, line=line, column=column)
            return text[:limit]
        detail = f"{quoted(text)} has {len(text)} characters; at most {limit} fit here, so the cell is left out."
        self.note("warning", PlanCode.CELL_LEFT_OUT, detail, file=file, line=line, column=column)
        return ""
