"""The log itself, for whoever may look at all of it."""

from shared_apps.core.api import EXACT, RANGE, ResourceViewSet
from tenant_apps.audit.models import Entry
from tenant_apps.audit.permissions import AuditPermission


class EntryViewSet(ResourceViewSet):
    """Who changed what: one entry for each changed row, newest first. A record's own are at its `history/`.

    `before` and `after` are columns of the table; a change has only those that differ. `seq` is the entry's place in
    the chain, null until it is sealed. Shown to roles that reach the whole institution.
    """

    queryset = Entry.objects.all()
    permission = AuditPermission.ENTRY
    scopes = {}
    fields = (
        "at", "operation", "table_name", "row_key", "before", "after", "actor_kind", "actor_id", "actor_name",
        "address", "request_id", "seq", "erased_at",
    )  # fmt: skip
    filters = {
        "at": RANGE,
        "operation": EXACT,
        "table_name": EXACT,
        "row_key": EXACT,
        "actor_kind": EXACT,
        "actor_id": EXACT,
        "request_id": EXACT,
    }
    ordering = ("-id",)
    orderable = ("id",)
    actions = "view"
    example = {
        "at": "2026-09-01T08:00:00.123456Z",
        "operation": "change",
        "table_name": "school_student",
        "row_key": "0199a1d0-7c1e-7b51-9c3e-4c3b1f0e9a11",
        "before": {"given_name": "Ada"},
        "after": {"given_name": "Adele"},
        "actor_kind": "person",
        "actor_id": "0199a1d0-7c1e-7b51-9c3e-4c3b1f0e9a12",
        "actor_name": "principal@greenwood.test",
        "address": "203.0.113.9",
        "request_id": "5f0b1c0e6a51",
        "seq": 1204,
        "erased_at": None,
    }


routes = {"entries": EntryViewSet}
