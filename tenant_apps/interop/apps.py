from django.apps import AppConfig


class InteropConfig(AppConfig):
    name = "tenant_apps.interop"
    label = "interop"

    def ready(self) -> None:
        from shared_apps.core.registry import registry
        from tenant_apps.interop import services  # noqa: F401 - registers the body of its job
        from tenant_apps.interop.permissions import InteropPermission

        registry.grant("principal", InteropPermission.ROSTER, "view import export")
