"""What can be done to the log: it is looked at, and nothing else."""

from shared_apps.core.permissions import PermissionCatalogue, subject


class AuditPermission(PermissionCatalogue):
    ENTRY = subject("audit", "entry", "entries of the log", "view")
