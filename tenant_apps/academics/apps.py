from django.apps import AppConfig


class AcademicsConfig(AppConfig):
    name = "tenant_apps.academics"
    label = "academics"
