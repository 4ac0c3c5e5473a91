"""/api/v1/academics/: subjects, courses, sections, their terms and teachers, and enrolments."""

from datetime import date

from rest_framework import serializers

from shared_apps.core.api import CONTAINS, EVERYONE, EXACT, RANGE, REGISTERED, Body, ResourceViewSet, verb
from shared_apps.core.permissions import Action, Scope
from tenant_apps.academics import services
from tenant_apps.academics.models import Course, Enrolment, Section, SectionTeacher, SectionTerm, Subject
from tenant_apps.academics.permissions import AcademicsPermission

BY_SECTION = {
    Scope.CAMPUS: "section__campus",
    Scope.SECTION: REGISTERED,
    Scope.OWN_CHILDREN: REGISTERED,
    Scope.SELF: REGISTERED,
}


class SubjectViewSet(ResourceViewSet):
    """Fields of knowledge that courses belong to."""

    queryset = Subject.objects.all()
    permission = AcademicsPermission.SUBJECT
    key = ("code",)
    importable = True
    scopes = EVERYONE
    fields = ("code", "name")
    filters = {"code": EXACT}
    search = ("code", "name")
    ordering = ("name",)
    orderable = ("name", "code")


class CourseViewSet(ResourceViewSet):
    """What is taught; without a year, a course is offered in all of them."""

    queryset = Course.objects.all()
    permission = AcademicsPermission.COURSE
    importable = True
    scopes = EVERYONE
    fields = ("subject", "grade_level", "academic_year", "code", "title", "sourced_id")
    includes = ("subject", "grade_level", "academic_year")
    filters = {"subject": EXACT, "grade_level": EXACT, "academic_year": EXACT, "code": EXACT, "sourced_id": EXACT}
    search = ("code", "title")
    ordering = ("title",)
    orderable = ("title", "code", "created_at")


class SectionViewSet(ResourceViewSet):
    """Classes of students who take a course together."""

    queryset = Section.objects.all()
    permission = AcademicsPermission.SECTION
    importable = True
    scopes = {**BY_SECTION, Scope.CAMPUS: "campus"}
    fields = ("course", "campus", "room", "kind", "code", "title", "sourced_id")
    includes = ("course", "campus", "room")
    filters = {
        "course": EXACT,
        "campus": EXACT,
        "room": EXACT,
        "kind": EXACT,
        "code": EXACT,
        "title": CONTAINS,
        "sourced_id": EXACT,
    }
    search = ("code", "title")
    ordering = ("title",)
    orderable = ("title", "code", "created_at")


class SectionTermViewSet(ResourceViewSet):
    """The terms in which a section is taught."""

    queryset = SectionTerm.objects.all()
    permission = AcademicsPermission.SECTION_TERM
    key = ("section", "term")
    scopes = BY_SECTION
    fields = ("section", "term")
    includes = ("section", "term")
    filters = {"section": EXACT, "term": EXACT}


class SectionTeacherViewSet(ResourceViewSet):
    """Who teaches a section; `ends_on` is the first day without them."""

    queryset = SectionTeacher.objects.all()
    permission = AcademicsPermission.SECTION_TEACHER
    scopes = BY_SECTION
    fields = ("section", "staff", "role", "starts_on", "ends_on", "sourced_id")
    includes = ("section", "staff")
    filters = {"section": EXACT, "staff": EXACT, "role": EXACT, "starts_on": RANGE, "ends_on": RANGE}
    ordering = ("starts_on",)
    orderable = ("starts_on", "ends_on", "created_at")


class Move(Body):
    to_section = serializers.PrimaryKeyRelatedField(queryset=Section.objects.all(), pk_field=serializers.UUIDField())
    on = serializers.DateField(help_text="The first day in the new section.")


class EnrolmentViewSet(ResourceViewSet):
    """Students' days in sections; `ends_on` is the first day after. Days in one section do not overlap."""

    queryset = Enrolment.objects.all()
    permission = AcademicsPermission.ENROLMENT
    importable = True
    scopes = {**BY_SECTION, Scope.SELF: "student__user"}
    fields = ("student", "section", "starts_on", "ends_on", "sourced_id")
    includes = ("student", "section")
    filters = {"student": EXACT, "section": EXACT, "starts_on": RANGE, "ends_on": RANGE, "sourced_id": EXACT}
    ordering = ("starts_on",)
    orderable = ("starts_on", "ends_on", "created_at")

    @verb(action="change", body=Move)
    def move(self, enrolment: Enrolment, *, to_section: Section, on: date) -> Enrolment:
        """Close this enrolment and open one in another section on the same day; answers the new one."""
        moved = services.move_student(
            student=enrolment.student, from_section=enrolment.section, to_section=to_section, on=on
        )
        # The new section must be in the writer's reach as well as the old one.
        self.locked(str(moved.pk), Action.CHANGE)
        return moved


routes = {
    "subjects": SubjectViewSet,
    "courses": CourseViewSet,
    "sections": SectionViewSet,
    "section-terms": SectionTermViewSet,
    "section-teachers": SectionTeacherViewSet,
    "enrolments": EnrolmentViewSet,
}
