from django.apps import AppConfig

from shared_apps.core.registry import registry


class TenantsConfig(AppConfig):
    name = "shared_apps.tenants"
    label = "tenants"

    def ready(self) -> None:
        from shared_apps.tenants.permissions import TenantsPermission

        registry.grant("operator", TenantsPermission.INSTITUTION, "view add change")
