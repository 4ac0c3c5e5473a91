"""The institution's profile, its campuses, rooms and grade levels."""

from django.db import models
from django.db.models import Q

from shared_apps.core.models import Record
from shared_apps.core.standards import language_tag, time_zone_name
from tenant_apps.school.models.ground import SourcedRecord
from tenant_apps.school.standards import country_code, currency_code


class Institution(SourcedRecord):
    """The profile of the institution: exactly one row, made when the institution is provisioned."""

    class Kind(models.TextChoices):
        SCHOOL = "school"
        DISTRICT = "district"
        COLLEGE = "college"
        UNIVERSITY = "university"
        OTHER = "other"

    name = models.CharField(max_length=200)
    short_name = models.CharField(max_length=40, blank=True)
    kind = models.CharField(max_length=20, choices=Kind.choices, default=Kind.SCHOOL)
    language = models.CharField(max_length=15, default="en", validators=[language_tag])
    currency = models.CharField(max_length=3, default="USD", validators=[currency_code])
    time_zone = models.CharField(max_length=63, default="UTC", validators=[time_zone_name])
    country = models.CharField(max_length=2, blank=True, validators=[country_code])
    is_profile = models.BooleanField(default=True, unique=True, editable=False)

    class Meta:
        default_permissions = ()
        ordering = ("name", "id")
        constraints = [models.CheckConstraint(condition=Q(is_profile=True), name="school_institution_one_row")]

    def __str__(self) -> str:
        return self.name


class Campus(SourcedRecord):
    """A site of the institution; an institution has at least one."""

    code = models.CharField(max_length=50, unique=True)
    name = models.CharField(max_length=200)
    address_line1 = models.CharField(max_length=200, blank=True)
    address_line2 = models.CharField(max_length=200, blank=True)
    postal_code = models.CharField(max_length=20, blank=True)
    city = models.CharField(max_length=100, blank=True)
    region = models.CharField(max_length=100, blank=True)
    country = models.CharField(max_length=2, blank=True, validators=[country_code])
    phone = models.CharField(max_length=40, blank=True)
    email = models.EmailField(blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("name", "id")

    def __str__(self) -> str:
        return self.name


class Room(Record):
    """A room of a campus."""

    campus = models.ForeignKey(Campus, on_delete=models.PROTECT, related_name="rooms", db_index=False)
    name = models.CharField(max_length=100)
    capacity = models.PositiveSmallIntegerField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("name", "id")
        constraints = [models.UniqueConstraint(fields=("campus", "name"), name="school_room_name_in_campus")]

    def __str__(self) -> str:
        return self.name


class GradeLevel(Record):
    """A year of schooling, in the institution's own words; `position` puts the lowest first."""

    code = models.CharField(max_length=20, unique=True)
    name = models.CharField(max_length=100)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        default_permissions = ()
        ordering = ("position", "id")

    def __str__(self) -> str:
        return self.name
