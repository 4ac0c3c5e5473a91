"""How one's own children, and for guardians the campus, narrow this room's tables."""

from django.db.models import Q, QuerySet

from shared_apps.core.permissions import Scope
from shared_apps.core.registry import Viewer, registry
from tenant_apps.school.models import Campus, Department, Guardian, Student, StudentGuardian, StudentStatus


def own_children(viewer: Viewer) -> "QuerySet[StudentGuardian]":
    """Keys of the students whose records the viewer may see today as a guardian."""
    links = StudentGuardian.objects.opening_records(user_id=viewer.user_id, today=viewer.today)
    return links.values("student")


def own_links(viewer: Viewer) -> "QuerySet[StudentGuardian]":
    links = StudentGuardian.objects.opening_records(user_id=viewer.user_id, today=viewer.today)
    return links.values("pk")


def guardians_on_campus(viewer: Viewer) -> "QuerySet[StudentGuardian]":
    """Keys of the guardians of a campus's students."""
    return StudentGuardian.objects.filter(student__campus=viewer.scope_id).values("guardian")


def register() -> None:
    registry.scope_target(Scope.CAMPUS, Campus)
    registry.scope_target(Scope.DEPARTMENT, Department)
    registry.scope(Student, Scope.OWN_CHILDREN, lambda viewer: Q(pk__in=own_children(viewer)))
    registry.scope(StudentStatus, Scope.OWN_CHILDREN, lambda viewer: Q(student__in=own_children(viewer)))
    # Of guardians only oneself: the other parent's telephone number is nobody else's business.
    registry.scope(StudentGuardian, Scope.OWN_CHILDREN, lambda viewer: Q(pk__in=own_links(viewer)))
    registry.scope(Guardian, Scope.OWN_CHILDREN, lambda viewer: Q(user=viewer.user_id))
    registry.scope(Guardian, Scope.CAMPUS, lambda viewer: Q(pk__in=guardians_on_campus(viewer)))
