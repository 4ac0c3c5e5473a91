"""The institution, its places, its calendar and its people."""

from tenant_apps.school.models.calendar import AcademicYear, Term
from tenant_apps.school.models.departments import Department
from tenant_apps.school.models.people import (
    Guardian,
    PersonDetails,
    Staff,
    Student,
    StudentGuardian,
    StudentStatus,
)
from tenant_apps.school.models.places import Campus, GradeLevel, Institution, Room

__all__ = [
    "AcademicYear",
    "Campus",
    "Department",
    "GradeLevel",
    "Guardian",
    "Institution",
    "PersonDetails",
    "Room",
    "Staff",
    "Student",
    "StudentGuardian",
    "StudentStatus",
    "Term",
]
