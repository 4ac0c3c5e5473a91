from django.apps import AppConfig


class EventlogConfig(AppConfig):
    name = "tenant_apps.eventlog"
    label = "eventlog"

    def ready(self) -> None:
        from shared_apps.core import limits, quotas
        from shared_apps.core.registry import registry
        from tenant_apps.eventlog import answers, operators, outbox, services
        from tenant_apps.eventlog.models import Job
        from tenant_apps.eventlog.permissions import EventlogPermission

        quotas.counted(limits.JOBS, lambda: Job.objects.running().count(), ample=0)
        registry.publisher = outbox.write
        registry.answers = answers
        registry.restore_step("eventlog.promises", services.settle_after_restore)
        operators.register()
        outbox.handle("job", services.send_job)
        for role in ("principal", "teacher", "guardian", "student", "operator"):
            registry.grant(role, EventlogPermission.JOB, "view change")
