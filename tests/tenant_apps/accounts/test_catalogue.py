"""Permission rows and system roles follow the rooms' declarations, in every institution."""

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext

from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.permissions import PermissionCatalogue, Scope
from shared_apps.core.registry import NewInstitution, registry
from shared_apps.core.routing import tenant_app_labels
from tenant_apps.accounts.catalogue import sync_after_migrate, sync_catalogue
from tenant_apps.accounts.models import Role, RolePermission, User, UserRole
from tenant_apps.accounts.services import first_administrator

pytestmark = pytest.mark.django_db


def codes() -> set[str]:
    rows = Permission.objects.values_list("content_type__app_label", "codename")
    return {f"{app_label}.{codename}" for app_label, codename in rows}


def held_by(role: str) -> set[str]:
    return set(RolePermission.objects.filter(role__code=role).values_list("code", flat=True))


def test_an_institution_has_exactly_the_permissions_that_its_rooms_declare(inside: InstitutionContext) -> None:
    declared = {
        code
        for catalogue in PermissionCatalogue.__subclasses__()
        for member in catalogue
        for code in member.codes
        if member.value.app_label in tenant_app_labels()
    }
    assert codes() == declared
    assert len(declared) > 50


def test_the_system_roles_hold_what_the_rooms_grant(inside: InstitutionContext) -> None:
    assert set(Role.objects.filter(is_system=True).values_list("code", flat=True)) == {
        "principal",
        "teacher",
        "guardian",
        "student",
    }
    for role in ("principal", "teacher", "guardian", "student"):
        granted = {member.code(a) for member, actions in registry.grants[role].items() for a in actions}
        assert held_by(role) == granted
    assert held_by("guardian") < held_by("principal")


def test_the_operators_tenant_has_its_own_role_and_no_school(console: InstitutionContext) -> None:
    with institution(console):
        assert list(Role.objects.values_list("code", flat=True)) == ["operator"]
        assert "accounts.add_userrole" in held_by("operator")
        assert "school.view_student" not in codes()


def test_a_second_sync_writes_nothing_and_asks_little(inside: InstitutionContext) -> None:
    ContentType.objects.clear_cache()
    sync_catalogue()
    with CaptureQueriesContext(connection) as queries:
        sync_catalogue()
    statements = [query["sql"] for query in queries if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))]
    assert len(statements) <= 4
    assert all(statement.startswith("SELECT") for statement in statements)


def test_a_sync_mends_what_was_added_renamed_or_taken_away(inside: InstitutionContext) -> None:
    before = (codes(), held_by("teacher"), Permission.objects.count())
    made_up = ContentType.objects.get_for_model(User)
    Permission.objects.create(content_type=made_up, codename="fly_user", name="fly")
    Permission.objects.filter(codename="view_student").update(name="something else")
    Permission.objects.filter(codename="view_campus").delete()
    RolePermission.objects.filter(role__code="teacher").first().delete()
    stray = Permission.objects.get(codename="delete_student")
    RolePermission.objects.create(role=Role.objects.get(code="teacher"), permission=stray, code="school.delete_student")
    assert (codes(), held_by("teacher"), Permission.objects.count()) != before
    sync_catalogue()
    assert (codes(), held_by("teacher"), Permission.objects.count()) == before
    assert Permission.objects.get(codename="view_student").name == "view students"


def test_an_institutions_own_roles_are_left_alone(inside: InstitutionContext) -> None:
    own = Role.objects.create(code="librarian", name="Librarian")
    permission = Permission.objects.get(codename="view_student")
    RolePermission.objects.create(role=own, permission=permission, code="school.view_student")
    sync_catalogue()
    assert held_by("librarian") == {"school.view_student"}


def test_nothing_runs_on_the_platform() -> None:
    with platform(), CaptureQueriesContext(connection) as queries:
        sync_after_migrate()
    assert len(queries) == 0


def test_the_first_administrator_runs_the_institution_once_a_password_is_set(inside: InstitutionContext) -> None:
    first_administrator(NewInstitution("New", "new", admin_email="Head@New.test"))
    user = User.objects.get(email="head@new.test")
    assert not user.has_usable_password()
    assert UserRole.objects.get(user=user).role.code == "principal"
    assert UserRole.objects.get(user=user).scope == Scope.INSTITUTION


def test_no_administrator_is_made_when_none_is_named(inside: InstitutionContext) -> None:
    before = User.objects.count()
    first_administrator(NewInstitution("New", "new"))
    assert User.objects.count() == before


def test_the_operators_first_administrator_is_an_operator(console: InstitutionContext) -> None:
    with institution(console):
        first_administrator(NewInstitution("Operations", "console", admin_email="head@lyceum.test", kind="operator"))
        assert UserRole.objects.get(user__email="head@lyceum.test").role.code == "operator"
