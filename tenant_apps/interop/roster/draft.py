"""The plan while it is made: every module of this package adds its tables to it, parents before children."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from django.db import models
from django.utils import timezone

from tenant_apps.interop.oneroster import Roster
from tenant_apps.interop.oneroster.findings import Cause, Finding
from tenant_apps.interop.oneroster.roster import FILE_ORDER
from tenant_apps.interop.roster.findings import PlanLog
from tenant_apps.interop.roster.tables import TableChange, Values

MOST_FINDINGS = 1_000


class Steps(Protocol):
    """Who is told how far an import is, and may stop it (`eventlog.jobs.Progress`)."""

    def __call__(self, percent: float, step: str = "") -> None: ...

    def check(self) -> None: ...


class StateMove(NamedTuple):
    """A student's next state, from `on` (the end of the one before)."""

    student_id: UUID
    to: str
    on: date
    reason: str


class Span(NamedTuple):
    """Days, end exclusive."""

    starts_on: date
    ends_on: date


@dataclass(slots=True)
class Plan:
    """What importing a roster would do. Making it writes nothing.

    `changes` are in writing order. `error_count` over zero: it must not be written. `compared_at` is before the first
    row was read: who writes the plan can tell which rows somebody has changed since.
    """

    roster: Roster
    today: date
    close_missing: bool
    compared_at: datetime = field(default_factory=timezone.now)
    log: PlanLog = field(default_factory=lambda: PlanLog(MOST_FINDINGS))
    changes: list[TableChange] = field(default_factory=list)
    state_moves: list[StateMove] = field(default_factory=list)
    new_statuses: list[Values] = field(default_factory=list)  # (id, student_id, state, starts_on, ends_on, reason)
    enrolled_more: int = 0  # enrolled students, after the import against before
    leaving: dict[UUID, date] = field(default_factory=dict)  # students and staff whom a delta takes out: from when
    departed: dict[UUID, date] = field(default_factory=dict)  # students who are gone and stay so: since when

    # What later tables ask of earlier ones: ids by the roster's sourcedId.
    campus_of_org: dict[str, UUID] = field(default_factory=dict)
    years: dict[str, UUID] = field(default_factory=dict)
    terms: dict[str, UUID] = field(default_factory=dict)
    year_of_session: dict[str, UUID] = field(default_factory=dict)
    terms_of_session: dict[str, list[UUID]] = field(default_factory=dict)
    span_of_session: dict[str, Span] = field(default_factory=dict)
    parent_of_term: dict[UUID, UUID] = field(default_factory=dict)
    grade_levels: dict[str, UUID] = field(default_factory=dict)
    courses: dict[str, UUID] = field(default_factory=dict)
    sections: dict[str, UUID] = field(default_factory=dict)
    section_begins: dict[str, date] = field(default_factory=dict)
    students: dict[str, UUID] = field(default_factory=dict)
    guardians: dict[str, UUID] = field(default_factory=dict)
    staff: dict[str, UUID] = field(default_factory=dict)

    def table(
        self, kind: str, model: type[models.Model], columns: tuple[str, ...], *, keyed: bool = True, end: str = ""
    ) -> TableChange:
        """A new table of the plan, written after those before it."""
        change = TableChange(kind, model, columns, keyed, end)
        self.changes.append(change)
        return change

    def change_of(self, model: type[models.Model]) -> TableChange:
        """What is planned for a table."""
        return next(change for change in self.changes if change.model is model)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Kind of row -> {"created", "updated", "unchanged", "closed"}."""
        return {change.kind: change.counts for change in self.changes}

    @property
    def error_count(self) -> int:
        return self.roster.error_count + self.log.error_count

    @property
    def warning_count(self) -> int:
        return self.roster.warning_count + self.log.warning_count

    @property
    def causes(self) -> list[Cause]:
        """What lies behind all findings; errors first."""
        return sorted((*self.roster.causes, *self.log.causes), key=lambda cause: cause.first.severity)

    @property
    def findings(self) -> list[Finding]:
        """What reading and comparing found, errors first when there are more than 1,000 in all; by file and line."""
        found = [*self.roster.findings, *self.log.shown(FILE_ORDER)]
        found.sort(key=lambda finding: finding.severity != "error")
        rank: dict[Any, int] = {name: place for place, name in enumerate(FILE_ORDER)}
        return sorted(
            found[:MOST_FINDINGS], key=lambda f: (rank.get(f.file, -1 if f.file is None else len(rank)), f.line or 0)
        )
