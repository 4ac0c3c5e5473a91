"""What can be done to the things of this room."""

from shared_apps.core.permissions import PermissionCatalogue, subject


class SchoolPermission(PermissionCatalogue):
    INSTITUTION = subject("school", "institution", "institution profile", "view change")
    CAMPUS = subject("school", "campus", "campuses")
    ROOM = subject("school", "room", "rooms")
    GRADE_LEVEL = subject("school", "gradelevel", "grade levels")
    ACADEMIC_YEAR = subject("school", "academicyear", "academic years")
    TERM = subject("school", "term", "terms")
    STUDENT = subject("school", "student", "students")
    STUDENT_STATUS = subject("school", "studentstatus", "student statuses", "view")
    GUARDIAN = subject("school", "guardian", "guardians")
    STUDENT_GUARDIAN = subject("school", "studentguardian", "links of guardians to students")
    STAFF = subject("school", "staff", "staff")


REFERENCE = (
    SchoolPermission.INSTITUTION,
    SchoolPermission.CAMPUS,
    SchoolPermission.ROOM,
    SchoolPermission.GRADE_LEVEL,
    SchoolPermission.ACADEMIC_YEAR,
    SchoolPermission.TERM,
)
"""What everybody of the institution may look up."""
