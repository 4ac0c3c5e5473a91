"""Enrolments of students and teachers, and what lacks in the roster when it is asked to be closed.

End dates are the roster's own word: a blank one says that the enrolment is open. A blank begin date leaves what is
stored; of a new enrolment it is the first day of the section's first term.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models

from tenant_apps.academics.models import Enrolment, SectionTeacher
from tenant_apps.interop.oneroster.findings import Code, quoted
from tenant_apps.interop.oneroster.rows import EnrollmentRow
from tenant_apps.interop.roster.draft import Plan
from tenant_apps.interop.roster.ending import as_closed, ended_sections, plan_ended_enrolments
from tenant_apps.interop.roster.findings import PlanCode
from tenant_apps.interop.roster.tables import Stored, TableChange, Values, stored_rows

ENROLLMENTS = "enrollments.csv"


class Stretch(NamedTuple):
    """Days of one person in one section, from the roster (`line`) or only stored (line 0)."""

    starts_on: date
    ends_on: date
    line: int
    id: UUID | None


def plan_enrolments(plan: Plan) -> None:
    """Students' enrolments, then teachers'."""
    by_role: dict[str, list[EnrollmentRow]] = defaultdict(list)
    for row in plan.roster.enrollments:
        by_role[row.role].append(row)
    students, teachers = by_role.pop("student", []), by_role.pop("teacher", [])
    for role, rows in sorted(by_role.items()):
        detail = f"{len(rows):,} enrolments with the role {role} are not imported; only students and teachers are."
        plan.log.note(
            "warning", PlanCode.ENROLLMENT_NOT_IMPORTED, detail, file=ENROLLMENTS, line=rows[0].line, column="role"
        )
    dates = ("section_id", "starts_on", "ends_on")
    change = plan.table("enrolments", Enrolment, ("student_id", *dates), end="ends_on")
    _plan_rows(plan, change, students, plan.students, {})
    change = plan.table("section_teachers", SectionTeacher, ("staff_id", *dates, "role"), end="ends_on")
    _plan_rows(plan, change, teachers, plan.staff, _teachers_roles(teachers))


def _teachers_roles(rows: list[EnrollmentRow]) -> dict[str, str]:
    """Who is `primary` is the primary teacher; where nobody is said to be, whoever isn't denied it."""
    led = {row.class_sourced_id for row in rows if row.primary}
    return {
        row.sourced_id: str(
            SectionTeacher.Role.PRIMARY
            if row.primary or (row.primary is None and row.class_sourced_id not in led)
            else SectionTeacher.Role.ASSISTANT
        )
        for row in rows
    }


def _plan_rows(
    plan: Plan, change: TableChange, rows: list[EnrollmentRow], people: dict[str, UUID], roles: dict[str, str]
) -> None:
    """Compare the rows of one role. Teachers have `roles`: the last value of each row, by sourcedId."""
    stored, by_hand = _stored(change.model, change.columns, plan, rows)
    wanted: dict[str, tuple[Any, ...]] = {}
    lines: dict[str, int] = {}
    ended = ended_sections(plan)
    ending: list[EnrollmentRow] = []
    for row in rows:
        person, section = people.get(row.user_sourced_id), plan.sections.get(row.class_sourced_id)
        if person is None or section is None:
            if person is None and plan.roster.delta:
                _report_no_role(plan, row)
            continue  # An error at the user or the class says why.
        leaves = plan.leaving.get(person)
        if section in ended or (leaves is not None and (row.end_date is None or row.end_date > leaves)):
            ending.append(row)
            continue
        departed = plan.departed.get(person)
        if departed is not None and (row.end_date is None or row.end_date > departed):
            continue  # Leaving has ended it, and a roster that knows nothing of that opens it no more.
        span = _span(plan, row, stored.get(row.sourced_id), (person, section))
        if span is None:
            continue
        more = (roles[row.sourced_id],) if roles else ()
        wanted[row.sourced_id] = (person, section, *span, *more)
        lines[row.sourced_id] = row.line
    ids = change.compare(wanted, stored, blank_counts=("ends_on",))
    if ending:
        detail = f"{len(ending):,} enrolments of people who leave, or in classes to be deleted, are not imported."
        plan.log.note(
            "warning",
            PlanCode.ENROLLMENT_NOT_IMPORTED,
            detail,
            file=ENROLLMENTS,
            line=ending[0].line,
            column="userSourcedId",
        )
    missing = {key: row for key, row in stored.items() if key not in wanted}
    ends = plan_ended_enrolments(plan, change, set(wanted))
    if plan.close_missing:
        ends |= _close(plan, change, missing, bool(rows), ends)
    others = [
        as_closed(row.values, ends[row.id]) if row.id in ends else row.values for row in (*missing.values(), *by_hand)
    ]
    changed = {row[0] for row in change.changed}
    for same in _repeated(wanted, others, lines, ids):
        _report_overlaps(plan, same, whole=not roles)
        change.parked += [stretch.id for stretch in same if stretch.id is not None and stretch.id in changed]


def _repeated(
    wanted: dict[str, Values], others: list[Values], lines: dict[str, int], ids: dict[str, UUID]
) -> list[list[Stretch]]:
    """The stretches of each person in each section (for teachers: in each role there) who has several of them.

    Nearly everybody has one, so those are not collected: 200,000 of them are not small.
    """
    pairs = Counter((who, where, *role) for who, where, _, _, *role in wanted.values())
    pairs.update(pair for who, where, _, _, *role in others if (pair := (who, where, *role)) in pairs)
    stretches: dict[tuple[Any, ...], list[Stretch]] = {pair: [] for pair, count in pairs.items() if count > 1}
    if not stretches:
        return []
    for key, (who, where, starts_on, ends_on, *role) in wanted.items():
        if (who, where, *role) in stretches:
            stretches[who, where, *role].append(Stretch(starts_on, ends_on or date.max, lines[key], ids[key]))
    for who, where, starts_on, ends_on, *role in others:
        if (who, where, *role) in stretches:
            stretches[who, where, *role].append(Stretch(starts_on, ends_on or date.max, 0, None))
    return list(stretches.values())


def _stored(
    model: type[models.Model], columns: tuple[str, ...], plan: Plan, rows: list[EnrollmentRow]
) -> tuple[dict[str, Stored], list[Stored]]:
    """Rows that the roster may touch: by sourcedId, and those made by hand in its sections."""
    named: dict[str, Stored] = {}
    by_hand: list[Stored] = []
    where = "section_id = ANY(%s) OR sourced_id = ANY(%s)"
    parameters: list[Any] = [list(plan.sections.values()), [row.sourced_id for row in rows]]
    if plan.close_missing:
        where += " OR (sourced_id IS NOT NULL AND (ends_on IS NULL OR ends_on > %s))"
        parameters.append(plan.today)
    for row in stored_rows(model, ("sourced_id", "id", *columns), where, parameters):
        if row[0] is None:
            by_hand.append(Stored(row[1], row[2:]))
        else:
            named[row[0]] = Stored(row[1], row[2:])
    return named, by_hand


def _span(
    plan: Plan, row: EnrollmentRow, stored: Stored | None, pair: tuple[UUID, UUID]
) -> tuple[date, date | None] | None:
    """The days of an enrolment; None after an error."""

    def refuse(code: PlanCode | Code, detail: str, column: str) -> None:
        plan.log.note("error", code, detail, file=ENROLLMENTS, line=row.line, column=column)

    if stored is not None and stored.values[:2] != pair:
        refuse(
            PlanCode.ENROLLMENT_MOVED,
            f"{quoted(row.sourced_id)} was the enrolment of another person or in another class: end that one, and give "
            "the new one a sourcedId of its own.",
            "sourcedId",
        )
        return None
    begin = row.begin_date or (stored.values[2] if stored else plan.section_begins.get(row.class_sourced_id))
    if begin is None:
        refuse(
            PlanCode.NO_BEGIN_DATE,
            f"{quoted(row.class_sourced_id)} is in no term, so its first day isn't known: fill in the date.",
            "beginDate",
        )
        return None
    if row.end_date is not None and row.end_date <= begin:
        refuse(
            Code.DATE_ORDER,
            f"endDate {row.end_date} is not after {begin}, on which the enrolment begins: correct it, or fill in "
            "beginDate.",
            "endDate",
        )
        return None
    return begin, row.end_date


def _report_no_role(plan: Plan, row: EnrollmentRow) -> None:
    detail = (
        f"{quoted(row.user_sourced_id)} is enrolled as {row.role}, but has no such role here nor in roles.csv: add one."
    )
    plan.log.note("error", Code.ENROLLMENT_ROLE, detail, file=ENROLLMENTS, line=row.line, column="role")


def _close(
    plan: Plan, change: TableChange, missing: dict[str, Stored], has_rows: bool, ends: dict[UUID, date]
) -> dict[UUID, date]:
    """Close what lacks in the roster as of today; the ends by id. `ends`: what is closed already."""
    still_open = {
        key: row for key, row in missing.items() if (row.values[3] or date.max) > plan.today and row.id not in ends
    }
    if not still_open:
        return {}
    if ENROLLMENTS in plan.roster.delta or not has_rows:
        why = "What a delta lacks is unchanged" if ENROLLMENTS in plan.roster.delta else "The roster has none at all"
        detail = f"{why}, so {len(still_open):,} stored {change.kind} stay open."
        plan.log.note("warning", PlanCode.NOTHING_TO_CLOSE_BY, detail, file=ENROLLMENTS)
        return {}
    closed: dict[UUID, date] = {}
    for key, row in still_open.items():
        if row.values[2] >= plan.today:
            detail = f"{quoted(key)} lacks in the roster, but begins only on {row.values[2]}: remove it by hand."
            plan.log.note("warning", PlanCode.NOT_CLOSED, detail, file=ENROLLMENTS, column="sourcedId")
            continue
        closed[row.id] = plan.today
    change.closed += closed.items()
    return closed


def _report_overlaps(plan: Plan, same: list[Stretch], *, whole: bool) -> None:
    """Stretches that share days (`whole`) or their first day, before the database refuses them."""
    same.sort()
    last = same[0]
    for stretch in same[1:]:
        clash = stretch.starts_on < last.ends_on if whole else stretch.starts_on == last.starts_on
        if clash and (stretch.line or last.line):
            here, other = (stretch, last) if stretch.line else (last, stretch)
            whose = f"by line {other.line}" if other.line else "here already, by an enrolment that the roster lacks"
            end = "on" if other.ends_on == date.max else f"to {other.ends_on}"
            detail = (
                f"The person is in this class {whose}, from {other.starts_on} {end} (end exclusive): end one of them "
                "before the other begins."
            )
            plan.log.note(
                "error", Code.ENROLLMENT_OVERLAP, detail, file=ENROLLMENTS, line=here.line, column="userSourcedId"
            )
        if stretch.ends_on > last.ends_on or not whole:
            last = stretch
