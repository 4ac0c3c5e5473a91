"""Rows against rows: references across files, cycles, roles, overlaps. Runs when every file has been read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import chain
from typing import Any, NamedTuple

from tenant_apps.interop.oneroster.findings import Code, FindingLog, quoted
from tenant_apps.interop.oneroster.layout import ROLES, STAFF_ROLES, STUDENT_ROLES, Reference
from tenant_apps.interop.oneroster.reader import Table
from tenant_apps.interop.oneroster.rows import (
    AcademicSessionRow,
    ClassRow,
    EnrollmentRow,
    OrgRow,
    RoleRow,
    UserRow,
)

# Which of a person's roles lets them be enrolled in which role of a class.
ROLES_FOR_ENROLLMENT = {
    "student": STUDENT_ROLES,
    "teacher": STAFF_ROLES,
    "administrator": STAFF_ROLES,
    "proctor": STAFF_ROLES,
}
NOT_YET, RUNNING, DONE = 0, 1, 2


class Outside(NamedTuple):
    """What a row (the first that does, on `line`) names as a row of `target`, and the package does not hold."""

    file: str
    line: int
    column: str
    target: str
    sourced_id: str


def check_references(
    tables: dict[str, Table[Any]], unclear: set[str], log: FindingLog, *, delta: bool
) -> list[Outside]:
    """Every reference of every row that was read. `unclear`: files about which a finding already speaks.

    In a package with a delta file, rows that it lacks may be in the institution: those references are the answer.
    """
    outside: list[Outside] = []
    for table in tables.values():
        for reference in table.layout.references:
            target = tables[reference.target]
            if reference.target in unclear or (target.present and not target.complete):
                continue
            place = table.layout.place(reference.column)
            if target.delta or (delta and not target.present):
                outside += left_outside(table, reference, place, target)
            elif target.present:
                report_dangling(table, reference, place, target, log)
            else:
                report_absent(table, reference, place, log)
    return outside


def left_outside(table: Table[Any], reference: Reference, place: int, target: Table[Any]) -> Iterator[Outside]:
    cells = [row[place] for row in table.rows]
    missing = named_ids(cells) - target.lines.keys() - {""}
    for row, cell in zip(table.rows, cells, strict=True):
        for sourced_id in (cell,) if isinstance(cell, str) else cell:
            if sourced_id in missing:
                missing.remove(sourced_id)
                yield Outside(table.layout.file, row.line, reference.column, reference.target, sourced_id)


def report_dangling(table: Table[Any], reference: Reference, place: int, target: Table[Any], log: FindingLog) -> None:
    cells = [row[place] for row in table.rows]
    missing = named_ids(cells) - target.lines.keys() - {""}
    if not missing:
        return
    for row, cell in zip(table.rows, cells, strict=True):
        for sourced_id in (cell,) if isinstance(cell, str) else cell:
            if sourced_id in missing:
                log.error(
                    Code.DANGLING_REFERENCE,
                    f"{quoted(sourced_id)} is no sourcedId of {reference.target}: correct it, or add that row there.",
                    file=table.layout.file,
                    line=row.line,
                    column=reference.column,
                )


def report_absent(table: Table[Any], reference: Reference, place: int, log: FindingLog) -> None:
    naming = [row for row in table.rows if row[place]]
    if naming:
        log.error(
            Code.REFERENCE_FILE_ABSENT,
            f"{len(naming):,} rows name rows of {reference.target}, which the manifest declares absent: "
            "add that file to the zip and declare it bulk.",
            file=table.layout.file,
            line=naming[0].line,
            column=reference.column,
        )


def named_ids(cells: Sequence[str | tuple[str, ...]]) -> set[str]:
    """All identifiers in a column of references or of lists of references."""
    distinct = set(cells)
    return set(chain.from_iterable((cell,) if isinstance(cell, str) else cell for cell in distinct))


def check_parents(table: Table[OrgRow] | Table[AcademicSessionRow], log: FindingLog) -> None:
    """No row is its own ancestor. One finding a cycle, at the row of it that was met first."""
    rows: dict[str, OrgRow | AcademicSessionRow] = {row.sourced_id: row for row in table.rows}
    state = dict.fromkeys(rows, NOT_YET)
    for start in rows:
        path: list[str] = []
        here = start
        while here in rows and state[here] == NOT_YET:
            state[here] = RUNNING
            path.append(here)
            here = rows[here].parent_sourced_id
        if here in rows and state[here] == RUNNING:
            cycle = [*path[path.index(here) :], here]
            shown = " → ".join(cycle if len(cycle) <= 6 else [*cycle[:5], "…", here])
            log.error(
                Code.REFERENCE_CYCLE,
                f"The parents run in a circle: {shown}. Give one of them another parent, or none.",
                file=table.layout.file,
                line=rows[here].line,
                column="parentSourcedId",
            )
        state.update(dict.fromkeys(path, DONE))


def check_sessions(table: Table[AcademicSessionRow], log: FindingLog) -> None:
    """Warn of sessions of one type, school year and parent that share days; real exports have them."""
    groups: dict[tuple[str, int, str], list[AcademicSessionRow]] = defaultdict(list)
    for row in table.rows:
        groups[row.type, row.school_year, row.parent_sourced_id].append(row)
    for group in groups.values():
        group.sort(key=lambda row: (row.start_date, row.line))
        last = group[0]
        for row in group[1:]:
            if row.start_date < last.end_date:
                log.warning(
                    Code.SESSIONS_OVERLAP,
                    f"{quoted(row.title)} begins on {row.start_date}, before {quoted(last.title)} (line "
                    f"{last.line}) "
                    f"ends on {last.end_date}: they share days.",
                    file=table.layout.file,
                    line=row.line,
                    column="startDate",
                )
            if row.end_date > last.end_date:
                last = row


def check_agents(users: Table[UserRow], log: FindingLog) -> None:
    for row in users.rows:
        if row.sourced_id in row.agent_sourced_ids:
            log.error(
                Code.REFERENCE_SELF,
                "The person is named as their own agent (guardian): name somebody else, or nobody.",
                file=users.layout.file,
                line=row.line,
                column="agentSourcedIds",
            )


def check_roles(users: Table[UserRow], roles: Table[RoleRow], log: FindingLog) -> dict[str, set[str]]:
    """The known roles of each user. Warns of users without one, foreign roles and doubtful primaries."""
    held: dict[str, set[str]] = defaultdict(set)
    primaries: dict[str, dict[str, int]] = defaultdict(dict)
    foreign: dict[str, int] = {}
    for row in roles.rows:
        if row.role not in ROLES:
            foreign.setdefault(row.role, row.line)
            continue
        held[row.user_sourced_id].add(row.role)
        if row.role_type != "primary":
            continue
        first = primaries[row.user_sourced_id].setdefault(row.org_sourced_id, row.line)
        if first != row.line:
            log.warning(
                Code.PRIMARY_ROLE,
                f"{quoted(row.user_sourced_id)} has another primary role in the same org on line {first}; "
                "the standard allows one.",
                file=roles.layout.file,
                line=row.line,
                column="roleType",
            )
    for role, line in foreign.items():
        log.warning(
            Code.ROLE_UNKNOWN,
            f"The role {quoted(role)} means nothing here; rows with it are not imported.",
            file=roles.layout.file,
            line=line,
            column="role",
        )
    if roles.intact and not roles.delta:
        report_roleless(users, held, primaries, log)
    return held


def report_roleless(
    users: Table[UserRow], held: dict[str, set[str]], primaries: dict[str, dict[str, int]], log: FindingLog
) -> None:
    for row in users.rows:
        if row.sourced_id in primaries:
            continue
        if row.sourced_id in held:
            code = Code.PRIMARY_ROLE
            detail = "The person has no primary role in roles.csv; the standard asks for one in each org."
        else:
            code = Code.USER_WITHOUT_ROLE
            detail = "No row of roles.csv gives the person a role known here, so they are not imported: add one."
        log.warning(code, detail, file=users.layout.file, line=row.line, column="sourcedId")


def check_enrollments(
    enrollments: Table[EnrollmentRow],
    classes: Table[ClassRow],
    held: dict[str, set[str]] | None,
    known_users: Iterable[str],
    log: FindingLog,
) -> None:
    """Enrolments against classes, persons and one another. `held` is None when the roles aren't known."""
    file = enrollments.layout.file
    school_of = {row.sourced_id: row.school_sourced_id for row in classes.rows}
    users = set(known_users)
    fitting = {
        role: {user for user, roles in (held or {}).items() if not roles.isdisjoint(wanted)}
        for role, wanted in ROLES_FOR_ENROLLMENT.items()
    }
    foreign: dict[str, int] = {}
    first_of: dict[tuple[str, str, str], EnrollmentRow] = {}
    repeated: dict[tuple[str, str, str], list[EnrollmentRow]] = {}
    for row in enrollments.rows:
        fit = fitting.get(row.role)
        if fit is None:
            foreign.setdefault(row.role, row.line)
            continue
        if held is not None and row.user_sourced_id not in fit and row.user_sourced_id in users:
            log.error(
                Code.ENROLLMENT_ROLE,
                f"{quoted(row.user_sourced_id)} is enrolled as {row.role}, but has no such role in "
                f"roles.csv: "
                f"add a row there, with {' or '.join(sorted(ROLES_FOR_ENROLLMENT[row.role]))}.",
                file=file,
                line=row.line,
                column="role",
            )
        school = school_of.get(row.class_sourced_id)
        if school is not None and school != row.school_sourced_id:
            log.warning(
                Code.ENROLLMENT_SCHOOL,
                f"{quoted(row.school_sourced_id)} is not the school of the class, {quoted(school)}, which counts.",
                file=file,
                line=row.line,
                column="schoolSourcedId",
            )
        key = (row.class_sourced_id, row.user_sourced_id, row.role)
        first = first_of.setdefault(key, row)
        if first is not row:
            repeated.setdefault(key, [first]).append(row)
    for role, line in foreign.items():
        log.warning(
            Code.ROLE_UNKNOWN,
            f"The role {quoted(role)} means nothing here; enrolments with it are not imported.",
            file=file,
            line=line,
            column="role",
        )
    for same in repeated.values():
        report_overlaps(same, file, log)


def report_overlaps(same: list[EnrollmentRow], file: str, log: FindingLog) -> None:
    """Enrolments of one person in one class and role that share days. A blank date is open on its side."""
    same.sort(key=lambda row: (row.begin_date or date.min, row.line))
    last = same[0]
    for row in same[1:]:
        if (row.begin_date or date.min) < (last.end_date or date.max):
            log.error(
                Code.ENROLLMENT_OVERLAP,
                f"{quoted(row.user_sourced_id)} is enrolled in {quoted(row.class_sourced_id)} as "
                f"{row.role} also by "
                f"line {last.line}, for the same days: keep one row, or part the dates.",
                file=file,
                line=row.line,
                column="userSourcedId",
            )
        if (row.end_date or date.max) > (last.end_date or date.max):
            last = row


def check_teachers(classes: Table[ClassRow], enrollments: Table[EnrollmentRow], log: FindingLog) -> None:
    taught = {row.class_sourced_id for row in enrollments.rows if row.role == "teacher"}
    for row in classes.rows:
        if row.sourced_id not in taught:
            log.warning(
                Code.CLASS_WITHOUT_TEACHER,
                f"Nobody is enrolled as teacher of {quoted(row.title)}.",
                file=classes.layout.file,
                line=row.line,
                column="sourcedId",
            )
