"""Users with their roles as students, guardians and staff, and who answers for whom.

A person with several roles has a row in each table, under one sourced_id. What the roster leaves blank stays as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from django.db import models

from shared_apps.core.ids import uuid7
from tenant_apps.interop.oneroster.findings import Code, quoted
from tenant_apps.interop.oneroster.layout import GUARDIAN_ROLES, STAFF_ROLES, STUDENT_ROLES
from tenant_apps.interop.oneroster.rows import RoleRow, UserRow
from tenant_apps.interop.roster.draft import Plan
from tenant_apps.interop.roster.ending import plan_leaving_guardians, plan_leaving_staff
from tenant_apps.interop.roster.findings import PlanCode
from tenant_apps.interop.roster.numbers import Claim, give_numbers, in_the_way, wishes_of
from tenant_apps.interop.roster.tables import Stored, length_of, stored_by_sourced_id, stored_rows
from tenant_apps.interop.roster.teaching import grade_key
from tenant_apps.school.models import Guardian, PersonDetails, Staff, Student, StudentGuardian
from tenant_apps.school.models.people import StudentState

USERS = "users.csv"
DEMOGRAPHICS = "demographics.csv"
PERSON = (
    ("given_name", "givenName"),
    ("middle_name", "middleName"),
    ("family_name", "familyName"),
    ("preferred_given_name", "preferredGivenName"),
    ("preferred_family_name", "preferredFamilyName"),
    ("pronouns", "pronouns"),
    ("email", "email"),
    ("phone", "phone"),
    ("mobile_phone", "sms"),
)
"""Columns of a person, and the headers that carry them."""
PERSON_COLUMNS = tuple(column for column, _ in PERSON)
FIELD_OF_HEADER = {
    header: "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in header) for _, header in PERSON
}
BLANK_USER: dict[str, Any] = dict.fromkeys(UserRow._fields, "") | {
    "enabled_user": True,
    "user_ids": (),
    "agent_sourced_ids": (),
    "grades": (),
}
STUDENT_COLUMNS = (
    *PERSON_COLUMNS, "birth_date", "sex", "birth_place", "student_number", "campus_id", "grade_level_id",
    "joined_on", "left_on", "state",
)  # fmt: skip
STAFF_COLUMNS = (*PERSON_COLUMNS, "staff_number", "campus_id", "position", "employed_from", "employed_until")
RELATIONS = {
    "guardian": StudentGuardian.Relation.GUARDIAN,
    "parent": StudentGuardian.Relation.PARENT,
    "relative": StudentGuardian.Relation.RELATIVE,
}


@dataclass(slots=True)
class Roles:
    """A user's roles by what they make of the person here; primary ones first."""

    student: list[RoleRow] = field(default_factory=list)
    guardian: list[RoleRow] = field(default_factory=list)
    staff: list[RoleRow] = field(default_factory=list)


def roles_of_users(rows: Iterable[RoleRow]) -> dict[str, Roles]:
    found: dict[str, Roles] = defaultdict(Roles)
    for row in sorted(rows, key=lambda row: (row.role_type != "primary", row.line)):
        if row.role in STUDENT_ROLES:
            found[row.user_sourced_id].student.append(row)
        elif row.role in GUARDIAN_ROLES:
            found[row.user_sourced_id].guardian.append(row)
        elif row.role in STAFF_ROLES:
            found[row.user_sourced_id].staff.append(row)
    return found


def plan_people(plan: Plan) -> None:
    """Students, guardians, staff and the links between students and guardians."""
    roles = roles_of_users(plan.roster.roles)
    users = [*plan.roster.users, *_known_by_roles(plan, roles)]
    _warn_of_disabled(plan)
    details = {row.sourced_id: _details(plan, row) for row in users}
    # In a delta a person's roles may be known from before: they are what they are here already.
    students = [row for row in users if roles[row.sourced_id].student or row.sourced_id in plan.students]
    guardians = [row for row in users if roles[row.sourced_id].guardian or row.sourced_id in plan.guardians]
    staff = [row for row in users if roles[row.sourced_id].staff or row.sourced_id in plan.staff]
    _plan_students(plan, students, roles, details)
    change = plan.table("guardians", Guardian, PERSON_COLUMNS)
    wanted = {row.sourced_id: details[row.sourced_id] for row in guardians}
    plan.guardians |= change.compare(wanted, stored_by_sourced_id(Guardian, PERSON_COLUMNS))
    _plan_staff(plan, staff, roles, details)
    _plan_links(plan, roles)
    _warn_of_roleless(plan)


def _known_by_roles(plan: Plan, roles: dict[str, Roles]) -> list[UserRow]:
    """Whom a delta gives a new role without a row in users.csv: what is known of them, from the role they have."""
    here: tuple[tuple[type[models.Model], dict[str, UUID], str], ...] = (
        (Student, plan.students, "student"),
        (Staff, plan.staff, "staff"),
        (Guardian, plan.guardians, "guardian"),
    )
    named = {row.sourced_id for row in plan.roster.users}
    asked = {
        key: held
        for key, held in roles.items()
        if key not in named and any(getattr(held, kind) and key not in ids for _, ids, kind in here)
    }
    found: dict[str, UserRow] = {}
    for model, ids, _ in here if asked else ():
        keys = [key for key in asked if key in ids and key not in found]
        for key, *values in stored_rows(model, ("sourced_id", *PERSON_COLUMNS), "sourced_id = ANY(%s)", [keys]):
            cells = {FIELD_OF_HEADER[header]: value for (_, header), value in zip(PERSON, values, strict=True)}
            line = min(row.line for row in (*asked[key].student, *asked[key].guardian, *asked[key].staff))
            found[key] = UserRow(**(BLANK_USER | cells | {"line": line, "sourced_id": key}))
    return list(found.values())


def _warn_of_roleless(plan: Plan) -> None:
    """Of bulk files the reader has told. A delta's user may have had a role all along."""
    if not plan.roster.delta:
        return
    for row in plan.roster.users:
        if not any(row.sourced_id in ids for ids in (plan.students, plan.guardians, plan.staff)):
            detail = "No row of roles.csv gives the person a role known here, so they are not imported: add one."
            plan.log.note("warning", Code.USER_WITHOUT_ROLE, detail, file=USERS, line=row.line, column="sourcedId")


def _warn_of_disabled(plan: Plan) -> None:
    disabled = [row for row in plan.roster.users if not row.enabled_user]
    if disabled:
        detail = (
            f"{len(disabled):,} users are not enabled. They are imported like the others; nobody's login and no "
            "student's state is changed by it."
        )
        plan.log.note(
            "warning", PlanCode.USERS_DISABLED, detail, file=USERS, line=disabled[0].line, column="enabledUser"
        )


LIMITS = {column: length_of(Student, column) for column in PERSON_COLUMNS}
NEEDED = ("given_name", "family_name")


def _details(plan: Plan, row: UserRow) -> tuple[str, ...]:
    """The values of PERSON_COLUMNS."""
    values = (
        row.given_name,
        row.middle_name,
        row.family_name,
        row.preferred_given_name,
        row.preferred_family_name,
        row.pronouns,
        row.email,
        row.phone,
        row.sms,
    )
    if all(len(value) <= limit for value, limit in zip(values, LIMITS.values(), strict=True)):
        return values
    return tuple(
        plan.log.fitting(value, LIMITS[column], file=USERS, line=row.line, column=header, needed=column in NEEDED)
        for value, (column, header) in zip(values, PERSON, strict=True)
    )


def _numbers(
    plan: Plan, model: type[models.Model], column: str, noun: str, rows: list[UserRow]
) -> tuple[dict[str, str], set[str]]:
    """The number of each row, and the sourcedIds of those whose present one another row takes over."""
    holders: dict[str, str | None] = dict(stored_rows(model, (column, "sourced_id")))
    limit = length_of(model, column)
    claims = (
        Claim(
            row.sourced_id,
            row.line,
            wishes_of(limit, sourced_id=row.sourced_id, identifier=row.identifier, username=row.username),
        )
        for row in rows
    )
    given = give_numbers(claims, holders=holders, noun=noun, file=USERS, log=plan.log)
    return given, in_the_way(given, holders)


def _campus(plan: Plan, row: UserRow, roles: list[RoleRow]) -> UUID | None:
    """The school of the person's role, else of their primary org."""
    orgs = (*(role.org_sourced_id for role in roles), row.primary_org_sourced_id)
    return next((plan.campus_of_org[org] for org in orgs if org in plan.campus_of_org), None)


def _plan_students(
    plan: Plan, rows: list[UserRow], roles: dict[str, Roles], details: dict[str, tuple[str, ...]]
) -> None:
    change = plan.table("students", Student, STUDENT_COLUMNS)
    stored = stored_by_sourced_id(Student, STUDENT_COLUMNS)
    numbers, parked = _numbers(plan, Student, "student_number", "student number", rows)
    births = _births(plan, [row.sourced_id for row in rows])
    begins = _first_days(plan, {row.sourced_id for row in rows} - stored.keys())
    file, column = plan.roster.place_of_roles
    wanted: dict[str, tuple[Any, ...]] = {}
    for row in rows:
        held = roles[row.sourced_id].student
        campus = _campus(plan, row, held)
        if campus is None and (row.sourced_id not in stored or not plan.roster.delta):
            detail = f"{quoted(held[0].org_sourced_id)} is no school and lies in none: name the student's school."
            plan.log.note("error", PlanCode.NO_CAMPUS, detail, file=file, line=held[0].line, column=column)
        grade = plan.grade_levels.get(grade_key(row.grades[0])) if row.grades else None
        wanted[row.sourced_id] = (
            *details[row.sourced_id],
            *births.get(row.sourced_id, (None, "", "")),
            numbers[row.sourced_id],
            campus,
            grade,
            *_membership(plan, held, stored.get(row.sourced_id), begins.get(row.sourced_id)),
        )
    _complete_births(plan, births, wanted, stored)
    plan.students |= change.compare(wanted, stored)
    change.parked = [plan.students[sourced_id] for sourced_id in sorted(parked)]


def _births(plan: Plan, students: list[str]) -> dict[str, tuple[date | None, str, str]]:
    """Birth date, sex and birth place, by sourcedId. What else the file says (race, residence) is not kept."""
    known = set(students)
    limit = length_of(PersonDetails, "birth_place")
    births: dict[str, tuple[date | None, str, str]] = {}
    for row in plan.roster.demographics:
        if row.sourced_id in known or row.sourced_id in plan.students:
            if row.birth_date is not None and row.birth_date > plan.today:
                detail = f"Nobody is born on {row.birth_date}, which is yet to come: correct the date, or leave it out."
                plan.log.note(
                    "error", PlanCode.BIRTH_DATE, detail, file=DEMOGRAPHICS, line=row.line, column="birthDate"
                )
            parts = (row.city_of_birth, row.state_of_birth_abbreviation, row.country_of_birth_code)
            place = ", ".join(part for part in parts if part)
            place = place if len(place) <= limit else row.city_of_birth[:limit]
            births[row.sourced_id] = (row.birth_date, row.sex, place)
    return births


def _complete_births(
    plan: Plan,
    births: dict[str, tuple[date | None, str, str]],
    wanted: dict[str, tuple[Any, ...]],
    stored: dict[str, Stored],
) -> None:
    """A delta may tell of a student's birth alone: all else is as it is."""
    if plan.roster.delta:
        at = STUDENT_COLUMNS.index("birth_date")
        for key, birth in births.items():
            if key not in wanted and key in stored:
                values = stored[key].values
                wanted[key] = (*values[:at], *birth, *values[at + len(birth) :])


def _first_days(plan: Plan, students: set[str]) -> dict[str, date]:
    """The first day of each student's earliest enrolment in the package."""
    found: dict[str, date] = {}
    for row in plan.roster.enrollments:
        if row.role == "student" and row.user_sourced_id in students:
            begin = row.begin_date or plan.section_begins.get(row.class_sourced_id)
            if begin is not None:
                found[row.user_sourced_id] = min(begin, found.get(row.user_sourced_id, begin))
    return found


def _membership(
    plan: Plan, held: list[RoleRow], stored: Stored | None, enrolled_from: date | None
) -> tuple[date | None, date | None, str]:
    """joined_on, left_on and state of a new student. Of one who is here they are the history's, not the roster's.

    Who has no first day of their own joined with their first enrolment: before it nobody has seen them here.
    """
    if stored is not None:
        return None, None, ""
    begins = [role.begin_date for role in held if role.begin_date]
    joined_on = min(begins) if begins else enrolled_from
    ends = [role.end_date for role in held]
    left_on = max((end for end in ends if end), default=None)
    if left_on is None or None in ends or left_on > plan.today:
        return joined_on, None, str(StudentState.ENROLLED)
    return joined_on if joined_on is None or joined_on < left_on else None, left_on, str(StudentState.LEFT)


def _plan_staff(plan: Plan, rows: list[UserRow], roles: dict[str, Roles], details: dict[str, tuple[str, ...]]) -> None:
    change = plan.table("staff", Staff, STAFF_COLUMNS, end="employed_until")
    stored = stored_by_sourced_id(Staff, STAFF_COLUMNS)
    numbers, parked = _numbers(plan, Staff, "staff_number", "staff number", rows)
    wanted = {}
    for row in rows:
        held = roles[row.sourced_id].staff
        wanted[row.sourced_id] = (
            *details[row.sourced_id],
            numbers[row.sourced_id],
            _campus(plan, row, held),
            *_employment(held, stored.get(row.sourced_id)),
        )
    plan.staff |= change.compare(wanted, stored)
    change.parked = [plan.staff[sourced_id] for sourced_id in sorted(parked)]
    plan_leaving_staff(plan)


def _employment(held: list[RoleRow], stored: Stored | None) -> tuple[str, date | None, date | None]:
    """Position, first day and end of a new member of staff; of one who is here they are kept by hand."""
    if stored is not None or not held:
        return "", None, None
    begins = [role.begin_date for role in held]
    ends = [role.end_date for role in held]
    words = "".join(f" {sign.lower()}" if sign.isupper() else sign for sign in held[0].role)
    return (
        words.capitalize(),
        None if None in begins else min(begin for begin in begins if begin),
        None if None in ends else max(end for end in ends if end),
    )


def _plan_links(plan: Plan, roles: dict[str, Roles]) -> None:
    """A link for each agent that is a guardian. Rights of a link that exists are the institution's own affair."""
    columns = ("student_id", "guardian_id", "relation", "custody", "may_see_records", "may_collect")
    change = plan.table("student_guardians", StudentGuardian, columns, keyed=False, end="valid_until")
    stored = set(stored_rows(StudentGuardian, ("student_id", "guardian_id")))
    met: set[tuple[UUID, UUID]] = set()  # a link may be named at both of its ends
    for row in plan.roster.users:
        for agent in row.agent_sourced_ids:
            pair = _student_and_guardian(plan, row.sourced_id, agent)
            if pair is None:
                detail = (
                    f"{quoted(agent)} and {quoted(row.sourced_id)} are not student and guardian, so they are not "
                    "linked: give the agent a role of guardian, parent or relative in roles.csv."
                )
                plan.log.note(
                    "warning",
                    PlanCode.AGENT_NOT_GUARDIAN,
                    detail,
                    file=USERS,
                    line=row.line,
                    column="agentSourcedIds",
                )
                continue
            link = (plan.students[pair[0]], plan.guardians[pair[1]])
            if link in met:
                continue
            met.add(link)
            if link in stored:
                change.unchanged += 1
            else:
                held = roles[pair[1]].guardian
                change.created.append(_new_link(link, held[0].role if held else "guardian"))

    plan_leaving_guardians(plan, change)


def _student_and_guardian(plan: Plan, one: str, other: str) -> tuple[str, str] | None:
    """Agents usually stand in the student's row; some systems name the children in the guardian's."""
    for student, guardian in ((one, other), (other, one)):
        if student in plan.students and guardian in plan.guardians:
            return student, guardian
    return None


def _new_link(link: tuple[UUID, UUID], role: str) -> tuple[Any, ...]:
    relation = RELATIONS[role]
    # A relative is somebody to call; custody and what follows from it is for the office to say.
    answers = relation != StudentGuardian.Relation.RELATIVE
    custody = StudentGuardian.Custody.FULL if answers else StudentGuardian.Custody.NONE
    return uuid7(), *link, str(relation), str(custody), answers, answers
