from django.apps import AppConfig


class CommunicationConfig(AppConfig):
    name = "tenant_apps.communication"
    label = "communication"

    def ready(self) -> None:
        from shared_apps.core.registry import registry
        from tenant_apps.communication import services
        from tenant_apps.communication.permissions import CommunicationPermission
        from tenant_apps.eventlog import outbox

        outbox.handle("notify", services.deliver)
        for role in ("principal", "teacher", "guardian", "student", "operator"):
            registry.grant(role, CommunicationPermission.NOTIFICATION, "view change")
