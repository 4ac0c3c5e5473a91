"""/api/v1/interop/: rosters from and for other systems."""

from tenant_apps.interop.api import roster_exports, roster_imports

urlpatterns = [*roster_imports.urlpatterns, *roster_exports.urlpatterns]

__all__ = ["urlpatterns"]
