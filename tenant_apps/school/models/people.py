"""Students, guardians and staff. One flat table each: a person who is two of them has a row in both, and one login."""

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateRangeField, RangeOperators
from django.db import models
from django.db.models import F, Func, Value

from shared_apps.core.models import Record
from shared_apps.core.search import folded_index, folded_text
from shared_apps.core.standards import language_tag
from tenant_apps.school.models.ground import SourcedRecord, ends_after_start
from tenant_apps.school.models.places import Campus, GradeLevel
from tenant_apps.school.querysets import StudentGuardianQuerySet
from tenant_apps.school.standards import country_code, plausible_day, possible_birth_date


def date_range(start: str = "starts_on", end: str = "ends_on") -> Func:
    """The half-open range of two date columns, for an exclusion constraint."""
    return Func(F(start), F(end), Value("[)"), function="daterange", output_field=DateRangeField())


SEARCHED = ("given_name", "family_name", "preferred_given_name", "preferred_family_name", "email")


class PersonDetails(SourcedRecord):
    """What is known of a person, whatever they are here.

    `notes` are for the office: the API shows no notes until it can hide a column from a role that sees the row.
    """

    class Sex(models.TextChoices):
        FEMALE = "female"
        MALE = "male"
        OTHER = "other"
        UNSPECIFIED = "unspecified"

    given_name = models.CharField(max_length=100)
    middle_name = models.CharField(max_length=100, blank=True)
    family_name = models.CharField(max_length=100)
    preferred_given_name = models.CharField(max_length=100, blank=True)
    preferred_family_name = models.CharField(max_length=100, blank=True)
    birth_date = models.DateField(null=True, blank=True, validators=[possible_birth_date])
    sex = models.CharField(max_length=20, choices=Sex.choices, blank=True)
    pronouns = models.CharField(max_length=50, blank=True)
    email = models.EmailField(max_length=254, blank=True)
    phone = models.CharField(max_length=40, blank=True)
    mobile_phone = models.CharField(max_length=40, blank=True)
    language = models.CharField(max_length=15, blank=True, validators=[language_tag])
    nationality = models.CharField(max_length=2, blank=True, validators=[country_code])
    birth_place = models.CharField(max_length=200, blank=True)
    notes = models.TextField(blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="%(class)s_records"
    )

    class Meta:
        abstract = True
        default_permissions = ()
        ordering = ("family_name", "given_name", "id")
        indexes = [
            models.Index(fields=("family_name", "given_name", "id"), name="school_%(class)s_by_name"),
            folded_index("school_%(class)s_by_text"),
        ]

    def __str__(self) -> str:
        return self.called

    @property
    def called(self) -> str:
        """The name that the person goes by."""
        given = self.preferred_given_name or self.given_name
        return f"{given} {self.preferred_family_name or self.family_name}"


class StudentState(models.TextChoices):
    """A student who comes back is `enrolled` a second time: the history tells."""

    APPLIED = "applied"
    ENROLLED = "enrolled"
    TRANSFERRED = "transferred"
    GRADUATED = "graduated"
    LEFT = "left"


class Student(PersonDetails):
    """Somebody who learns here. `state` repeats the open row of the history and changes only by
    `services.change_student_state`; `left_on` is the first day without them (that of joining, if they never came)."""

    student_number = models.CharField(max_length=100, unique=True)
    campus = models.ForeignKey(Campus, on_delete=models.PROTECT, related_name="students")
    grade_level = models.ForeignKey(
        GradeLevel, null=True, blank=True, on_delete=models.PROTECT, related_name="students"
    )
    state = models.CharField(max_length=20, choices=StudentState.choices, default=StudentState.ENROLLED, editable=False)
    joined_on = models.DateField(null=True, blank=True, validators=[plausible_day])
    left_on = models.DateField(null=True, blank=True, validators=[plausible_day])
    search_text = folded_text(*SEARCHED, "student_number")

    class Meta(PersonDetails.Meta):
        abstract = False
        constraints = [
            ends_after_start("school_student_left_after_joined", start="joined_on", end="left_on", may_be_empty=True)
        ]


class StudentStatus(Record):
    """One stretch of a student's history: a state and the days on which it held, end exclusive, null while it holds.

    A state that was corrected on the day on which it began keeps an empty stretch (start and end on that day).
    """

    student = models.ForeignKey(Student, on_delete=models.CASCADE, related_name="statuses")
    state = models.CharField(max_length=20, choices=StudentState.choices)
    starts_on = models.DateField()
    ends_on = models.DateField(null=True, blank=True)
    reason = models.CharField(max_length=300, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("starts_on", "id")
        constraints = [
            ends_after_start("school_studentstatus_ends_after_start", may_be_empty=True),
            ExclusionConstraint(
                name="school_studentstatus_one_at_a_time",
                expressions=[("student", RangeOperators.EQUAL), (date_range(), RangeOperators.OVERLAPS)],
            ),
        ]


class Guardian(PersonDetails):
    """Somebody who answers for students; what they may do is said per child in StudentGuardian."""

    search_text = folded_text(*SEARCHED)

    class Meta(PersonDetails.Meta):
        abstract = False


class StudentGuardian(Record):
    """What one guardian is to one child, and may. Without custody, no right to see records holds (court orders are
    real), whatever the flag says. `valid_until` is exclusive."""

    class Relation(models.TextChoices):
        MOTHER = "mother"
        FATHER = "father"
        PARENT = "parent"
        STEP_PARENT = "step_parent"
        GRANDPARENT = "grandparent"
        FOSTER_PARENT = "foster_parent"
        GUARDIAN = "guardian"
        RELATIVE = "relative"
        OTHER = "other"

    class Custody(models.TextChoices):
        FULL = "full"
        SHARED = "shared"
        NONE = "none"

    student = models.ForeignKey(Student, on_delete=models.CASCADE, related_name="guardian_links", db_index=False)
    guardian = models.ForeignKey(Guardian, on_delete=models.PROTECT, related_name="student_links")
    relation = models.CharField(max_length=20, choices=Relation.choices, default=Relation.PARENT)
    custody = models.CharField(max_length=10, choices=Custody.choices, default=Custody.FULL)
    may_see_records = models.BooleanField(default=True)
    may_collect = models.BooleanField(default=True)
    pays = models.BooleanField(default=False)
    call_order = models.PositiveSmallIntegerField(default=1)
    valid_from = models.DateField(null=True, blank=True)
    valid_until = models.DateField(null=True, blank=True)

    objects = StudentGuardianQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ("call_order", "id")
        constraints = [
            models.UniqueConstraint(fields=("student", "guardian"), name="school_studentguardian_once"),
            ends_after_start("school_studentguardian_ends_after_start", start="valid_from", end="valid_until"),
        ]


class Staff(PersonDetails):
    """Somebody who works here; `employed_until` is the first day without them."""

    staff_number = models.CharField(max_length=100, unique=True)
    campus = models.ForeignKey(Campus, null=True, blank=True, on_delete=models.PROTECT, related_name="staff")
    position = models.CharField(max_length=100, blank=True)
    employed_from = models.DateField(null=True, blank=True, validators=[plausible_day])
    employed_until = models.DateField(null=True, blank=True, validators=[plausible_day])
    search_text = folded_text(*SEARCHED, "staff_number", "position")

    class Meta(PersonDetails.Meta):
        abstract = False
        verbose_name_plural = "staff"
        constraints = [ends_after_start("school_staff_ends_after_start", start="employed_from", end="employed_until")]
