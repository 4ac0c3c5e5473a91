from django.apps import AppConfig

from shared_apps.core.registry import registry


class TenantsConfig(AppConfig):
    name = "shared_apps.tenants"
    label = "tenants"

    def ready(self) -> None:
        from shared_apps.tenants.jobs import JOBS
        from shared_apps.tenants.permissions import TenantsPermission

        registry.platform_jobs |= JOBS
        for subject in TenantsPermission:
            registry.grant("operator", subject, " ".join(subject.actions))
