from django.apps import AppConfig


class InteropConfig(AppConfig):
    name = "tenant_apps.interop"
    label = "interop"
