"""Verbs of teaching: a move from one section to another, and the end of all when a student leaves."""

from datetime import date

from django.db import IntegrityError, transaction

from shared_apps.core.errors import Conflict, Invalid
from tenant_apps.academics.models import Enrolment, Section
from tenant_apps.school.models import Student


def end_enrolments(*, student: Student, on: date) -> None:
    """Let a student who is gone from `on` be in no section from that day. What was planned for later keeps its row with
    no day in it; who comes back is enrolled anew, and the old rows tell where they have been."""
    for enrolment in Enrolment.objects.select_for_update().running_past(on).filter(student=student):
        enrolment.ends_on = max(enrolment.starts_on, on)
        enrolment.save(update_fields=["ends_on", "updated_at"])


@transaction.atomic
def move_student(*, student: Student, from_section: Section, to_section: Section, on: date) -> Enrolment:
    """Close the student's enrolment in one section and open one in another on the same day.

    `on` is the first day in the new section and, ends being exclusive, the end of the old enrolment: no gap and no
    overlap. What hangs on the old enrolment stays there; the new one takes over its planned end. Returns the new one.

    Raises Invalid when both sections are the same, Conflict when the student is not in the old section on that day, or
    only from that day on, or is in the new one already on some of the days.
    """
    if from_section.pk == to_section.pk:
        raise Invalid.at("/to_section", "The student is in this section already.", code="same_section")
    # The student's row is the lock: two moves at once would both find the old enrolment open.
    Student.objects.select_for_update().get(pk=student.pk)
    old = Enrolment.objects.active_on(on).filter(student=student, section=from_section).first()
    if old is None:
        raise Conflict.at("/on", f"The student is not in {from_section} on {on}.", code="not_enrolled")
    if old.starts_on == on:
        detail = f"The student is in {from_section} only from {on} on; move them on a later day."
        raise Conflict.at("/on", detail, code="moved_on_first_day")
    new = Enrolment(student=student, section=to_section, starts_on=on, ends_on=old.ends_on)
    old.ends_on = on
    old.save(update_fields=["ends_on", "updated_at"])
    try:
        with transaction.atomic():
            new.save(force_insert=True)
    except IntegrityError as error:
        if "academics_enrolment_no_overlap" not in str(error):
            raise
        detail = f"The student is in {to_section} on some of these days already."
        raise Conflict.at("/to_section", detail, code="enrolment_overlap") from None
    return new
