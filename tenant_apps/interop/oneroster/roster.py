"""An upload as a whole: read, checked, and reduced to what can be imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenant_apps.interop.oneroster import layout, validation
from tenant_apps.interop.oneroster.findings import Code, Finding, FindingLog
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
)

DEFAULT_LIMITS = Limits()
FILE_ORDER = [layout.MANIFEST, *layout.STANDARD_FILES]


@dataclass(slots=True)
class Roster:
    """The typed rows of an upload, and everything that was found in it.

    When `ok`, the rows are consistent: every reference is met by a row, sourcedIds are unique in their file,
    parents form no circle, and every user has a role from `layout.ROLES`. Users without one, roles and
    enrolments of a vendor's own (`ext:`), and periods without a day are left out, each with a warning.
    Otherwise the rows are those that could be read, good for counting only.
    """

    orgs: list[OrgRow] = field(default_factory=list)
    academic_sessions: list[AcademicSessionRow] = field(default_factory=list)
    courses: list[CourseRow] = field(default_factory=list)
    classes: list[ClassRow] = field(default_factory=list)
    users: list[UserRow] = field(default_factory=list)
    roles: list[RoleRow] = field(default_factory=list)
    enrollments: list[EnrollmentRow] = field(default_factory=list)
    demographics: list[DemographicsRow] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)  # at most Limits.findings, by file and line
    error_count: int = 0
    warning_count: int = 0
    not_imported: list[str] = field(default_factory=list)
    system_name: str = ""
    system_code: str = ""

    @property
    def ok(self) -> bool:
        return self.error_count == 0

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
    """Read and check the OneRoster CSV 1.2 bulk zip at `path`. Bad content never raises."""
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
    roster.error_count = log.error_count
    roster.warning_count = log.warning_count
    return roster


def read_files(roster: Roster, package: Package, manifest: Manifest, log: FindingLog, limits: Limits) -> None:
    pool: dict[str, str] = {}

    def table(of: FileLayout[R]) -> Table[R]:
        if of.file not in manifest.bulk:
            return Table(of)
        return read_table(package, of, log, pool, limits)

    orgs = table(layout.ORGS)
    sessions = table(layout.ACADEMIC_SESSIONS)
    courses = table(layout.COURSES)
    classes = table(layout.CLASSES)
    users = table(layout.USERS)
    roles = table(layout.ROLES_FILE)
    enrollments = table(layout.ENROLLMENTS)
    demographics = table(layout.DEMOGRAPHICS)

    tables: dict[str, Table[Any]] = {
        each.layout.file: each for each in (orgs, sessions, courses, classes, users, roles, enrollments, demographics)
    }
    validation.check_references(tables, manifest.refused, log)
    validation.check_parents(orgs, log)
    validation.check_parents(sessions, log)
    validation.check_sessions(sessions, log)
    validation.check_agents(users, log)
    held = validation.check_roles(users, roles, log)
    if users.rows and not roles.present and roles.layout.file not in manifest.refused:
        log.error(
            Code.REFERENCE_FILE_ABSENT,
            "The manifest declares roles.csv absent, so nobody in users.csv has a role: add it and declare it bulk.",
            file=users.layout.file,
        )
    validation.check_enrollments(
        enrollments, classes, held if roles.intact else None, (row.sourced_id for row in users.rows), log
    )
    if enrollments.intact:
        validation.check_teachers(classes, enrollments, log)

    roster.orgs = orgs.rows
    roster.academic_sessions = sessions.rows
    roster.courses = courses.rows
    roster.classes = classes.rows
    roster.roles = [row for row in roles.rows if row.role in layout.ROLES]
    roster.enrollments = [row for row in enrollments.rows if row.role in layout.ENROLLMENT_ROLES]
    roster.users = users.rows
    roster.demographics = demographics.rows
    if roles.intact:
        leave_out_roleless(roster, held)


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
