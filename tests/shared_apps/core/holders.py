"""People of the cast who hold one more role, made for a test."""

from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import Permission

from shared_apps.core.permissions import Scope
from tenant_apps.accounts.models import Role, RolePermission, UserRole
from tests.cast import Person


def give(
    person: Person,
    codes: str,
    scope: Scope,
    scope_id: UUID | None = None,
    *,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> UserRole:
    """A role of its own with these permissions ("school.view_student ..."), held within the scope. Runs inside the
    institution, before the person's first request."""
    role = Role.objects.create(code=f"odd-{Role.objects.count()}", name="Odd")
    for code in codes.split():
        label, _, codename = code.partition(".")
        permission = Permission.objects.get(content_type__app_label=label, codename=codename)
        RolePermission.objects.create(role=role, permission=permission, code=code)
    return UserRole.objects.create(
        user_id=person.user_id,
        role=role,
        scope=scope,
        scope_id=scope_id,
        valid_from=valid_from,
        valid_until=valid_until,
    )


def take_all(person: Person) -> None:
    """Take every role from the person."""
    UserRole.objects.filter(user_id=person.user_id).delete()
