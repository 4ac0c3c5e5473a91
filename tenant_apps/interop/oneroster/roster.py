"""An upload as a whole: read, checked, and reduced to what can be imported."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tenant_apps.interop.oneroster import layout, validation
from tenant_apps.interop.oneroster.findings import Cause, Code, Finding, FindingLog
from tenant_apps.interop.oneroster.layout import FileLayout, R
from tenant_apps.interop.oneroster.manifest import Manifest, read_manifest
from tenant_apps.interop.oneroster.package import Limits, Package, PackageRefused, open_package
from tenant_apps.interop.oneroster.reader import Table, read_table
from tenant_apps.interop.oneroster.rows import (
    AcademicSessionRow,
    ClassRow,
    CourseRow,
    DemographicsRow,
    EnrollmentRow,
    OrgRow,
    RoleRow,
    UserRow,
    UserRow11,
)
from tenant_apps.interop.oneroster.validation import Outside

DEFAULT_LIMITS = Limits()
FILE_ORDER = [layout.MANIFEST, *layout.STANDARD_FILES]


@dataclass(slots=True)
class Roster:
    """The typed rows of an upload, and everything that was found in it.

    When `ok`, the rows are consistent: every reference is met by a row, sourcedIds are unique in their file,
    parents form no circle, and every user has a role from `layout.ROLES`. Users without one, roles and
    enrolments of a vendor's own (`ext:`), and periods without a day are left out, each with a warning.
    Otherwise the rows are those that could be read, good for counting only.

    Of the files in `delta` the rows are what has changed: `ended` are those to be deleted, by file, and `outside` what
    rows of the package refer to without its holding them. Only the institution can tell whether it does.
    """

    orgs: list[OrgRow] = field(default_factory=list)
    academic_sessions: list[AcademicSessionRow] = field(default_factory=list)
    courses: list[CourseRow] = field(default_factory=list)
    classes: list[ClassRow] = field(default_factory=list)
    users: list[UserRow] = field(default_factory=list)
    roles: list[RoleRow] = field(default_factory=list)
    enrollments: list[EnrollmentRow] = field(default_factory=list)
    demographics: list[DemographicsRow] = field(default_factory=list)
    delta: frozenset[str] = frozenset()
    ended: dict[str, list[Any]] = field(default_factory=dict)
    outside: list[Outside] = field(default_factory=list)
    version: str = ""
    findings: list[Finding] = field(default_factory=list)  # at most Limits.findings, by file and line
    causes: list[Cause] = field(default_factory=list)  # of all findings
    error_count: int = 0
    warning_count: int = 0
    not_imported: list[str] = field(default_factory=list)
    system_name: str = ""
    system_code: str = ""

    @property
    def ok(self) -> bool:
        return self.error_count == 0

    @property
    def place_of_roles(self) -> tuple[str, str]:
        """File and column in which a person's role names its org."""
        return ("users.csv", "orgSourcedIds") if self.version == "1.1" else ("roles.csv", "orgSourcedId")

    @property
    def counts(self) -> dict[str, int]:
        """File (without .csv) -> number of typed rows."""
        return {
            "orgs": len(self.orgs),
            "academicSessions": len(self.academic_sessions),
            "courses": len(self.courses),
            "classes": len(self.classes),
            "users": len(self.users),
            "roles": len(self.roles),
            "enrollments": len(self.enrollments),
            "demographics": len(self.demographics),
        }

    @property
    def errors(self) -> list[Finding]:
        return [found for found in self.findings if found.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        return [found for found in self.findings if found.severity == "warning"]


def read_roster(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> Roster:
    """Read and check the OneRoster CSV zip at `path`. Bad content never raises."""
    log = FindingLog(limits.findings)
    roster = Roster()
    try:
        with open_package(path, log, limits) as package:
            manifest = read_manifest(package, log, limits)
            roster.not_imported = sorted(manifest.not_imported)
            roster.system_name = manifest.system_name
            roster.system_code = manifest.system_code
            if manifest.readable:
                read_files(roster, package, manifest, log, limits)
    except PackageRefused as refusal:
        log.error(refusal.code, refusal.detail)
    roster.findings = log.shown(FILE_ORDER)
    roster.causes = log.causes
    roster.error_count = log.error_count
    roster.warning_count = log.warning_count
    return roster


def read_files(roster: Roster, package: Package, manifest: Manifest, log: FindingLog, limits: Limits) -> None:
    pool: dict[str, str] = {}
    roster.version, roster.delta = manifest.version, frozenset(manifest.delta)

    def table(of: FileLayout[R]) -> Table[R]:
        if of.file not in manifest.bulk and of.file not in manifest.delta:
            return Table(of)
        return read_table(package, of, log, pool, limits, delta=of.file in manifest.delta)

    orgs = table(layout.ORGS)
    sessions = table(layout.ACADEMIC_SESSIONS)
    courses = table(layout.COURSES)
    classes = table(layout.CLASSES)
    named: list[Table[Any]]
    if manifest.version == "1.1":
        users, roles = as_of_12(users_11 := table(layout.USERS_11))
        enrollments = table(layout.ENROLLMENTS_11)
        named = [orgs, sessions, courses, classes, users_11, enrollments]
    else:
        users, roles = table(layout.USERS), table(layout.ROLES_FILE)
        enrollments = table(layout.ENROLLMENTS)
        named = [orgs, sessions, courses, classes, users, roles, enrollments]
    demographics = table(layout.DEMOGRAPHICS)

    tables: dict[str, Table[Any]] = {each.layout.file: each for each in (*named, demographics)}
    roster.outside = validation.check_references(tables, manifest.refused, log, delta=bool(manifest.delta))
    validation.check_parents(orgs, log)
    validation.check_parents(sessions, log)
    validation.check_sessions(sessions, log)
    validation.check_agents(users, log)
    held = validation.check_roles(users, roles, log)
    if users.rows and not users.delta and not roles.present and roles.layout.file not in manifest.refused:
        log.error(
            Code.REFERENCE_FILE_ABSENT,
            "The manifest declares roles.csv absent, so nobody in users.csv has a role: add it and declare it bulk.",
            file=users.layout.file,
        )
    known = roles.intact and not roles.delta
    validation.check_enrollments(
        enrollments, classes, held if known else None, (row.sourced_id for row in users.rows), log
    )
    if enrollments.intact and not enrollments.delta and not classes.delta:
        validation.check_teachers(classes, enrollments, log)

    roster.orgs = orgs.rows
    roster.academic_sessions = sessions.rows
    roster.courses = courses.rows
    roster.classes = classes.rows
    roster.roles = [row for row in roles.rows if row.role in layout.ROLES]
    roster.enrollments = [row for row in enrollments.rows if row.role in layout.ENROLLMENT_ROLES]
    roster.users = users.rows
    roster.demographics = demographics.rows
    roster.ended = {file: each.ended for file, each in tables.items() if each.ended}
    if known:
        leave_out_roleless(roster, held)


def as_of_12(users: Table[UserRow11]) -> tuple[Table[UserRow], Table[RoleRow]]:
    """Users of version 1.1 as the two files of 1.2: a role in each of their orgs, the first of them primary."""
    people = _like(users, layout.USERS)
    # The roles stand in users.csv, and whatever is found of them is to be mended there.
    roles = _like(users, replace(layout.ROLES_FILE, file=layout.USERS_11.file))
    for row in users.rows:
        people.rows.append(_user_of_12(row))
        role = layout.ADMINISTRATOR if row.role == layout.ADMINISTRATOR_11 else row.role
        for place, org in enumerate(row.org_sourced_ids):
            held_as = "secondary" if place else "primary"
            roles.rows.append(
                RoleRow(row.line, f"{row.sourced_id}.{org}", row.sourced_id, held_as, role, None, None, org, "")
            )
    people.ended = [_user_of_12(row) for row in users.ended]
    return people, roles


def _like(users: Table[UserRow11], of: FileLayout[R]) -> Table[R]:
    """An empty table of what `users` was read from."""
    return Table(
        of,
        lines=users.lines,
        delta=users.delta,
        present=users.present,
        complete=users.complete,
        refused=users.refused,
    )


def _user_of_12(row: UserRow11) -> UserRow:
    given = row._asdict()
    return UserRow(
        **{name: given.get(name, "") for name in UserRow._fields if name != "primary_org_sourced_id"},
        primary_org_sourced_id=(row.org_sourced_ids or ("",))[0],
    )


def leave_out_roleless(roster: Roster, held: dict[str, set[str]]) -> None:
    """Take users without a role out of the roster, and what hangs on them: agents' links and demographics."""
    without = {row.sourced_id for row in roster.users if row.sourced_id not in held}
    if not without:
        return
    roster.users = [
        row
        if without.isdisjoint(row.agent_sourced_ids)
        else row._replace(agent_sourced_ids=tuple(agent for agent in row.agent_sourced_ids if agent not in without))
        for row in roster.users
        if row.sourced_id not in without
    ]
    roster.demographics = [row for row in roster.demographics if row.sourced_id not in without]
