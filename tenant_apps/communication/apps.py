from django.apps import AppConfig


class CommunicationConfig(AppConfig):
    name = "tenant_apps.communication"
    label = "communication"

    def ready(self) -> None:
        from tenant_apps.communication import services
        from tenant_apps.eventlog import outbox

        outbox.handle("notify", services.deliver)
