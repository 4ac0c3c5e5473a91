"""/api/v1/school/: the institution, its places, its calendar and its people."""

from typing import Any

from django.db import models
from rest_framework import serializers

from shared_apps.core.api import CONTAINS, EVERYONE, EXACT, RANGE, REGISTERED, Body, ResourceViewSet, verb
from shared_apps.core.permissions import Scope
from tenant_apps.accounts.services import demand_may_link_logins
from tenant_apps.school import services
from tenant_apps.school.models import (
    AcademicYear,
    Campus,
    Department,
    GradeLevel,
    Guardian,
    Institution,
    Room,
    Staff,
    Student,
    StudentGuardian,
    StudentStatus,
    Term,
)
from tenant_apps.school.models.people import SEARCHED, StudentState
from tenant_apps.school.permissions import SchoolPermission

# `notes` are left out: they are for the office, and whoever sees a row sees all of its columns.
PERSON = (
    "given_name",
    "middle_name",
    "family_name",
    "preferred_given_name",
    "preferred_family_name",
    "birth_date",
    "sex",
    "pronouns",
    "email",
    "phone",
    "mobile_phone",
    "language",
    "nationality",
    "birth_place",
    "user",
    "sourced_id",
)
PERSON_FILTERS = {
    "given_name": CONTAINS,
    "family_name": CONTAINS,
    "birth_date": RANGE,
    "email": EXACT,
    "user": EXACT,
    "sourced_id": EXACT,
}
PERSON_EXAMPLE = {"given_name": "Zoë", "family_name": "Ångström", "birth_date": "2014-03-09", "language": "sv"}


def _check_link(view: ResourceViewSet, values: dict[str, Any], present: Any = None) -> None:
    """A write that changes a person's login is also a gift of rights, and needs the permission for that."""
    if values.get("user", present) != present:
        demand_may_link_logins(by=view.principal)


class InstitutionViewSet(ResourceViewSet):
    """The institution's profile: exactly one."""

    queryset = Institution.objects.all()
    permission = SchoolPermission.INSTITUTION
    scopes = EVERYONE
    fields = ("name", "short_name", "kind", "language", "currency", "time_zone", "country", "sourced_id")
    ordering = ("name",)
    actions = "view change"

    def update(self, record: models.Model, **values: Any) -> None:
        services.change_profile(profile=record, values=values)


class CampusViewSet(ResourceViewSet):
    """Sites of the institution."""

    queryset = Campus.objects.all()
    permission = SchoolPermission.CAMPUS
    key = ("code",)
    importable = True
    scopes = EVERYONE
    fields = (
        "code",
        "name",
        "address_line1",
        "address_line2",
        "postal_code",
        "city",
        "region",
        "country",
        "phone",
        "email",
        "sourced_id",
    )
    filters = {"code": EXACT, "city": EXACT, "sourced_id": EXACT}
    search = ("code", "name", "city")
    ordering = ("name",)
    orderable = ("name", "code", "created_at")


class RoomViewSet(ResourceViewSet):
    """Rooms of the campuses."""

    queryset = Room.objects.all()
    permission = SchoolPermission.ROOM
    key = ("campus", "name")
    importable = True
    scopes = EVERYONE
    fields = ("campus", "name", "capacity")
    includes = ("campus",)
    filters = {"campus": EXACT, "capacity": RANGE}
    search = ("name",)
    ordering = ("name",)
    orderable = ("name", "created_at")


class GradeLevelViewSet(ResourceViewSet):
    """Grade levels, the lowest first."""

    queryset = GradeLevel.objects.all()
    permission = SchoolPermission.GRADE_LEVEL
    key = ("code",)
    importable = True
    scopes = EVERYONE
    fields = ("code", "name", "position")
    filters = {"code": EXACT}
    search = ("code", "name")
    ordering = ("position",)
    orderable = ("position", "code", "name")


class AcademicYearViewSet(ResourceViewSet):
    """School years; `ends_on` is the first day after the year."""

    queryset = AcademicYear.objects.all()
    permission = SchoolPermission.ACADEMIC_YEAR
    importable = True
    scopes = EVERYONE
    fields = ("name", "starts_on", "ends_on", "sourced_id")
    filters = {"starts_on": RANGE, "ends_on": RANGE, "sourced_id": EXACT}
    search = ("name",)
    ordering = ("starts_on",)
    orderable = ("starts_on", "name")


class TermViewSet(ResourceViewSet):
    """Terms, semesters and grading periods; `ends_on` is the first day after. Those of one kind do not overlap."""

    queryset = Term.objects.all()
    permission = SchoolPermission.TERM
    importable = True
    scopes = EVERYONE
    fields = ("academic_year", "parent", "kind", "name", "starts_on", "ends_on", "sourced_id")
    includes = ("academic_year", "parent")
    filters = {"academic_year": EXACT, "parent": EXACT, "kind": EXACT, "starts_on": RANGE, "ends_on": RANGE}
    search = ("name",)
    ordering = ("starts_on",)
    orderable = ("starts_on", "name")

    def make(self, **values: Any) -> Term:
        return services.save_term(term=Term(), values=values)

    def update(self, record: models.Model, **values: Any) -> None:
        assert isinstance(record, Term)
        services.save_term(term=record, values=values)


class ChangeState(Body):
    to = serializers.ChoiceField(choices=StudentState.choices)
    on = serializers.DateField(help_text="The first day of the new state.")
    reason = serializers.CharField(max_length=300, allow_blank=True, default="")


class StudentViewSet(ResourceViewSet):
    """Students of the institution."""

    queryset = Student.objects.all()
    permission = SchoolPermission.STUDENT
    key = ("student_number",)
    importable = True
    scopes = {
        Scope.CAMPUS: "campus",
        Scope.SECTION: REGISTERED,
        Scope.OWN_CHILDREN: REGISTERED,
        Scope.SELF: "user",
    }
    fields = ("student_number", *PERSON, "campus", "grade_level", "state", "joined_on", "left_on")
    read_only = ("state", "left_on")
    includes = ("campus", "grade_level")
    filters = {
        **PERSON_FILTERS,
        "student_number": EXACT,
        "campus": EXACT,
        "grade_level": EXACT,
        "state": EXACT,
        "joined_on": RANGE,
        "left_on": RANGE,
    }
    search = (*SEARCHED, "student_number")
    ordering = ("family_name", "given_name")
    orderable = ("family_name", "given_name", "student_number", "birth_date", "joined_on", "left_on", "created_at")
    example = {**PERSON_EXAMPLE, "student_number": "S-1042", "state": "enrolled"}

    def make(self, **values: Any) -> Student:
        _check_link(self, values)
        return services.register_student(**values)

    def update(self, record: models.Model, **values: Any) -> None:
        assert isinstance(record, Student)
        _check_link(self, values, record.user)
        super().update(record, **values)

    @verb(action="change", body=ChangeState)
    def change_state(self, student: Student, *, to: str, on: Any, reason: str) -> None:
        """Write the next state into the student's history."""
        services.change_student_state(student=student, to=to, on=on, reason=reason)


class StudentStatusViewSet(ResourceViewSet):
    """The history of students' states. It grows by the student's verb change-state."""

    queryset = StudentStatus.objects.all()
    permission = SchoolPermission.STUDENT_STATUS
    scopes = {
        Scope.CAMPUS: "student__campus",
        Scope.SECTION: REGISTERED,
        Scope.OWN_CHILDREN: REGISTERED,
        Scope.SELF: "student__user",
    }
    fields = ("student", "state", "starts_on", "ends_on", "reason")
    includes = ("student",)
    filters = {"student": EXACT, "state": EXACT, "starts_on": RANGE, "ends_on": RANGE}
    ordering = ("starts_on",)
    orderable = ("starts_on", "created_at")
    actions = "view"


class GuardianViewSet(ResourceViewSet):
    """Those who answer for students; what they may do is said per child in student-guardians."""

    queryset = Guardian.objects.all()
    permission = SchoolPermission.GUARDIAN
    importable = True
    scopes = {
        Scope.CAMPUS: REGISTERED,
        Scope.SECTION: REGISTERED,
        Scope.OWN_CHILDREN: REGISTERED,
        Scope.SELF: "user",
    }
    fields = PERSON
    filters = PERSON_FILTERS
    search = SEARCHED
    ordering = ("family_name", "given_name")
    orderable = ("family_name", "given_name", "created_at")
    example = PERSON_EXAMPLE

    def make(self, **values: Any) -> models.Model:
        _check_link(self, values)
        return super().make(**values)

    def update(self, record: models.Model, **values: Any) -> None:
        assert isinstance(record, Guardian)
        _check_link(self, values, record.user)
        super().update(record, **values)


class StudentGuardianViewSet(ResourceViewSet):
    """What a guardian is to a child and may, from `valid_from` to `valid_until` (exclusive)."""

    queryset = StudentGuardian.objects.all()
    permission = SchoolPermission.STUDENT_GUARDIAN
    key = ("student", "guardian")
    importable = True
    scopes = {Scope.CAMPUS: "student__campus", Scope.SECTION: REGISTERED, Scope.OWN_CHILDREN: REGISTERED}
    fields = (
        "student",
        "guardian",
        "relation",
        "custody",
        "may_see_records",
        "may_collect",
        "pays",
        "call_order",
        "valid_from",
        "valid_until",
    )
    includes = ("student", "guardian")
    filters = {"student": EXACT, "guardian": EXACT, "relation": EXACT, "custody": EXACT, "may_collect": EXACT}
    ordering = ("call_order",)
    orderable = ("call_order", "created_at")


class StaffViewSet(ResourceViewSet):
    """Those who work at the institution."""

    queryset = Staff.objects.all()
    permission = SchoolPermission.STAFF
    key = ("staff_number",)
    importable = True
    scopes = {Scope.CAMPUS: "campus", Scope.SECTION: REGISTERED, Scope.SELF: "user"}
    fields = ("staff_number", *PERSON, "campus", "position", "employed_from", "employed_until")
    includes = ("campus",)
    filters = {
        **PERSON_FILTERS,
        "staff_number": EXACT,
        "campus": EXACT,
        "employed_from": RANGE,
        "employed_until": RANGE,
    }
    search = (*SEARCHED, "staff_number", "position")
    ordering = ("family_name", "given_name")
    orderable = ("family_name", "given_name", "staff_number", "employed_from", "created_at")
    example = {**PERSON_EXAMPLE, "staff_number": "T-17", "position": "Head of mathematics"}

    def make(self, **values: Any) -> models.Model:
        _check_link(self, values)
        return super().make(**values)

    def update(self, record: models.Model, **values: Any) -> None:
        assert isinstance(record, Staff)
        _check_link(self, values, record.user)
        super().update(record, **values)


class DepartmentViewSet(ResourceViewSet):
    """Departments of a campus or of the whole institution, and who leads them."""

    queryset = Department.objects.all()
    permission = SchoolPermission.DEPARTMENT
    key = ("code",)
    importable = True
    scopes = {Scope.CAMPUS: "campus", Scope.DEPARTMENT: "id", Scope.SELF: "head__user"}
    fields = ("code", "name", "campus", "head")
    includes = ("campus", "head")
    filters = {"code": EXACT, "name": EXACT, "campus": EXACT, "head": EXACT}
    search = ("code", "name")
    ordering = ("code",)


routes = {
    "departments": DepartmentViewSet,
    "institution": InstitutionViewSet,
    "campuses": CampusViewSet,
    "rooms": RoomViewSet,
    "grade-levels": GradeLevelViewSet,
    "academic-years": AcademicYearViewSet,
    "terms": TermViewSet,
    "students": StudentViewSet,
    "student-statuses": StudentStatusViewSet,
    "guardians": GuardianViewSet,
    "student-guardians": StudentGuardianViewSet,
    "staff": StaffViewSet,
}
