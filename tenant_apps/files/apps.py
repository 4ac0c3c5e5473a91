from django.apps import AppConfig


class FilesConfig(AppConfig):
    name = "tenant_apps.files"
    label = "files"

    def ready(self) -> None:
        from shared_apps.core import limits, quotas
        from shared_apps.core.registry import registry
        from tenant_apps.files import services, tables

        quotas.counted(limits.STORAGE, services.stored_bytes, ample=20 * 1024**3)
        registry.table_desk = tables.Desk()
