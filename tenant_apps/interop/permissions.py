"""What can be done to the things of this room."""

from shared_apps.core.permissions import PermissionCatalogue, subject


class InteropPermission(PermissionCatalogue):
    ROSTER = subject("interop", "rosterimport", "rosters", "view import export")
