"""OneRoster CSV as tables: files, columns in order, enumerations (1EdTech, CSV Binding 1.2.1; CSV Tables 1.1).

Every data file starts with `sourcedId,status,dateLastModified`. Only what is imported has its columns here;
the other files of the standard are known by name, so that a complete export is accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, NamedTuple, TypeVar

from tenant_apps.interop.oneroster import rows
from tenant_apps.interop.oneroster.cells import (
    Choice,
    Day,
    Email,
    Flag,
    Identifier,
    Kind,
    Moment,
    PersonsDay,
    References,
    Status,
    Text,
    Words,
    Year,
)

MANIFEST: Final = "manifest.csv"

# Values of the enumerations. Where the standard lets a vendor extend one, `ext:<name>` passes too.
ORG_TYPES: Final = frozenset({"department", "school", "district", "local", "state", "national"})
SESSION_TYPES: Final = frozenset({"gradingPeriod", "semester", "schoolYear", "term"})
CLASS_TYPES: Final = frozenset({"homeroom", "scheduled"})
ROLE_TYPES: Final = frozenset({"primary", "secondary"})
ENROLLMENT_ROLES: Final = frozenset({"administrator", "proctor", "student", "teacher"})
SEXES: Final = frozenset({"male", "female", "other", "unspecified"})

STUDENT_ROLES: Final = frozenset({"student"})
GUARDIAN_ROLES: Final = frozenset({"guardian", "parent", "relative"})
STAFF_ROLES: Final = frozenset(
    {
        "aide",
        "counselor",
        "districtAdministrator",
        "principal",
        "proctor",
        "siteAdministrator",
        "systemAdministrator",
        "teacher",
    }
)
ROLES: Final = STUDENT_ROLES | GUARDIAN_ROLES | STAFF_ROLES
# Version 1.1 has one word for all who administer, and one list of roles for people and for classes.
ADMINISTRATOR, ADMINISTRATOR_11 = "siteAdministrator", "administrator"
ROLES_11: Final = frozenset(
    {"administrator", "aide", "guardian", "parent", "proctor", "relative", "student", "teacher"}
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column after the three that every file starts with. `kind` None: read past, never kept."""

    header: str
    kind: Kind | None

    @property
    def required(self) -> bool:
        return self.kind is not None and self.kind.required


class Reference(NamedTuple):
    """`column` of a file names rows of `target` by their sourcedId."""

    column: str
    target: str


R = TypeVar("R", bound=tuple[Any, ...])


@dataclass(frozen=True)
class FileLayout(Generic[R]):
    """One file that is imported. `periods`: (begin, end, whether an empty one is refused), end exclusive."""

    file: str
    make: Callable[[Iterable[Any]], R]
    columns: tuple[Column, ...]
    references: tuple[Reference, ...] = ()
    periods: tuple[tuple[str, str, bool], ...] = ()

    @property
    def headers(self) -> tuple[str, ...]:
        return (*LEADING_HEADERS, *(column.header for column in self.columns))

    def place(self, header: str) -> int:
        """Where a typed row holds the value of `header`: after the line come the columns that are kept."""
        return 1 + (LEADING_HEADERS[0], *(column.header for column in self.columns if column.kind)).index(header)


LEADING_HEADERS: Final = ("sourcedId", "status", "dateLastModified")

# Identifiers and blank optional identifiers share one kind each: kinds hold no state.
ID: Final = Identifier(required=True)
OPTIONAL_ID: Final = Identifier()
NAME: Final = Text(required=True)
TEXT: Final = Text()
WORDS: Final = Words()
FLAG: Final = Flag()
DAY: Final = PersonsDay()
END: Final = PersonsDay(end=True)
STATUS: Final = Status(required=True)
MODIFIED: Final = Moment(required=True)

ORGS: Final = FileLayout(
    file="orgs.csv",
    make=rows.OrgRow._make,
    columns=(
        Column("name", NAME),
        Column("type", Choice(values=ORG_TYPES, required=True, extensible=True)),
        Column("identifier", TEXT),
        Column("parentSourcedId", OPTIONAL_ID),
    ),
    references=(Reference("parentSourcedId", "orgs.csv"),),
)

ACADEMIC_SESSIONS: Final = FileLayout(
    file="academicSessions.csv",
    make=rows.AcademicSessionRow._make,
    columns=(
        Column("title", NAME),
        Column("type", Choice(values=SESSION_TYPES, required=True, extensible=True)),
        Column("startDate", Day(required=True)),
        Column("endDate", Day(required=True)),
        Column("parentSourcedId", OPTIONAL_ID),
        Column("schoolYear", Year(required=True)),
    ),
    references=(Reference("parentSourcedId", "academicSessions.csv"),),
    periods=(("startDate", "endDate", True),),
)

COURSES: Final = FileLayout(
    file="courses.csv",
    make=rows.CourseRow._make,
    columns=(
        Column("schoolYearSourcedId", OPTIONAL_ID),
        Column("title", NAME),
        Column("courseCode", TEXT),
        Column("grades", WORDS),
        Column("orgSourcedId", ID),
        Column("subjects", WORDS),
        Column("subjectCodes", WORDS),
    ),
    references=(
        Reference("schoolYearSourcedId", "academicSessions.csv"),
        Reference("orgSourcedId", "orgs.csv"),
    ),
)

CLASSES: Final = FileLayout(
    file="classes.csv",
    make=rows.ClassRow._make,
    columns=(
        Column("title", NAME),
        Column("grades", WORDS),
        Column("courseSourcedId", ID),
        Column("classCode", TEXT),
        Column("classType", Choice(values=CLASS_TYPES, required=True, extensible=True)),
        Column("location", TEXT),
        Column("schoolSourcedId", ID),
        Column("termSourcedIds", References(required=True)),
        Column("subjects", WORDS),
        Column("subjectCodes", WORDS),
        Column("periods", WORDS),
    ),
    references=(
        Reference("courseSourcedId", "courses.csv"),
        Reference("schoolSourcedId", "orgs.csv"),
        Reference("termSourcedIds", "academicSessions.csv"),
    ),
)

USERS: Final = FileLayout(
    file="users.csv",
    make=rows.UserRow._make,
    columns=(
        Column("enabledUser", Flag(required=True)),
        Column("username", NAME),
        Column("userIds", WORDS),
        Column("givenName", NAME),
        Column("familyName", NAME),
        Column("middleName", TEXT),
        Column("identifier", TEXT),
        Column("email", Email()),
        Column("sms", TEXT),
        Column("phone", TEXT),
        Column("agentSourcedIds", References()),
        Column("grades", WORDS),
        Column("password", None),
        Column("userMasterIdentifier", TEXT),
        Column("preferredGivenName", TEXT),
        Column("preferredMiddleName", TEXT),
        Column("preferredFamilyName", TEXT),
        Column("primaryOrgSourcedId", OPTIONAL_ID),
        Column("pronouns", TEXT),
    ),
    references=(
        Reference("agentSourcedIds", "users.csv"),
        Reference("primaryOrgSourcedId", "orgs.csv"),
    ),
)

ROLES_FILE: Final = FileLayout(
    file="roles.csv",
    make=rows.RoleRow._make,
    columns=(
        Column("userSourcedId", ID),
        Column("roleType", Choice(values=ROLE_TYPES, required=True)),
        Column("role", Choice(values=ROLES, required=True, extensible=True)),
        Column("beginDate", DAY),
        Column("endDate", END),
        Column("orgSourcedId", ID),
        Column("userProfileSourcedId", OPTIONAL_ID),
    ),
    references=(
        Reference("userSourcedId", "users.csv"),
        Reference("orgSourcedId", "orgs.csv"),
    ),
    periods=(("beginDate", "endDate", False),),
)

ENROLLMENTS: Final = FileLayout(
    file="enrollments.csv",
    make=rows.EnrollmentRow._make,
    columns=(
        Column("classSourcedId", ID),
        Column("schoolSourcedId", ID),
        Column("userSourcedId", ID),
        Column("role", Choice(values=ENROLLMENT_ROLES, required=True, extensible=True)),
        Column("primary", FLAG),
        Column("beginDate", DAY),
        Column("endDate", END),
    ),
    references=(
        Reference("classSourcedId", "classes.csv"),
        Reference("schoolSourcedId", "orgs.csv"),
        Reference("userSourcedId", "users.csv"),
    ),
    periods=(("beginDate", "endDate", False),),
)

DEMOGRAPHICS: Final = FileLayout(
    file="demographics.csv",
    make=rows.DemographicsRow._make,
    columns=(
        Column("birthDate", DAY),
        Column("sex", Choice(values=SEXES)),
        Column("americanIndianOrAlaskaNative", FLAG),
        Column("asian", FLAG),
        Column("blackOrAfricanAmerican", FLAG),
        Column("nativeHawaiianOrOtherPacificIslander", FLAG),
        Column("white", FLAG),
        Column("demographicRaceTwoOrMoreRaces", FLAG),
        Column("hispanicOrLatinoEthnicity", FLAG),
        Column("countryOfBirthCode", TEXT),
        Column("stateOfBirthAbbreviation", TEXT),
        Column("cityOfBirth", TEXT),
        Column("publicSchoolResidenceStatus", TEXT),
    ),
    references=(Reference("sourcedId", "users.csv"),),
)

USERS_11: Final = FileLayout(
    file="users.csv",
    make=rows.UserRow11._make,
    columns=(
        Column("enabledUser", Flag(required=True)),
        Column("orgSourcedIds", References(required=True)),
        Column("role", Choice(values=ROLES_11, required=True, extensible=True)),
        *USERS.columns[1:13],  # username to password
    ),
    references=(
        Reference("agentSourcedIds", "users.csv"),
        Reference("orgSourcedIds", "orgs.csv"),
    ),
)

ENROLLMENTS_11: Final = replace(
    ENROLLMENTS,
    columns=tuple(
        Column("role", Choice(values=ROLES_11, required=True, extensible=True)) if column.header == "role" else column
        for column in ENROLLMENTS.columns
    ),
)

# In reading order: what is referred to comes before what refers to it.
IMPORTED: Final[tuple[FileLayout[Any], ...]] = (
    ORGS,
    ACADEMIC_SESSIONS,
    COURSES,
    CLASSES,
    USERS,
    ROLES_FILE,
    ENROLLMENTS,
    DEMOGRAPHICS,
)
IMPORTED_FILES: Final = tuple(layout.file for layout in IMPORTED)

# Accepted in an upload, read by nobody yet.
NOT_IMPORTED_FILES: Final = (
    "categories.csv",
    "classResources.csv",
    "courseResources.csv",
    "lineItemLearningObjectiveIds.csv",
    "lineItemScoreScales.csv",
    "lineItems.csv",
    "resources.csv",
    "resultLearningObjectiveIds.csv",
    "resultScoreScales.csv",
    "results.csv",
    "scoreScales.csv",
    "userProfiles.csv",
    "userResources.csv",
)
STANDARD_FILES: Final = IMPORTED_FILES + NOT_IMPORTED_FILES
FILES_11: Final = (
    "academicSessions.csv",
    "categories.csv",
    "classResources.csv",
    "classes.csv",
    "courseResources.csv",
    "courses.csv",
    "demographics.csv",
    "enrollments.csv",
    "lineItems.csv",
    "orgs.csv",
    "resources.csv",
    "results.csv",
    "users.csv",
)
