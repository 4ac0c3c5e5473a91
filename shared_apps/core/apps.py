from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class CoreConfig(AppConfig):
    name = "shared_apps.core"
    label = "core"

    def ready(self) -> None:
        from shared_apps.core import checks, logs  # noqa: F401

        logs.configure(settings.LOG_LEVEL)
        # Django would add four permissions to every model, enforced by nobody; ours come from the rooms' catalogues.
        post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
