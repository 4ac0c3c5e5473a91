"""OneRoster CSV 1.2, bulk: reading and checking an upload, without Django, database or disk writes."""

from tenant_apps.interop.oneroster.findings import Code, Finding
from tenant_apps.interop.oneroster.package import Limits
from tenant_apps.interop.oneroster.roster import Roster, read_roster

__all__ = ["Code", "Finding", "Limits", "Roster", "read_roster"]
