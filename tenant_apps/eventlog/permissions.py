"""What can be done to jobs."""

from shared_apps.core.permissions import PermissionCatalogue, subject


class EventlogPermission(PermissionCatalogue):
    JOB = subject("eventlog", "job", "jobs", "view change")
