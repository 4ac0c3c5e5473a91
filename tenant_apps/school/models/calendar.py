"""Academic years and their terms. End dates are exclusive."""

from django.core.exceptions import ValidationError
from django.db import models

from tenant_apps.school.models.ground import SourcedRecord, ends_after_start


class AcademicYear(SourcedRecord):
    """A school year; `ends_on` is the first day after it."""

    name = models.CharField(max_length=100)
    starts_on = models.DateField()
    ends_on = models.DateField()

    class Meta:
        default_permissions = ()
        ordering = ("-starts_on", "id")
        constraints = [ends_after_start("school_academicyear_ends_after_start")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """A year that is cut short still holds its terms."""
        if self._state.adding or not (self.starts_on and self.ends_on):
            return
        outside = self.terms.exclude(starts_on__gte=self.starts_on, ends_on__lte=self.ends_on).first()
        if outside:
            raise ValidationError(
                {"ends_on": ValidationError(f"The term {outside.name} lies outside; move it first.", "term_outside")}
            )


class Term(SourcedRecord):
    """A part of a year: a term, a semester or a grading period (which may lie within one of them by `parent`).

    By hand, terms of one kind do not overlap within a year. That is a rule of `clean` and not of the database, since
    real exports of other systems have such terms and an import takes them with a warning.
    """

    class Kind(models.TextChoices):
        TERM = "term"
        SEMESTER = "semester"
        GRADING_PERIOD = "grading_period"

    academic_year = models.ForeignKey(AcademicYear, on_delete=models.PROTECT, related_name="terms")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="parts")
    kind = models.CharField(max_length=20, choices=Kind.choices, default=Kind.TERM)
    name = models.CharField(max_length=100)
    starts_on = models.DateField()
    ends_on = models.DateField()

    class Meta:
        default_permissions = ()
        ordering = ("starts_on", "id")
        constraints = [ends_after_start("school_term_ends_after_start")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Within its year and its parent, around its parts, and beside no other term of its kind."""
        if self.academic_year_id is None or not (self.starts_on and self.ends_on) or self.ends_on <= self.starts_on:
            return  # The fields and the constraint say so already.
        self._lie_within(self.academic_year, f"the year {self.academic_year}")
        if self.parent_id is not None:
            self._check_parent()
        if not self._state.adding:
            self._hold_parts()
        others = Term.objects.filter(
            academic_year=self.academic_year_id, kind=self.kind, starts_on__lt=self.ends_on, ends_on__gt=self.starts_on
        )
        twin = others.exclude(pk=self.pk).first()
        if twin:
            detail = f"It overlaps with {twin.name} ({twin.starts_on} to {twin.ends_on}, end exclusive)."
            raise ValidationError({"starts_on": ValidationError(detail, "term_overlap")})

    def _lie_within(self, frame: "AcademicYear | Term", called: str) -> None:
        if self.starts_on < frame.starts_on or self.ends_on > frame.ends_on:
            place = "starts_on" if self.starts_on < frame.starts_on else "ends_on"
            detail = f"It must lie within {called} ({frame.starts_on} to {frame.ends_on}, end exclusive)."
            raise ValidationError({place: ValidationError(detail, "outside")})

    def _hold_parts(self) -> None:
        """A term that is cut short or goes to another year still holds its parts."""
        strayed = self.parts.exclude(academic_year=self.academic_year_id).first()
        if strayed:
            detail = f"Its part {strayed.name} belongs to another year; move it first."
            raise ValidationError({"academic_year": ValidationError(detail, "part_outside")})
        outside = self.parts.exclude(starts_on__gte=self.starts_on, ends_on__lte=self.ends_on).first()
        if outside:
            place = "starts_on" if outside.starts_on < self.starts_on else "ends_on"
            detail = f"Its part {outside.name} lies outside; move it first."
            raise ValidationError({place: ValidationError(detail, "part_outside")})

    def _check_parent(self) -> None:
        parent, seen = self.parent, {self.pk}
        if parent is not None and parent.academic_year_id != self.academic_year_id:
            raise ValidationError({"parent": ValidationError("It belongs to another year.", "other_year")})
        while parent is not None:
            if parent.pk in seen:
                raise ValidationError({"parent": ValidationError("A term cannot be a part of itself.", "circle")})
            seen.add(parent.pk)
            parent = parent.parent
        if self.parent is not None:
            self._lie_within(self.parent, self.parent.name)
