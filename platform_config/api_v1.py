"""Everything under /api/v1/: the only place that knows the version, and which rooms are open on which kind of host."""

from django.urls import URLPattern, URLResolver, include, path

from shared_apps.core.api import ResourceViewSet
from shared_apps.tenants import api as tenants
from tenant_apps.academics import api as academics
from tenant_apps.accounts import api as accounts
from tenant_apps.audit import api as audit
from tenant_apps.communication import api as communication
from tenant_apps.eventlog import api as eventlog
from tenant_apps.files import api as files
from tenant_apps.interop import api as interop
from tenant_apps.reports import api as reports
from tenant_apps.school import api as school
from tenant_apps.school import entitlements

Room = dict[str, type[ResourceViewSet]]


def room(prefix: str, routes: Room) -> list[URLPattern | URLResolver]:
    """A room's resources under its prefix: `school/students/`, `school/students/<id>/` ..."""
    return [resource.routes(f"{prefix}{plural}/") for plural, resource in routes.items()]


everywhere: list[URLPattern | URLResolver] = [
    path("auth/", include(accounts.auth_routes)),
    *room("accounts/", accounts.routes),
    *room("audit/", audit.routes),
    *room("communication/", communication.routes),
    *room("", eventlog.routes),
    *files.urlpatterns,
]
institution = [
    *everywhere,
    *room("school/", school.routes),
    path("school/", include(entitlements.urlpatterns)),
    *room("academics/", academics.routes),
    *room("reports/", reports.routes),
    path("reports/", include(reports.urlpatterns)),
    path("interop/", include(interop.urlpatterns)),
]
operator = [*everywhere, path("platform/", include(tenants.platform_routes))]
public = tenants.public_routes
