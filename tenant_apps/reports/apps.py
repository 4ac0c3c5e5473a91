from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ReportsConfig(AppConfig):
    name = "tenant_apps.reports"
    label = "reports"

    def ready(self) -> None:
        from shared_apps.core.registry import registry
        from tenant_apps.reports import definitions, services  # noqa: F401 - the services hold the body of a job
        from tenant_apps.reports.permissions import ReportsPermission

        post_migrate.connect(definitions.sync_after_migrate, sender=self, dispatch_uid="reports.definitions")
        for subject in ReportsPermission:
            registry.grant("principal", subject, " ".join(subject.actions))
        for role in ("teacher", "guardian", "student"):
            registry.grant(role, ReportsPermission.SAVED_VIEW, "view add change delete")
