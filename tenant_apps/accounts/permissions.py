"""What can be done to logins and roles."""

from shared_apps.core.permissions import CRUD, PermissionCatalogue, subject


class AccountsPermission(PermissionCatalogue):
    USER = subject("accounts", "user", "users", "view add change export")
    ROLE = subject("accounts", "role", "roles", f"{CRUD} export")
    ROLE_INHERITANCE = subject("accounts", "roleinheritance", "role inheritances", "view add delete export")
    ROLE_PERMISSION = subject("accounts", "rolepermission", "role permissions", "view add delete export")
    USER_ROLE = subject("accounts", "userrole", "role assignments", f"{CRUD} export")
    PERMISSION = subject("auth", "permission", "permissions", "view")
