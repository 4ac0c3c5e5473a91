"""What operators can do to institutions."""

from shared_apps.core.permissions import PermissionCatalogue, subject


class TenantsPermission(PermissionCatalogue):
    """`approve` of an institution confirms the deletion that `delete` asks for; `change` of a backup restores it,
    of the schemas migrates them."""

    INSTITUTION = subject("tenants", "tenant", "institutions", "view add change delete approve")
    DOMAIN = subject("tenants", "domain", "domains of institutions", "view add change delete")
    BACKUP = subject("tenants", "backup", "backups of institutions", "view add change")
    ENTITLEMENT = subject("tenants", "plan", "plans and limits", "view change")
    SCHEMA = subject("tenants", "schematemplate", "schemas of institutions", "view change")
