"""What a delta says is to be deleted: it ends here, as of today, and is never erased.

Enrolments, teaching, employments and guardians' links get an end; students leave, by a row of their history. What has
no end of its own (schools, sessions, courses, births) stays, and a finding says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from tenant_apps.academics.models import Enrolment, SectionTeacher
from tenant_apps.interop.oneroster.findings import quoted
from tenant_apps.interop.oneroster.layout import GUARDIAN_ROLES, STAFF_ROLES, STUDENT_ROLES
from tenant_apps.interop.roster.draft import Plan
from tenant_apps.interop.roster.findings import PlanCode
from tenant_apps.interop.roster.tables import TableChange, Values, stored_rows
from tenant_apps.school.models import Staff, Student, StudentGuardian

USERS, ROLES, CLASSES, ENROLLMENTS = "users.csv", "roles.csv", "classes.csv", "enrollments.csv"
KEPT = ("orgs.csv", "academicSessions.csv", "courses.csv", "demographics.csv")


class Leaver(NamedTuple):
    """Somebody to be taken out: `org` is the school that the role was held in, "" for all of them.

    `ended_on` is the end that the role itself has; None where it, or the person, is to be deleted: as of today.
    """

    sourced_id: str
    line: int
    file: str
    org: str
    ended_on: date | None = None


def leavers(plan: Plan, roles: frozenset[str]) -> Iterator[Leaver]:
    """Whose row in users.csv, or whose primary role out of `roles`, is to be deleted, and who holds no other one."""
    ended = plan.roster.ended
    for row in ended.get(USERS, ()):
        yield Leaver(row.sourced_id, row.line, USERS, "")
    still = {row.user_sourced_id for row in plan.roster.roles if row.role in roles}
    for row in ended.get(ROLES, ()):
        if row.role in roles and row.role_type != "secondary" and row.user_sourced_id not in still:
            yield Leaver(row.user_sourced_id, row.line, ROLES, row.org_sourced_id or "")


def students_gone(plan: Plan) -> set[str]:
    """The sourcedIds of those whose roles as a student have all ended."""
    held = [row for row in plan.roster.roles if row.role in STUDENT_ROLES]
    still = {row.user_sourced_id for row in held if row.end_date is None or row.end_date > plan.today}
    return {row.user_sourced_id for row in held} - still


def leaving_students(plan: Plan, gone: set[str]) -> dict[UUID, Leaver]:
    """Students whom the package takes out, by a deletion or, in a delta, by the end of their role (`gone`).

    A role at another school than theirs ends nothing here, nor does a secondary one.
    """
    over: list[Leaver] = []
    if ROLES in plan.roster.delta:
        over = [
            Leaver(row.user_sourced_id, row.line, ROLES, row.org_sourced_id, row.end_date)
            for row in sorted(plan.roster.roles, key=lambda row: row.end_date or date.max, reverse=True)
            if row.role in STUDENT_ROLES and row.role_type != "secondary" and row.user_sourced_id in gone
        ]
    campus_of: dict[UUID, UUID] = dict(stored_rows(Student, ("id", "campus_id"))) if plan.roster.ended or over else {}
    return _of_campus(plan, (*leavers(plan, STUDENT_ROLES), *over), plan.students, campus_of)


def plan_leaving_staff(plan: Plan) -> None:
    """Employments end today; those that have ended, or have an end before, stay as they are."""
    if not plan.roster.ended:
        return
    change = plan.change_of(Staff)
    stored = {row[0]: row[1:] for row in stored_rows(Staff, ("id", "campus_id", "employed_from", "employed_until"))}
    campus_of = {row_id: row[0] for row_id, row in stored.items()}
    for row_id, leaver in _of_campus(plan, leavers(plan, STAFF_ROLES), plan.staff, campus_of).items():
        _, begins, ends = stored[row_id]
        if ends is None or ends > plan.today:
            if begins is not None and begins >= plan.today:
                _not_closed(plan, leaver.sourced_id, begins, file=leaver.file, line=leaver.line)
                continue
            change.closed.append((row_id, plan.today))
        plan.leaving[row_id] = plan.today


def plan_leaving_guardians(plan: Plan, change: TableChange) -> None:
    """Links end today: of a deleted user all of them, of a deleted role those to the children at its school."""
    if not plan.roster.ended:
        return
    asked = {
        plan.guardians[leaver.sourced_id]: leaver
        for leaver in leavers(plan, GUARDIAN_ROLES)
        if leaver.sourced_id in plan.guardians
    }
    campus_of: dict[UUID, UUID] = dict(stored_rows(Student, ("id", "campus_id")))
    columns = ("id", "guardian_id", "student_id", "valid_from")
    where = "guardian_id = ANY(%s) AND (valid_until IS NULL OR valid_until > %s)"
    for row_id, guardian, student, begins in stored_rows(StudentGuardian, columns, where, [list(asked), plan.today]):
        leaver = asked[guardian]
        if leaver.org in plan.campus_of_org and plan.campus_of_org[leaver.org] != campus_of[student]:
            continue
        if begins is not None and begins >= plan.today:
            _not_closed(plan, leaver.sourced_id, begins, file=leaver.file, line=leaver.line)
            continue
        change.closed.append((row_id, plan.today))


def _of_campus(
    plan: Plan, found: Iterable[Leaver], people: dict[str, UUID], campus_of: dict[UUID, UUID]
) -> dict[UUID, Leaver]:
    leaving: dict[UUID, Leaver] = {}
    for leaver in found:
        row_id = people.get(leaver.sourced_id)
        campus = plan.campus_of_org.get(leaver.org)
        if row_id in campus_of and campus in (None, campus_of[row_id]):
            leaving.setdefault(row_id, leaver)
    return leaving


def ended_sections(plan: Plan) -> set[UUID]:
    """Classes to be deleted: nobody is in them from today on."""
    rows = plan.roster.ended.get(CLASSES, ())
    return {plan.sections[row.sourced_id] for row in rows if row.sourced_id in plan.sections}


def plan_ended_enrolments(plan: Plan, change: TableChange, named: set[str]) -> dict[UUID, date]:
    """End enrolments of one table that are to be deleted, or whose person or class is; the new end of each, by id.

    `named` are sourcedIds that the package has as active rows: they are as it says.
    """
    keys = {row.sourced_id: row.line for row in plan.roster.ended.get(ENROLLMENTS, ())}
    sections = ended_sections(plan)
    if not (keys or sections or plan.leaving):
        return {}
    person = "student_id" if change.model is Enrolment else "staff_id"
    ends: dict[UUID, date] = {}
    columns = ("id", "sourced_id", person, "starts_on", "ends_on")
    where = f"(sourced_id = ANY(%s) OR section_id = ANY(%s) OR {person} = ANY(%s))"
    parameters: list[Any] = [list(keys), list(sections), list(plan.leaving)]
    for row_id, key, who, starts_on, ends_on in stored_rows(change.model, columns, where, parameters):
        keys.pop(key, None)
        day = plan.leaving.get(who, plan.today)
        if key in named or (ends_on is not None and ends_on <= max(day, starts_on)):
            continue
        if starts_on >= day and change.model is SectionTeacher:
            _not_closed(plan, key or str(row_id), starts_on, file=ENROLLMENTS)
            continue
        # One that was planned and never came about holds no day.
        ends[row_id] = max(day, starts_on)
        change.closed.append((row_id, ends[row_id]))
    return ends


def report_kept(plan: Plan) -> None:
    """What is to be deleted and stays, and what isn't here; said once for each file."""
    for file in KEPT:
        rows: list[Any] = plan.roster.ended.get(file, [])
        if rows:
            detail = (
                f"{len(rows):,} rows are to be deleted. They have no end of their own and stay here: remove them by "
                "hand where nothing hangs on them."
            )
            plan.log.note("warning", PlanCode.NOT_DELETED, detail, file=file, line=rows[0].line, column="status")
    here = {
        USERS: (plan.students, plan.guardians, plan.staff),
        CLASSES: (plan.sections,),
    }
    for file, known in here.items():
        gone = [row for row in plan.roster.ended.get(file, ()) if not any(row.sourced_id in ids for ids in known)]
        if gone:
            _not_here(plan, file, len(gone), gone[0].line)
    nameless = [row for row in plan.roster.ended.get(ROLES, ()) if not row.user_sourced_id or not row.role]
    if nameless:
        detail = (
            f"{len(nameless):,} roles are to be deleted, but their rows don't say whose or which: fill in "
            "userSourcedId and role."
        )
        plan.log.note(
            "warning", PlanCode.NOT_DELETED, detail, file=ROLES, line=nameless[0].line, column="userSourcedId"
        )
    keys = [row.sourced_id for row in plan.roster.ended.get(ENROLLMENTS, ())]
    if keys:
        stored = {
            key
            for model in (Enrolment, SectionTeacher)
            for (key,) in stored_rows(model, ("sourced_id",), "sourced_id = ANY(%s)", [keys])
        }
        gone = [row for row in plan.roster.ended[ENROLLMENTS] if row.sourced_id not in stored]
        if gone:
            _not_here(plan, ENROLLMENTS, len(gone), gone[0].line)


def _not_here(plan: Plan, file: str, count: int, line: int) -> None:
    detail = f"{count:,} rows to be deleted are not here, so nothing ends by them."
    plan.log.note("warning", PlanCode.NOT_HERE, detail, file=file, line=line, column="sourcedId")


def _not_closed(plan: Plan, sourced_id: str, begins: date, *, file: str, line: int | None = None) -> None:
    detail = f"{quoted(sourced_id)} is to be deleted, but begins only on {begins}: change it by hand."
    plan.log.note("warning", PlanCode.NOT_CLOSED, detail, file=file, line=line, column="sourcedId")


def as_closed(values: Values, end: date) -> Values:
    """An enrolment's compared values (person, section, first day, end, ...) with another end."""
    return (*values[:3], end, *values[4:])
