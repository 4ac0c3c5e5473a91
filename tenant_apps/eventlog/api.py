"""Jobs, as the people who started them see them."""

from shared_apps.core.api import EXACT, RANGE, Own, ResourceViewSet, verb
from tenant_apps.eventlog import services
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.permissions import EventlogPermission


class JobViewSet(ResourceViewSet):
    """Work that a worker does in the background. People see the jobs that they started, a principal everybody's.

    `progress` is in per cent. A job that failed says why in `errors`, as a problem answer does.
    """

    queryset = Job.objects.all()
    permission = EventlogPermission.JOB
    scopes = Own("requested_by", supervised=True)
    fields = ("kind", "state", "progress", "step", "result", "errors", "requested_by", "started_at", "finished_at")
    filters = {"kind": EXACT, "state": EXACT, "created_at": RANGE}
    ordering = ("-created_at",)
    orderable = ("created_at",)
    actions = "view"
    example = {
        "kind": "interop.roster_import",
        "state": "running",
        "progress": 40,
        "step": "Writing students",
        "result": None,
        "errors": [],
        "requested_by": "0199a1d0-7c1e-7b51-9c3e-4c3b1f0e9a11",
        "started_at": "2026-09-01T08:00:01Z",
        "finished_at": None,
    }

    @verb(action="change")
    def cancel(self, record: Job) -> None:
        """End a pending job, or ask a running one to stop; what it has written so far is taken back."""
        services.cancel_job(job=record)


routes = {"jobs": JobViewSet}
