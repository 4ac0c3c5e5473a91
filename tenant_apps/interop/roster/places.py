"""Organisations and academic sessions: the institution's profile, campuses, years and terms."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

from tenant_apps.interop.oneroster.findings import Code, quoted
from tenant_apps.interop.oneroster.rows import AcademicSessionRow, OrgRow
from tenant_apps.interop.roster.draft import Plan, Span
from tenant_apps.interop.roster.findings import PlanCode
from tenant_apps.interop.roster.numbers import Claim, give_numbers, in_the_way, wishes_of
from tenant_apps.interop.roster.tables import length_of, stored_by_sourced_id, stored_rows
from tenant_apps.school.models import AcademicYear, Campus, Institution, Term

ORGS = "orgs.csv"
SESSIONS = "academicSessions.csv"
ABOVE_SCHOOLS = frozenset({"district", "local", "state", "national"})
TERM_KINDS = {"term": Term.Kind.TERM, "semester": Term.Kind.SEMESTER, "gradingPeriod": Term.Kind.GRADING_PERIOD}


def plan_places(plan: Plan) -> None:
    """The profile's sourced_id, and a campus for each school."""
    _plan_institution(plan)
    _plan_campuses(plan)


def _plan_institution(plan: Plan) -> None:
    """The root above the schools is the institution itself. Its name is the institution's own affair."""
    above = [row for row in plan.roster.orgs if row.type in ABOVE_SCHOOLS]
    roots = [row for row in above if not row.parent_sourced_id]
    if not above:
        return
    change = plan.table("institution", Institution, ("sourced_id", "name"), keyed=False)
    if len(roots) != 1:
        line = above[0].line
        detail = f"{len(roots)} organisations above the schools have no parent, so it isn't clear which is this one."
        plan.log.note("warning", PlanCode.ROOT_UNCLEAR, detail, file=ORGS, line=line, column="parentSourcedId")
        return
    root = roots[0]
    row_id, stored_id, name = next(stored_rows(Institution, ("id", "sourced_id", "name")))
    if stored_id not in (None, root.sourced_id):
        detail = f"The institution was {quoted(stored_id)} in an earlier roster and is {quoted(root.sourced_id)} now."
        plan.log.note("warning", PlanCode.INSTITUTION_OTHER, detail, file=ORGS, line=root.line, column="sourcedId")
    wanted = (root.sourced_id, name or root.name[: length_of(Institution, "name")])
    if wanted == (stored_id, name):
        change.unchanged = 1
    else:
        change.changed.append((row_id, *wanted))


def _plan_campuses(plan: Plan) -> None:
    change = plan.table("campuses", Campus, ("name", "code"))
    schools = [row for row in plan.roster.orgs if row.type == "school"]
    for row in plan.roster.orgs:
        if row.type != "school" and row.type not in ABOVE_SCHOOLS:
            detail = f"{quoted(row.name)} is a {row.type}; only schools and what is above them are imported."
            plan.log.note("warning", PlanCode.ORG_NOT_IMPORTED, detail, file=ORGS, line=row.line, column="type")
    holders: dict[str, str | None] = dict(stored_rows(Campus, ("code", "sourced_id")))
    limit = length_of(Campus, "code")
    codes = give_numbers(
        (
            Claim(row.sourced_id, row.line, wishes_of(limit, sourced_id=row.sourced_id, identifier=row.identifier))
            for row in schools
        ),
        holders=holders,
        noun="campus code",
        file=ORGS,
        log=plan.log,
    )
    longest = length_of(Campus, "name")
    wanted = {
        row.sourced_id: (
            plan.log.fitting(row.name, longest, file=ORGS, line=row.line, column="name", needed=True),
            codes[row.sourced_id],
        )
        for row in schools
    }
    stored = stored_by_sourced_id(Campus, change.columns)
    ids = change.compare(wanted, stored)
    change.parked = [ids[sourced_id] for sourced_id in sorted(in_the_way(codes, holders))]
    plan.campus_of_org |= ids
    orgs = {row.sourced_id: row for row in plan.roster.orgs}
    for row in plan.roster.orgs:
        campus = _campus_above(row, orgs, plan.campus_of_org)
        if campus is not None:
            plan.campus_of_org[row.sourced_id] = campus


def _campus_above(row: OrgRow, orgs: dict[str, OrgRow], campuses: dict[str, UUID]) -> UUID | None:
    """The campus of the org itself, or of the nearest school above it (a department's)."""
    here: str = row.sourced_id
    while here not in campuses and here in orgs:
        here = orgs[here].parent_sourced_id
    return campuses.get(here)


def plan_calendar(plan: Plan) -> None:
    """School years and their terms, semesters and grading periods."""
    sessions = {row.sourced_id: row for row in plan.roster.academic_sessions}
    plan.span_of_session |= {key: Span(row.start_date, row.end_date) for key, row in sessions.items()}
    _plan_years(plan)
    _plan_terms(plan, sessions)


def _plan_years(plan: Plan) -> None:
    change = plan.table("academic_years", AcademicYear, ("name", "starts_on", "ends_on"))
    longest = length_of(AcademicYear, "name")
    wanted = {
        row.sourced_id: (
            plan.log.fitting(row.title, longest, file=SESSIONS, line=row.line, column="title", needed=True),
            row.start_date,
            row.end_date,
        )
        for row in plan.roster.academic_sessions
        if row.type == "schoolYear"
    }
    plan.years |= change.compare(wanted, stored_by_sourced_id(AcademicYear, change.columns))
    plan.year_of_session |= plan.years


def _plan_terms(plan: Plan, sessions: dict[str, AcademicSessionRow]) -> None:
    columns = ("academic_year_id", "parent_id", "kind", "name", "starts_on", "ends_on")
    change = plan.table("terms", Term, columns)
    rows = [row for row in plan.roster.academic_sessions if row.type in TERM_KINDS]
    for row in plan.roster.academic_sessions:
        if row.type not in TERM_KINDS and row.type != "schoolYear":
            detail = f"Sessions of type {quoted(row.type)} are not imported, nor are classes' references to them."
            plan.log.note("warning", PlanCode.SESSION_NOT_IMPORTED, detail, file=SESSIONS, line=row.line, column="type")
    stored = stored_by_sourced_id(Term, columns)
    years_by_date = _years_by_date(plan, sessions)
    longest = length_of(Term, "name")
    wanted: dict[str, tuple[Any, ...]] = {}
    parents: dict[str, str] = {}
    for row in rows:
        year, parent = _frame(plan, row, sessions, years_by_date)
        if year is None:
            continue
        plan.year_of_session[row.sourced_id] = year
        if parent is not None:
            parents[row.sourced_id] = parent
        name = plan.log.fitting(row.title, longest, file=SESSIONS, line=row.line, column="title", needed=True)
        kind = str(TERM_KINDS[row.type])
        wanted[row.sourced_id] = (year, None, kind, name, row.start_date, row.end_date)
    # A parent's id must be known before its parts are compared: parents first, level by level.
    done: set[str] = set()
    waiting = list(wanted)
    while waiting:
        ready = [key for key in waiting if parents.get(key) not in wanted or parents[key] in done]
        level = {}
        for key in ready:
            parent_id = plan.terms.get(parents.get(key, ""))
            level[key] = (wanted[key][0], parent_id, *wanted[key][2:])
        plan.terms |= change.compare(level, stored)
        done.update(level)
        waiting = [key for key in waiting if key not in level]
    _terms_of_sessions(plan, [row for row in rows if row.sourced_id in wanted], parents)
    _warn_of_overlaps(plan, [row for row in rows if row.sourced_id in wanted])


def _years_by_date(plan: Plan, sessions: dict[str, AcademicSessionRow]) -> list[tuple[Span, Any]]:
    """All years that the institution will have, the shortest first, for terms that name none."""
    found = {key: (plan.span_of_session[key], year) for key, year in plan.years.items()}
    for key, year_id, starts_on, ends_on in stored_rows(AcademicYear, ("sourced_id", "id", "starts_on", "ends_on")):
        found.setdefault(key or str(year_id), (Span(starts_on, ends_on), year_id))
    return sorted(found.values(), key=lambda pair: (pair[0].ends_on - pair[0].starts_on, pair[0], str(pair[1])))


def _frame(
    plan: Plan, row: AcademicSessionRow, sessions: dict[str, AcademicSessionRow], by_date: list[tuple[Span, Any]]
) -> tuple[Any, str | None]:
    """The year above a term, and the sourcedId of the nearest term above it. No year at all is an error."""
    parent: str | None = None
    above = row.parent_sourced_id
    frame = plan.span_of_session.get(above)
    if frame is not None and (row.start_date < frame.starts_on or row.end_date > frame.ends_on):
        line = f" (line {sessions[above].line})" if above in sessions else ""
        title = sessions[above].title if above in sessions else above
        detail = f"{quoted(row.title)} does not lie within its parent {quoted(title)}{line}."
        plan.log.note("warning", PlanCode.SESSION_OUTSIDE, detail, file=SESSIONS, line=row.line, column="startDate")
    while above in sessions and sessions[above].type != "schoolYear":
        if parent is None and sessions[above].type in TERM_KINDS:
            parent = above
        above = sessions[above].parent_sourced_id
    if above in plan.years:
        return plan.years[above], parent
    if above in plan.terms and above not in sessions:
        # A delta names a term that is here: what lies above that is known.
        if _lies_below(plan, plan.terms[above], plan.terms.get(row.sourced_id)):
            detail = f"{quoted(row.title)} lies above {quoted(above)} here, which is named as its parent."
            plan.log.note("error", Code.REFERENCE_CYCLE, detail, file=SESSIONS, line=row.line, column="parentSourcedId")
        return plan.year_of_session[above], parent or above
    for span, year in by_date:
        if span.starts_on <= row.start_date and row.end_date <= span.ends_on:
            detail = f"{quoted(row.title)} has no school year above it; the one that it lies in by its dates is taken."
            plan.log.note(
                "warning",
                PlanCode.SESSION_WITHOUT_YEAR,
                detail,
                file=SESSIONS,
                line=row.line,
                column="parentSourcedId",
            )
            return year, parent
    detail = (
        f"{quoted(row.title)} has no school year above it, and none holds its dates: add a row of type schoolYear and "
        "name it as the parent."
    )
    plan.log.note(
        "error", PlanCode.SESSION_WITHOUT_YEAR, detail, file=SESSIONS, line=row.line, column="parentSourcedId"
    )
    return None, None


def _lies_below(plan: Plan, term: UUID, other: UUID | None) -> bool:
    """Whether one stored term is another, or lies within it."""
    here: UUID | None = term
    while here is not None and other is not None:
        if here == other:
            return True
        here = plan.parent_of_term.get(here)
    return False


def _terms_of_sessions(plan: Plan, rows: list[AcademicSessionRow], parents: dict[str, str]) -> None:
    """What a class means by a session: a term itself, a school year all its top terms."""
    tops: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        term = plan.terms[row.sourced_id]
        plan.terms_of_session[row.sourced_id] = [term]
        if row.sourced_id not in parents and row.type != "gradingPeriod":
            tops[plan.year_of_session[row.sourced_id]].append(term)
    for key, year in plan.years.items():
        known = plan.terms_of_session.get(key, [])
        plan.terms_of_session[key] = list(dict.fromkeys((*known, *tops.get(year, ()))))


def _warn_of_overlaps(plan: Plan, rows: list[AcademicSessionRow]) -> None:
    """Terms that share days with terms of their kind made by hand; the reader has compared the roster's own."""
    by_hand = defaultdict(list)
    columns = ("academic_year_id", "kind", "name", "starts_on", "ends_on")
    for year, kind, name, starts_on, ends_on in stored_rows(Term, columns, "sourced_id IS NULL"):
        by_hand[year, kind].append((name, starts_on, ends_on))
    for row in rows:
        for name, starts_on, ends_on in by_hand[plan.year_of_session[row.sourced_id], str(TERM_KINDS[row.type])]:
            if row.start_date < ends_on and starts_on < row.end_date:
                detail = f"{quoted(row.title)} shares days with {quoted(name)} ({starts_on} to {ends_on}), made here."
                plan.log.note(
                    "warning", Code.SESSIONS_OVERLAP, detail, file=SESSIONS, line=row.line, column="startDate"
                )
