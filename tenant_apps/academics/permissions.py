"""What can be done to the things of this room."""

from shared_apps.core.permissions import PermissionCatalogue, subject


class AcademicsPermission(PermissionCatalogue):
    SUBJECT = subject("academics", "subject", "subjects")
    COURSE = subject("academics", "course", "courses")
    SECTION = subject("academics", "section", "sections")
    SECTION_TERM = subject("academics", "sectionterm", "terms of sections")
    SECTION_TEACHER = subject("academics", "sectionteacher", "teachers of sections")
    ENROLMENT = subject("academics", "enrolment", "enrolments")
