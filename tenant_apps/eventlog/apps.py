from django.apps import AppConfig


class EventlogConfig(AppConfig):
    name = "tenant_apps.eventlog"
    label = "eventlog"
