"""What can be done to the things of this room."""

from shared_apps.core.permissions import PermissionCatalogue, subject


class ReportsPermission(PermissionCatalogue):
    SCHEDULE = subject("reports", "reportschedule", "report schedules", "view")
    RUN = subject("reports", "reportrun", "report runs", "view add")
    ARTIFACT = subject("reports", "reportartifact", "files of reports", "view")
    SAVED_VIEW = subject("reports", "savedview", "saved views")
