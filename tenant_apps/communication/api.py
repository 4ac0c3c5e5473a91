"""A person's notifications."""

from shared_apps.core.api import EXACT, RANGE, Own, ResourceViewSet, verb
from tenant_apps.communication import services
from tenant_apps.communication.models import Notification
from tenant_apps.communication.permissions import CommunicationPermission


class NotificationViewSet(ResourceViewSet):
    """What the institution has told the signed-in person; nobody sees another's, whatever their role reaches."""

    queryset = Notification.objects.all()
    permission = CommunicationPermission.NOTIFICATION
    scopes = Own("recipient")
    fields = ("kind", "title", "body", "data", "read_at")
    filters = {"kind": EXACT, "read_at": RANGE, "created_at": RANGE}
    ordering = ("-created_at",)
    orderable = ("created_at",)
    actions = "view"
    example = {
        "kind": "roster.imported",
        "title": "Roster imported",
        "body": "600 students, 24 sections.",
        "data": {"job": "0199a1d0-7c1e-7b51-9c3e-4c3b1f0e9a11"},
        "read_at": None,
    }

    @verb(action="change")
    def read(self, record: Notification) -> None:
        """Note that it has been read."""
        services.mark_read(notification=record)


routes = {"notifications": NotificationViewSet}
