from django.apps import AppConfig
from django.db.models.signals import post_migrate

from shared_apps.core.registry import registry


class AuditConfig(AppConfig):
    name = "tenant_apps.audit"
    label = "audit"

    def ready(self) -> None:
        from tenant_apps.audit import anchors, coverage, views
        from tenant_apps.audit.permissions import AuditPermission

        # Before the rooms' own receivers, in the order of INSTALLED_APPS: what they write is in the log.
        post_migrate.connect(coverage.watch_after_migrate, sender=self, dispatch_uid="audit.coverage")
        registry.restore_step("audit.anchors", anchors.turn_page, undone=True)
        registry.record_routes.append(views.past_routes)
        for role in ("principal", "operator"):
            registry.grant(role, AuditPermission.ENTRY, "view")
