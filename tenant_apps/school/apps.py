from django.apps import AppConfig


class SchoolConfig(AppConfig):
    name = "tenant_apps.school"
    label = "school"
