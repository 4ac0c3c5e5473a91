"""What a delta's rows refer to and the package does not hold: the institution's own rows, by sourcedId."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tenant_apps.academics.models import Course, Section, SectionTerm
from tenant_apps.interop.oneroster.findings import Code, quoted
from tenant_apps.interop.roster.draft import Plan, Span
from tenant_apps.interop.roster.tables import stored_rows
from tenant_apps.school.models import AcademicYear, Campus, Guardian, Staff, Student, Term


def fill_in_known(plan: Plan) -> None:
    """Enter what is stored into the plan of a delta, and report references that are met by nothing at all."""
    if not plan.roster.delta:
        return
    plan.campus_of_org |= _ids(Campus)
    plan.courses |= _ids(Course)
    plan.students |= _ids(Student)
    plan.guardians |= _ids(Guardian)
    plan.staff |= _ids(Staff)
    _fill_in_calendar(plan)
    _fill_in_sections(plan)
    _report_unmet(plan)


def _ids(model: Any) -> dict[str, UUID]:
    return dict(stored_rows(model, ("sourced_id", "id"), "sourced_id IS NOT NULL"))


def _fill_in_calendar(plan: Plan) -> None:
    keys: dict[UUID, str] = {}
    for key, row_id, starts_on, ends_on in stored_rows(AcademicYear, ("sourced_id", "id", "starts_on", "ends_on")):
        if key is not None:
            plan.years[key] = plan.year_of_session[key] = row_id
            plan.span_of_session[key] = Span(starts_on, ends_on)
            plan.terms_of_session[key] = []
            keys[row_id] = key
    columns = ("sourced_id", "id", "academic_year_id", "parent_id", "kind", "starts_on", "ends_on")
    for key, row_id, year, parent, kind, starts_on, ends_on in stored_rows(Term, columns):
        if parent is None and kind != Term.Kind.GRADING_PERIOD and year in keys:
            plan.terms_of_session[keys[year]].append(row_id)
        if key is not None:
            plan.terms[key] = row_id
            plan.year_of_session[key] = year
            plan.span_of_session[key] = Span(starts_on, ends_on)
            plan.terms_of_session[key] = [row_id]
            if parent is not None:
                plan.parent_of_term[row_id] = parent


def _fill_in_sections(plan: Plan) -> None:
    plan.sections |= _ids(Section)
    begins: dict[UUID, Any] = dict(stored_rows(Term, ("id", "starts_on")))
    first: dict[UUID, Any] = {}
    for section, term in stored_rows(SectionTerm, ("section_id", "term_id")):
        first[section] = min(begins[term], first.get(section, begins[term]))
    plan.section_begins |= {key: first[row_id] for key, row_id in plan.sections.items() if row_id in first}


def _report_unmet(plan: Plan) -> None:
    here: dict[str, set[str]] = {
        "academicSessions.csv": set(plan.year_of_session),
        "courses.csv": set(plan.courses),
        "classes.csv": set(plan.sections),
        "users.csv": {*plan.students, *plan.guardians, *plan.staff},
    }
    for row in plan.roster.outside:
        # Of the organisations only schools and the institution are kept: departments and districts may be unknown.
        if row.target in here and row.sourced_id not in here[row.target]:
            detail = (
                f"{quoted(row.sourced_id)} is neither in this package's {row.target} nor here: correct it, or send "
                "that row too."
            )
            plan.log.note("error", Code.DANGLING_REFERENCE, detail, file=row.file, line=row.line, column=row.column)
