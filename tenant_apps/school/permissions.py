"""What can be done to the things of this room."""

from shared_apps.core.permissions import CRUD, PermissionCatalogue, subject

TABLES = f"{CRUD} export import"


class SchoolPermission(PermissionCatalogue):
    INSTITUTION = subject("school", "institution", "institution profile", "view change export")
    CAMPUS = subject("school", "campus", "campuses", TABLES)
    ROOM = subject("school", "room", "rooms", TABLES)
    GRADE_LEVEL = subject("school", "gradelevel", "grade levels", TABLES)
    ACADEMIC_YEAR = subject("school", "academicyear", "academic years", TABLES)
    TERM = subject("school", "term", "terms", TABLES)
    STUDENT = subject("school", "student", "students", TABLES)
    STUDENT_STATUS = subject("school", "studentstatus", "student statuses", "view export")
    GUARDIAN = subject("school", "guardian", "guardians", TABLES)
    STUDENT_GUARDIAN = subject("school", "studentguardian", "links of guardians to students", TABLES)
    STAFF = subject("school", "staff", "staff", TABLES)
    ENTITLEMENT = subject("school", "entitlement", "limits of the institution", "view")
    DEPARTMENT = subject("school", "department", "departments", TABLES)


REFERENCE = (
    SchoolPermission.INSTITUTION,
    SchoolPermission.CAMPUS,
    SchoolPermission.ROOM,
    SchoolPermission.GRADE_LEVEL,
    SchoolPermission.ACADEMIC_YEAR,
    SchoolPermission.TERM,
)
"""What everybody of the institution may look up."""
