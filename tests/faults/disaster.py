"""What the disaster test runs in processes of their own: `python -m tests.faults.disaster fill | digests | sign-in`.

Each stands in the environment of one machine: its servers, its data directory, the store of the backups.
"""

import json
import sys

import django

from shared_apps.core.actors import acting, command
from shared_apps.core.context import institution, platform


def fill() -> None:
    """One more institution, of 1,200 students, and a file of it."""
    from shared_apps.core.registry import NewInstitution
    from shared_apps.tenants.services import create_institution
    from tenant_apps.files.services import keep
    from tests.bench import ours

    with platform():
        made = create_institution(new=NewInstitution("Rheintal", "rheintal"))
    with institution(made.context):
        ours.fill()
        chunks = [b"%PDF-1.7 a report"]
        keep(name="report.pdf", content_type="application/pdf", purpose="report", chunks=chunks, owner=None)


def digests() -> None:
    """A digest of every table, and the digest of every file, as JSON."""
    from django.conf import settings

    from shared_apps.tenants.backups.archive import digest
    from shared_apps.tenants.models import Tenant
    from tests.shared_apps.tenants.archives import content_of

    with platform():
        schemas = {tenant.slug: tenant.schema_name for tenant in Tenant.objects.prefetch_related("domains")}
    found = {slug: content_of(schema) for slug, schema in {"public": "public", **schemas}.items()}
    files = sorted(path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file())
    found["files"] = {str(path.relative_to(settings.MEDIA_ROOT)): digest(path) for path in files}
    print(json.dumps(found))


def sign_in() -> None:
    """A principal lists students, an operator institutions. Raises AssertionError."""
    from shared_apps.tenants.services import find_tenant
    from tests import cast as casting
    from tests.api import as_person

    for slug, role, path in (
        ("greenwood", "principal", "/api/v1/school/students/?count=true"),
        ("console", "operator", "/api/v1/platform/institutions/"),
    ):
        with platform():
            context = find_tenant(slug).context
        answer = as_person(context, getattr(casting.of(context), role)).get(path)
        assert answer.status_code == 200, answer.content
        assert answer.json()["results"]


if __name__ == "__main__":
    with platform(), acting(command("disaster")):
        django.setup()
        {"fill": fill, "digests": digests, "sign-in": sign_in}[sys.argv[1]]()
