from django.apps import AppConfig


class CommunicationConfig(AppConfig):
    name = "tenant_apps.communication"
    label = "communication"
