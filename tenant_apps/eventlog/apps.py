from django.apps import AppConfig


class EventlogConfig(AppConfig):
    name = "tenant_apps.eventlog"
    label = "eventlog"

    def ready(self) -> None:
        from django.db.models import Q

        from shared_apps.core.permissions import Scope
        from shared_apps.core.registry import registry
        from tenant_apps.eventlog import outbox, services
        from tenant_apps.eventlog.models import Job
        from tenant_apps.eventlog.permissions import EventlogPermission

        registry.publisher = outbox.write
        outbox.handle("job", services.send_job)
        # Whatever a role reaches, short of the whole institution: of jobs one sees one's own.
        for scope in (Scope.CAMPUS, Scope.DEPARTMENT, Scope.SECTION):
            registry.scope(Job, scope, lambda viewer: Q(requested_by=viewer.user_id))
        for role in ("principal", "teacher", "guardian", "student", "operator"):
            registry.grant(role, EventlogPermission.JOB, "view change")
