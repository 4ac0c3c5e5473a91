"""What can be done to the things of this room."""

from shared_apps.core.permissions import PermissionCatalogue, subject


class ReportsPermission(PermissionCatalogue):
    DEFINITION = subject("reports", "reportdefinition", "report definitions", "view")
    SCHEDULE = subject("reports", "reportschedule", "report schedules")
    SUBSCRIPTION = subject("reports", "reportsubscription", "report subscriptions", "view add delete")
    RUN = subject("reports", "reportrun", "report runs", "view add")
    ARTIFACT = subject("reports", "reportartifact", "files of reports", "view")
    SAVED_VIEW = subject("reports", "savedview", "saved views")
