"""The same columns as our `school.Student`, in one flat table."""

import uuid

from django.conf import settings
from django.db import models


class Campus(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)


class GradeLevel(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)


class Student(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    student_number = models.CharField(max_length=40, unique=True)
    sourced_id = models.CharField(max_length=255, unique=True)
    given_name = models.CharField(max_length=120)
    middle_name = models.CharField(max_length=120, blank=True)
    family_name = models.CharField(max_length=120)
    preferred_given_name = models.CharField(max_length=120, blank=True)
    preferred_family_name = models.CharField(max_length=120, blank=True)
    birth_date = models.DateField()
    sex = models.CharField(max_length=16, choices=[(sex, sex) for sex in ("female", "male", "other")])
    pronouns = models.CharField(max_length=40, blank=True)
    email = models.EmailField(blank=True)
    phone = models.CharField(max_length=40, blank=True)
    mobile_phone = models.CharField(max_length=40, blank=True)
    language = models.CharField(max_length=16)
    nationality = models.CharField(max_length=2)
    birth_place = models.CharField(max_length=120, blank=True)
    state = models.CharField(max_length=16, db_index=True)
    joined_on = models.DateField()
    left_on = models.DateField(null=True, blank=True)
    campus = models.ForeignKey(Campus, on_delete=models.PROTECT)
    grade_level = models.ForeignKey(GradeLevel, on_delete=models.PROTECT)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    notes = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("family_name", "given_name", "id")
        indexes = (models.Index(fields=("family_name", "given_name", "id"), name="student_by_name"),)
