"""What can be done to messages."""

from shared_apps.core.permissions import PermissionCatalogue, subject


class CommunicationPermission(PermissionCatalogue):
    NOTIFICATION = subject("communication", "notification", "notifications", "view change")
