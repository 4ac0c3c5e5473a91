"""What can be done to logins and roles."""

from shared_apps.core.permissions import PermissionCatalogue, subject


class AccountsPermission(PermissionCatalogue):
    USER = subject("accounts", "user", "users", "view add change")
    ROLE = subject("accounts", "role", "roles")
    ROLE_INHERITANCE = subject("accounts", "roleinheritance", "role inheritances", "view add delete")
    ROLE_PERMISSION = subject("accounts", "rolepermission", "role permissions", "view add delete")
    USER_ROLE = subject("accounts", "userrole", "role assignments")
    PERMISSION = subject("auth", "permission", "permissions", "view")
