"""/api/v1/interop/: rosters from other systems."""

from tenant_apps.interop.api.roster_imports import urlpatterns

__all__ = ["urlpatterns"]
