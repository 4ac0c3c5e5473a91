from django.apps import AppConfig

from shared_apps.core.registry import registry


class SchoolConfig(AppConfig):
    name = "tenant_apps.school"
    label = "school"

    def ready(self) -> None:
        from shared_apps.core import limits, quotas
        from tenant_apps.school import scopes, services
        from tenant_apps.school.models import Student
        from tenant_apps.school.permissions import REFERENCE, SchoolPermission

        scopes.register()
        quotas.counted(limits.STUDENTS, services.enrolled_students, ample=20_000, model=Student)
        registry.new_institution_checks.append(services.check_institution)
        registry.provisioning_step("school.institution", services.make_institution)
        registry.time_zone = services.time_zone
        for subject in SchoolPermission:
            registry.grant("principal", subject, " ".join(subject.actions))
        for subject in REFERENCE:
            for role in ("teacher", "guardian", "student"):
                registry.grant(role, subject, "view")
            # A file of people leaves the house with whoever holds it: that is the office's, not a teacher's.
            registry.grant("teacher", subject, "export")
        registry.grant("teacher", SchoolPermission.STUDENT, "view")
        registry.grant("teacher", SchoolPermission.STUDENT_STATUS, "view")
        registry.grant("teacher", SchoolPermission.GUARDIAN, "view")
        registry.grant("teacher", SchoolPermission.STUDENT_GUARDIAN, "view")
        registry.grant("teacher", SchoolPermission.STAFF, "view")
        registry.grant("teacher", SchoolPermission.DEPARTMENT, "view")
        registry.grant("guardian", SchoolPermission.STUDENT, "view")
        registry.grant("guardian", SchoolPermission.GUARDIAN, "view")
        registry.grant("guardian", SchoolPermission.STUDENT_GUARDIAN, "view")
        registry.grant("student", SchoolPermission.STUDENT, "view")
