"""Grade levels, subjects, courses, and sections with their terms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.utils.text import slugify

from shared_apps.core.ids import uuid7
from tenant_apps.academics.models import Course, Section, SectionTerm, Subject
from tenant_apps.interop.oneroster.findings import quoted
from tenant_apps.interop.oneroster.rows import ClassRow, CourseRow
from tenant_apps.interop.roster.draft import Plan
from tenant_apps.interop.roster.findings import PlanCode
from tenant_apps.interop.roster.tables import length_of, stored_by_sourced_id, stored_rows
from tenant_apps.school.models import GradeLevel

COURSES = "courses.csv"
CLASSES = "classes.csv"

# CEDS "Entry Grade Level" (ceds.ed.gov/element/000100), lowest first: code -> name.
CEDS_GRADES = {
    "IT": "Infant/toddler",
    "PR": "Preschool",
    "PK": "Prekindergarten",
    "TK": "Transitional kindergarten",
    "KG": "Kindergarten",
    **{f"{number:02}": f"Grade {number}" for number in range(1, 14)},
    "PS": "Postsecondary",
    "UG": "Ungraded",
    "OTHER": "Other",
}
POSITIONS = {code: 10 * place for place, code in enumerate(CEDS_GRADES, start=1)}
AFTER_ALL = 10 * len(CEDS_GRADES) + 10


def grade_key(code: str) -> str:
    """What two spellings of a grade have in common: "5", "05"; "kg", "KG"."""
    folded = code.strip().upper()
    return f"{int(folded):02}" if folded.isascii() and folded.isdigit() and len(folded) <= 3 else folded


def grade_code(code: str) -> str:
    """A grade as rosters write it: those of CEDS as it does ("05"), a school's own ("5e", "Tle") as the school does."""
    key = grade_key(code)
    return key if key in CEDS_GRADES else code.strip()


def plan_grade_levels(plan: Plan) -> None:
    """A level for each grade that students or courses name; existing ones are met by their code and never changed."""
    change = plan.table("grade_levels", GradeLevel, ("code", "name", "position"), keyed=False)
    plan.grade_levels = {grade_key(code): row_id for code, row_id in stored_rows(GradeLevel, ("code", "id"))}
    limit = length_of(GradeLevel, "code")
    named: dict[str, tuple[str, str, int]] = {}
    for file, rows in ((COURSES, plan.roster.courses), ("users.csv", plan.roster.users)):
        for row in rows:
            for grade in row.grades:
                named.setdefault(grade, (file, "grades", row.line))
    for key in sorted({grade_key(grade) for grade in named}):
        if key in plan.grade_levels:
            change.unchanged += 1
            continue
        grade, (file, column, line) = next((grade, place) for grade, place in named.items() if grade_key(grade) == key)
        code = grade_code(grade)
        if not plan.log.fitting(code, limit, file=file, line=line, column=column):
            continue
        plan.grade_levels[key] = row_id = uuid7()
        change.created.append((row_id, code, CEDS_GRADES.get(key, code), POSITIONS.get(key, AFTER_ALL)))


def plan_courses(plan: Plan) -> None:
    """Subjects by code or name, and the courses."""
    subjects = _plan_subjects(plan, plan.roster.courses)
    columns = ("title", "code", "subject_id", "grade_level_id", "academic_year_id")
    change = plan.table("courses", Course, columns)
    wanted = {row.sourced_id: _course_values(plan, row, subjects) for row in plan.roster.courses}
    plan.courses |= change.compare(wanted, stored_by_sourced_id(Course, columns))


def _course_values(plan: Plan, row: CourseRow, subjects: dict[str, UUID]) -> tuple[Any, ...]:
    def fitting(text: str, column: str, header: str, needed: bool = False) -> str:
        limit = length_of(Course, column)
        return plan.log.fitting(text, limit, file=COURSES, line=row.line, column=header, needed=needed)

    # A course over several grades belongs to none of them.
    grade = plan.grade_levels.get(grade_key(row.grades[0])) if len(row.grades) == 1 else None
    return (
        fitting(row.title, "title", "title", needed=True),
        fitting(row.course_code, "code", "courseCode"),
        subjects.get(row.sourced_id),
        grade,
        plan.year_of_session.get(row.school_year_sourced_id),
    )


def _plan_subjects(plan: Plan, courses: Iterable[CourseRow]) -> dict[str, UUID]:
    """The subject of each course, by the course's sourcedId. Existing subjects are met by code, else by name."""
    change = plan.table("subjects", Subject, ("code", "name"), keyed=False)
    by_code: dict[str, UUID] = {}
    by_name: dict[str, UUID] = {}
    for row_id, code, name in stored_rows(Subject, ("id", "code", "name")):
        by_code[code.casefold()] = row_id
        by_name.setdefault(name.casefold(), row_id)
    stored = set(by_code.values())
    met: set[UUID] = set()
    longest, limit = length_of(Subject, "name"), length_of(Subject, "code")
    subjects: dict[str, UUID] = {}
    for row in courses:
        if not row.subjects:
            continue
        name = plan.log.fitting(row.subjects[0], longest, file=COURSES, line=row.line, column="subjects")
        code = row.subject_codes[0] if row.subject_codes and len(row.subject_codes[0]) <= limit else ""
        if not name:
            continue
        found = by_code.get(code.casefold()) if code else None
        found = found or by_name.get(name.casefold())
        if found is None:
            found = uuid7()
            code = code or _free_code(name, limit, by_code)
            change.created.append((found, code, name))
            by_code[code.casefold()] = by_name[name.casefold()] = found
        elif found in stored:
            met.add(found)
        subjects[row.sourced_id] = found
    change.unchanged = len(met)
    return subjects


def _free_code(name: str, limit: int, taken: dict[str, UUID]) -> str:
    """A code made of the subject's name: MATHEMATICS, else MATHEMATICS-2 ..."""
    stem = slugify(name, allow_unicode=True).upper()[: limit - 5] or "SUBJECT"
    code, number = stem, 1
    while code.casefold() in taken:
        number += 1
        code = f"{stem}-{number}"
    return code


def plan_sections(plan: Plan) -> None:
    """Classes as sections, with the terms in which they are taught, and the first day of each."""
    columns = ("title", "code", "kind", "course_id", "campus_id")
    change = plan.table("sections", Section, columns)
    wanted = {}
    for row in plan.roster.classes:
        values = _section_values(plan, row)
        if values is not None:
            wanted[row.sourced_id] = values
    plan.sections |= change.compare(wanted, stored_by_sourced_id(Section, columns))
    _plan_section_terms(plan)


def _section_values(plan: Plan, row: ClassRow) -> tuple[Any, ...] | None:
    def fitting(text: str, column: str, header: str, needed: bool = False) -> str:
        limit = length_of(Section, column)
        return plan.log.fitting(text, limit, file=CLASSES, line=row.line, column=header, needed=needed)

    campus = plan.campus_of_org.get(row.school_sourced_id)
    if campus is None and row.sourced_id not in plan.sections:
        detail = f"{quoted(row.school_sourced_id)} is no school and lies in none: name the school of the class."
        plan.log.note("error", PlanCode.NO_CAMPUS, detail, file=CLASSES, line=row.line, column="schoolSourcedId")
        return None
    homeroom = row.class_type == "homeroom"
    return (
        fitting(row.title, "title", "title", needed=True),
        fitting(row.class_code, "code", "classCode"),
        str(Section.Kind.HOMEROOM if homeroom else Section.Kind.SCHEDULED),
        plan.courses.get(row.course_sourced_id),
        campus,
    )


def _plan_section_terms(plan: Plan) -> None:
    """Pairs of section and term. One that the roster no longer names stays: bulk never takes away."""
    change = plan.table("section_terms", SectionTerm, ("section_id", "term_id"), keyed=False)
    stored = set(stored_rows(SectionTerm, ("section_id", "term_id")))
    for row in plan.roster.classes:
        section = plan.sections.get(row.sourced_id)
        if section is None:
            continue
        named = [key for key in row.term_sourced_ids if key in plan.year_of_session]
        if named:
            plan.section_begins[row.sourced_id] = min(plan.span_of_session[key].starts_on for key in named)
        terms = dict.fromkeys(term for key in named for term in plan.terms_of_session.get(key, ()))
        if not terms:
            detail = f"None of the sessions of {quoted(row.title)} is a term that is imported; it is in no term."
            plan.log.note(
                "warning", PlanCode.CLASS_WITHOUT_TERM, detail, file=CLASSES, line=row.line, column="termSourcedIds"
            )
        for term in terms:
            if (section, term) in stored:
                change.unchanged += 1
            else:
                change.created.append((uuid7(), section, term))
