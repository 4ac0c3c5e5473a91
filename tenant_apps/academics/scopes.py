"""How a section, one's own children and oneself narrow the tables of school and academics."""

from typing import Any

from django.db.models import Model, Q, QuerySet

from shared_apps.core.permissions import Scope
from shared_apps.core.registry import ScopeResolver, Viewer, registry
from tenant_apps.academics.models import Enrolment, Section, SectionTeacher, SectionTerm
from tenant_apps.school.models import Guardian, Staff, Student, StudentGuardian, StudentStatus
from tenant_apps.school.querysets import holding_on
from tenant_apps.school.scopes import own_children


def sections_taught(viewer: Viewer) -> QuerySet[Any, Any]:
    """Keys of the section that the scope names, else of those that the viewer teaches today."""
    if viewer.scope_id is not None:
        return Section.objects.filter(pk=viewer.scope_id).values("pk")
    return SectionTeacher.objects.taught_by(user_id=viewer.user_id, today=viewer.today).values("section")


def students_taught(viewer: Viewer) -> QuerySet[Any, Any]:
    """Keys of the students who are in one of those sections today."""
    return Enrolment.objects.active_on(viewer.today).filter(section__in=sections_taught(viewer)).values("student")


def guardians_of_students_taught(viewer: Viewer) -> QuerySet[Any, Any]:
    return StudentGuardian.objects.filter(links_of_students_taught(viewer)).values("guardian")


def links_of_students_taught(viewer: Viewer) -> Q:
    """Links that hold today: who has ceased to be a guardian is the office's to know."""
    today = holding_on(viewer.today, start="valid_from", end="valid_until")
    return today & Q(student__in=students_taught(viewer))


def sections_of_children(viewer: Viewer) -> QuerySet[Any, Any]:
    """Keys of the sections that one's children are in today."""
    return Enrolment.objects.active_on(viewer.today).filter(student__in=own_children(viewer)).values("section")


def sections_of_self(viewer: Viewer) -> QuerySet[Any, Any]:
    """Keys of the sections that a student is in today."""
    return Enrolment.objects.active_on(viewer.today).filter(student__user=viewer.user_id).values("section")


def _section_key(lookup: str, keys: Any) -> ScopeResolver:
    return lambda viewer: Q(**{f"{lookup}__in": keys(viewer)})


def register() -> None:
    registry.scope_target(Scope.SECTION, Section)
    taught: dict[type[Model], tuple[str, Any]] = {
        Student: ("pk", students_taught),
        StudentStatus: ("student", students_taught),
        Guardian: ("pk", guardians_of_students_taught),
        Section: ("pk", sections_taught),
        SectionTerm: ("section", sections_taught),
        SectionTeacher: ("section", sections_taught),
        Enrolment: ("section", sections_taught),
    }
    for model, (lookup, keys) in taught.items():
        registry.scope(model, Scope.SECTION, _section_key(lookup, keys))
    registry.scope(StudentGuardian, Scope.SECTION, links_of_students_taught)
    # Private columns of colleagues cannot be hidden yet, so a teacher sees no colleague's row.
    registry.scope(Staff, Scope.SECTION, lambda viewer: Q(user=viewer.user_id))
    for model, lookup in ((Section, "pk"), (SectionTerm, "section"), (SectionTeacher, "section")):
        registry.scope(model, Scope.OWN_CHILDREN, _section_key(lookup, sections_of_children))
        registry.scope(model, Scope.SELF, _section_key(lookup, sections_of_self))
    registry.scope(Enrolment, Scope.OWN_CHILDREN, lambda viewer: Q(student__in=own_children(viewer)))
