"""/api/v1/accounts/: logins, roles, and who holds which."""

from typing import Any

from django.contrib.auth.models import Permission
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.urls import URLPattern, path
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import CONTAINS, EVERYONE, EXACT, RANGE, PlatformView, ResourceViewSet
from shared_apps.core.permissions import Scope
from tenant_apps.accounts import services
from tenant_apps.accounts.api import bodies
from tenant_apps.accounts.models import Role, RoleInheritance, RolePermission, User, UserRole
from tenant_apps.accounts.permissions import AccountsPermission


class UserViewSet(ResourceViewSet):
    """Logins of the institution. One that is no longer wanted is deactivated: what it did stays its own."""

    queryset = User.objects.all()
    permission = AccountsPermission.USER
    scopes = {Scope.SELF: "id"}
    fields = ("email", "full_name", "language", "time_zone", "is_active")
    filters = {"email": EXACT, "full_name": CONTAINS, "is_active": EXACT, "created_at": RANGE}
    search = ("email", "full_name")
    ordering = ("email",)
    orderable = ("email", "full_name", "created_at")
    actions = "view add change"
    example = {
        "email": "amelie@lumiere.test",
        "full_name": "Amélie Roux",
        "language": "fr",
        "time_zone": "Europe/Paris",
    }

    def make(self, **values: Any) -> User:
        return services.create_user(**values)

    def update(self, record: User, **values: Any) -> None:
        services.change_user(by=self.principal, user=record, values=values)


class RoleViewSet(ResourceViewSet):
    """Roles: the platform's own, which stay as they are, and the institution's."""

    queryset = Role.objects.all()
    permission = AccountsPermission.ROLE
    scopes = EVERYONE
    fields = ("code", "name", "is_system")
    read_only = ("is_system",)
    filters = {"code": EXACT, "is_system": EXACT}
    search = ("code", "name")
    ordering = ("code",)
    orderable = ("code", "name")
    example = {"code": "librarian", "name": "Librarian", "is_system": False}

    def make(self, **values: Any) -> Role:
        return services.create_role(**values)

    def update(self, record: Role, **values: Any) -> None:
        services.change_role(role=record, values=values)

    def remove(self, record: Role) -> None:
        services.remove_role(by=self.principal, role=record)


class RoleInheritanceViewSet(ResourceViewSet):
    """Which role holds what another holds. A role cannot inherit itself, not even over others."""

    queryset = RoleInheritance.objects.all()
    permission = AccountsPermission.ROLE_INHERITANCE
    scopes = EVERYONE
    fields = ("role", "parent")
    filters = {"role": EXACT, "parent": EXACT}
    actions = "view add delete"

    def make(self, **values: Any) -> RoleInheritance:
        return services.inherit_role(by=self.principal, **values)

    def remove(self, record: RoleInheritance) -> None:
        services.disinherit_role(by=self.principal, edge=record)


class RolePermissionViewSet(ResourceViewSet):
    """What a role holds of its own; `code` is one of accounts/permissions/. Nobody adds what they do not hold."""

    queryset = RolePermission.objects.all()
    permission = AccountsPermission.ROLE_PERMISSION
    scopes = EVERYONE
    fields = ("role", "code")
    filters = {"role": EXACT, "code": EXACT}
    ordering = ("role", "code")
    actions = "view add delete"
    example = {"code": "school.view_student"}

    def make(self, **values: Any) -> RolePermission:
        return services.grant_permission(by=self.principal, **values)

    def remove(self, record: RolePermission) -> None:
        services.withdraw_permission(by=self.principal, held=record)


class UserRoleViewSet(ResourceViewSet):
    """Who holds which role, how far it reaches and for how long. Nobody gives what they do not hold as far themselves.

    A change or an end works at once, on open sockets too.
    """

    queryset = UserRole.objects.all()
    permission = AccountsPermission.USER_ROLE
    scopes = {Scope.SELF: "user"}
    fields = ("user", "role", "scope", "scope_id", "valid_from", "valid_until", "granted_by")
    read_only = ("granted_by",)
    filters = {"user": EXACT, "role": EXACT, "scope": EXACT, "valid_until": RANGE}
    example = {"scope": "section", "scope_id": None, "valid_from": None, "valid_until": None}

    def make(self, **values: Any) -> UserRole:
        return services.grant_role(by=self.principal, **values)

    def update(self, record: UserRole, **values: Any) -> None:
        services.change_grant(by=self.principal, grant=record, values=values)

    def remove(self, record: UserRole) -> None:
        services.revoke_role(by=self.principal, grant=record)


class PermissionsView(PlatformView):
    """Everything that can be permitted here. Codes are the same in every institution."""

    permission = AccountsPermission.PERMISSION.code("view")

    @extend_schema(
        summary="List permissions",
        responses={
            200: OpenApiResponse(
                bodies.AccountsPermissionList,
                description="All of them, by code.",
                examples=[
                    OpenApiExample(
                        "Answer",
                        value={
                            "next": None,
                            "previous": None,
                            "results": [{"code": "school.view_student", "name": "view students"}],
                        },
                        response_only=True,
                    )
                ],
            )
        },
    )
    def get(self, request: Request) -> Response:
        rows = (
            Permission.objects.order_by("content_type__app_label", "codename")
            .annotate(code=Concat(F("content_type__app_label"), Value("."), F("codename")))
            .values("code", "name")
        )
        return Response({"next": None, "previous": None, "results": list(rows)})

    @classmethod
    def routes(cls, prefix: str) -> URLPattern:
        return path(prefix, cls.as_view(), name="accounts-permission-list")


routes: dict[str, Any] = {
    "users": UserViewSet,
    "roles": RoleViewSet,
    "role-inheritances": RoleInheritanceViewSet,
    "role-permissions": RolePermissionViewSet,
    "user-roles": UserRoleViewSet,
    "permissions": PermissionsView,
}
