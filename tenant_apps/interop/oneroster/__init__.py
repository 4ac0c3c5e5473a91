"""OneRoster CSV 1.2 and 1.1, bulk and delta: reading and checking an upload, without database or disk writes."""

from tenant_apps.interop.oneroster.findings import Code, Finding
from tenant_apps.interop.oneroster.package import Limits
from tenant_apps.interop.oneroster.roster import Roster, read_roster

__all__ = ["Code", "Finding", "Limits", "Roster", "read_roster"]
