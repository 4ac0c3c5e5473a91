"""What operators can do to institutions."""

from shared_apps.core.permissions import PermissionCatalogue, subject


class TenantsPermission(PermissionCatalogue):
    INSTITUTION = subject("tenants", "tenant", "institutions", "view add change")
