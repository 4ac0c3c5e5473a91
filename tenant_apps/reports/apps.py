from django.apps import AppConfig


class ReportsConfig(AppConfig):
    name = "tenant_apps.reports"
    label = "reports"

    def ready(self) -> None:
        from shared_apps.core.registry import registry
        from tenant_apps.reports import services
        from tenant_apps.reports.permissions import ReportsPermission

        registry.provisioning_step("reports.schedules", services.make_schedules)
        for subject in ReportsPermission:
            registry.grant("principal", subject, " ".join(subject.actions))
        for role in ("teacher", "guardian", "student"):
            registry.grant(role, ReportsPermission.SAVED_VIEW, "view add change delete")
