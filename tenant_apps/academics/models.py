"""What is taught, in which sections, by whom and to whom. End dates are exclusive."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.core.exceptions import ValidationError
from django.db import models

from shared_apps.core.models import Record
from shared_apps.core.search import folded_index, folded_text
from tenant_apps.academics.querysets import EnrolmentQuerySet, SectionTeacherQuerySet
from tenant_apps.school.models import AcademicYear, Campus, GradeLevel, Room, Staff, Student, Term
from tenant_apps.school.models.ground import SourcedRecord, ends_after_start
from tenant_apps.school.models.people import date_range


class Subject(Record):
    """A field of knowledge, such as mathematics."""

    code = models.CharField(max_length=50, unique=True)
    name = models.CharField(max_length=200)

    class Meta:
        default_permissions = ()
        ordering = ("name", "id")

    def __str__(self) -> str:
        return self.name


class Course(SourcedRecord):
    """What is taught of a subject, usually at one grade level; without a year it is offered in all of them."""

    subject = models.ForeignKey(Subject, null=True, blank=True, on_delete=models.PROTECT, related_name="courses")
    grade_level = models.ForeignKey(GradeLevel, null=True, blank=True, on_delete=models.PROTECT, related_name="courses")
    academic_year = models.ForeignKey(
        AcademicYear, null=True, blank=True, on_delete=models.PROTECT, related_name="courses"
    )
    code = models.CharField(max_length=50, blank=True)
    title = models.CharField(max_length=200)
    search_text = folded_text("code", "title")

    class Meta:
        default_permissions = ()
        ordering = ("title", "id")
        indexes = [
            models.Index(fields=("title", "id"), name="academics_course_by_title"),
            folded_index("academics_course_by_text"),
        ]

    def __str__(self) -> str:
        return self.title


class Section(SourcedRecord):
    """A class of students who take a course together in one or more terms."""

    class Kind(models.TextChoices):
        HOMEROOM = "homeroom"
        SCHEDULED = "scheduled"

    course = models.ForeignKey(Course, on_delete=models.PROTECT, related_name="sections")
    campus = models.ForeignKey(Campus, on_delete=models.PROTECT, related_name="sections")
    room = models.ForeignKey(Room, null=True, blank=True, on_delete=models.PROTECT, related_name="sections")
    terms = models.ManyToManyField(Term, through="SectionTerm", related_name="sections")
    kind = models.CharField(max_length=20, choices=Kind.choices, default=Kind.SCHEDULED)
    code = models.CharField(max_length=50, blank=True)
    title = models.CharField(max_length=200)
    search_text = folded_text("code", "title")

    class Meta:
        default_permissions = ()
        ordering = ("title", "id")
        indexes = [
            models.Index(fields=("title", "id"), name="academics_section_by_title"),
            folded_index("academics_section_by_text"),
        ]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        if self.room is not None and self.room.campus_id != self.campus_id:
            raise ValidationError({"room": ValidationError("The room is on another campus.", "other_campus")})


class SectionTerm(Record):
    """A term in which a section is taught."""

    section = models.ForeignKey(Section, on_delete=models.CASCADE, related_name="section_terms", db_index=False)
    term = models.ForeignKey(Term, on_delete=models.PROTECT, related_name="section_terms")

    class Meta:
        default_permissions = ()
        ordering = ("id",)
        constraints = [models.UniqueConstraint(fields=("section", "term"), name="academics_sectionterm_once")]


class SectionTeacher(SourcedRecord):
    """Who teaches a section, and from when to when."""

    class Role(models.TextChoices):
        PRIMARY = "primary"
        ASSISTANT = "assistant"

    section = models.ForeignKey(Section, on_delete=models.CASCADE, related_name="section_teachers", db_index=False)
    staff = models.ForeignKey(Staff, on_delete=models.PROTECT, related_name="section_teachers")
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.PRIMARY)
    starts_on = models.DateField()
    ends_on = models.DateField(null=True, blank=True)

    objects = SectionTeacherQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ("starts_on", "id")
        constraints = [
            ends_after_start("academics_sectionteacher_ends_after_start"),
            models.UniqueConstraint(
                fields=("section", "staff", "role", "starts_on"), name="academics_sectionteacher_once"
            ),
        ]


class Enrolment(SourcedRecord):
    """A student's days in a section. Who leaves and comes back has two rows; they never overlap. One that was planned
    and never came about holds no day: it ends on its start."""

    student = models.ForeignKey(Student, on_delete=models.PROTECT, related_name="enrolments")
    section = models.ForeignKey(Section, on_delete=models.PROTECT, related_name="enrolments")
    starts_on = models.DateField()
    ends_on = models.DateField(null=True, blank=True)

    objects = EnrolmentQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ("starts_on", "id")
        indexes = [models.Index(fields=("starts_on", "id"), name="academics_enrolment_by_start")]
        constraints = [
            ends_after_start("academics_enrolment_ends_after_start", may_be_empty=True),
            ExclusionConstraint(
                name="academics_enrolment_no_overlap",
                expressions=[
                    ("student", RangeOperators.EQUAL),
                    ("section", RangeOperators.EQUAL),
                    (date_range(), RangeOperators.OVERLAPS),
                ],
                violation_error_message="The student is in this section on some of these days already.",
                violation_error_code="enrolment_overlap",
            ),
        ]
