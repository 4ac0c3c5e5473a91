"""The schemas of all institutions: who is behind this release, bringing them up to it, and comparing them."""

from typing import Any

from django.http import HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import Body, described
from shared_apps.core.api.schema import IDEMPOTENCY_KEY
from shared_apps.core.context import platform
from shared_apps.tenants.api.desk import Desk, described_job
from shared_apps.tenants.migrating import institutions_behind
from shared_apps.tenants.models import Tenant
from shared_apps.tenants.permissions import TenantsPermission

BEHIND = {"institution": "019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f", "slug": "lumiere", "error": "lock timeout"}


class PlatformBehind(serializers.Serializer):
    institution = serializers.UUIDField()
    slug = serializers.CharField()
    error = serializers.CharField(allow_blank=True, help_text="Why the last run left it behind.")


class PlatformMigrations(serializers.Serializer):
    """Institutions that lack a migration, or whose permissions and roles are an earlier release's."""

    institutions = serializers.IntegerField(help_text="How many there are in all.")
    behind = PlatformBehind(many=True)


class PlatformMigrationRun(Body):
    parallel = serializers.IntegerField(min_value=1, max_value=16, default=2, help_text="Institutions at a time.")
    canaries = serializers.IntegerField(min_value=0, max_value=100, default=1, help_text="Go first and alone.")


class MigrationsView(Desk):
    """Who is behind this release."""

    permission = TenantsPermission.SCHEMA.code("view")
    permission_by_method = {"POST": TenantsPermission.SCHEMA.code("change")}

    @described(
        "Read which institutions are behind this release",
        answer=PlatformMigrations,
        value={"institutions": 1000, "behind": [BEHIND]},
        operation_id="platform_migrations_list",
    )
    def get(self, request: Request) -> Response:
        with platform():
            behind: list[dict[str, Any]] = [
                {"institution": tenant.pk, "slug": tenant.slug, "error": tenant.migration_error}
                for tenant in institutions_behind()
            ]
            return Response({"institutions": Tenant.objects.count(), "behind": behind})

    @described_job(
        "Bring every institution up to this release",
        body=PlatformMigrationRun,
        sent={"parallel": 4, "canaries": 2},
        operation_id="platform_migrations_run",
        parameters=[IDEMPOTENCY_KEY],
        description=(
            "When a canary fails nobody else is touched. Another one that fails is as it was, and the job's `errors` "
            "name it; the others are up to date."
        ),
    )
    def post(self, request: Request) -> HttpResponse:
        return self.start("tenants.migrate", lambda: PlatformMigrationRun.read(request))


class CheckView(Desk):
    """What differs from this release's template or was left half way, and what to run."""

    permission = TenantsPermission.SCHEMA.code("view")

    @described_job(
        "Compare every institution with this release",
        operation_id="platform_check",
        parameters=[IDEMPOTENCY_KEY],
        description="The job's `result` holds `findings`: `where` (a slug or a schema), `what`, and `mend`.",
    )
    def post(self, request: Request) -> HttpResponse:
        return self.start("tenants.check", dict)


routes = [
    path("migrations/", MigrationsView.as_view(), name="platform-migrations"),
    path("check/", CheckView.as_view(), name="platform-check"),
]
