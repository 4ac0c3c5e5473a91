from django.apps import AppConfig

from shared_apps.core.registry import registry


class AcademicsConfig(AppConfig):
    name = "tenant_apps.academics"
    label = "academics"

    def ready(self) -> None:
        from tenant_apps.academics import scopes, services
        from tenant_apps.academics.permissions import REFERENCE, AcademicsPermission
        from tenant_apps.school.services import departures

        scopes.register()
        departures.append(services.end_enrolments)
        for subject in AcademicsPermission:
            registry.grant("principal", subject, " ".join(subject.actions))
            registry.grant("teacher", subject, "view")
            if subject in REFERENCE:
                registry.grant("teacher", subject, "export")
            if subject is not AcademicsPermission.SECTION_TEACHER:
                registry.grant("guardian", subject, "view")
                registry.grant("student", subject, "view")
