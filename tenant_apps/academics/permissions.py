"""What can be done to the things of this room."""

from shared_apps.core.permissions import CRUD, PermissionCatalogue, subject

TABLES = f"{CRUD} export import"


class AcademicsPermission(PermissionCatalogue):
    SUBJECT = subject("academics", "subject", "subjects", TABLES)
    COURSE = subject("academics", "course", "courses", TABLES)
    SECTION = subject("academics", "section", "sections", TABLES)
    SECTION_TERM = subject("academics", "sectionterm", "terms of sections", f"{CRUD} export")
    SECTION_TEACHER = subject("academics", "sectionteacher", "teachers of sections", f"{CRUD} export")
    ENROLMENT = subject("academics", "enrolment", "enrolments", TABLES)


REFERENCE = (AcademicsPermission.SUBJECT, AcademicsPermission.COURSE)
"""What is offered; it says nothing of anybody."""
