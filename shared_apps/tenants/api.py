"""/api/v1/platform/ on the operators' host: the institutions.

The verbs are those of `manage.py tenant`; the tables are the platform's, so each request steps out of the operators'
own tenant for them.
"""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.urls import path
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import Body, PlatformView, described
from shared_apps.core.api.querystring import (
    MOST_PAGE_SIZE,
    MOST_PAGES,
    PAGE_SIZE,
    bad,
    pairs,
    parse_key,
)
from shared_apps.core.context import State, platform
from shared_apps.core.errors import NotFound
from shared_apps.core.registry import NewInstitution
from shared_apps.tenants.lifecycle import change_state
from shared_apps.tenants.models import Tenant
from shared_apps.tenants.permissions import TenantsPermission
from shared_apps.tenants.services import create_institution

EXAMPLE = {
    "id": "019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f",
    "name": "Lycée Lumière",
    "slug": "lumiere",
    "host": "lumiere.example.org",
    "kind": "institution",
    "plan": "standard",
    "state": "active",
    "state_reason": "",
    "state_changed_at": "2026-09-01T08:00:00+00:00",
    "created_at": "2026-09-01T08:00:00+00:00",
}


class PlatformInstitution(serializers.Serializer):
    """An institution as operators see it; nothing of its people or records."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    slug = serializers.CharField()
    host = serializers.CharField()
    kind = serializers.CharField()
    plan = serializers.CharField()
    state = serializers.CharField()
    state_reason = serializers.CharField()
    state_changed_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()


class PlatformInstitutionList(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = PlatformInstitution(many=True)


class PlatformNewInstitution(Body):
    name = serializers.CharField(max_length=200)
    slug = serializers.CharField(max_length=63, help_text="First label of its host: lumiere -> lumiere.<platform>.")
    admin_email = serializers.EmailField(help_text="First administrator; gets the role principal.")
    language = serializers.CharField(max_length=15, default="en")
    currency = serializers.RegexField(r"\A[A-Z]{3}\Z", default="USD", help_text="ISO 4217.")
    plan = serializers.SlugField(max_length=50, required=False, help_text="What was ordered; kept as told.")
    time_zone = serializers.CharField(max_length=63, default="UTC", help_text="IANA name, such as Europe/Paris.")


class PlatformSuspension(Body):
    reason = serializers.CharField(max_length=300)
    read_only = serializers.BooleanField(default=False, help_text="Keep serving reads.")


def shown(tenant: Tenant) -> dict[str, Any]:
    columns = ("id", "name", "kind", "plan", "state", "state_reason", "state_changed_at", "created_at")
    return {**{name: getattr(tenant, name) for name in columns}, "slug": tenant.slug, "host": tenant.host}


def find(id: str) -> Tenant:
    tenant = Tenant.objects.prefetch_related("domains").filter(pk=parse_key(id)).first()
    if tenant is None:
        raise NotFound("There is no such institution.")
    return tenant


ID = OpenApiParameter("id", UUID, OpenApiParameter.PATH, description="The institution's id.")


class InstitutionsView(PlatformView):
    """All institutions, by name."""

    permission = TenantsPermission.INSTITUTION.code("view")
    permission_by_method = {"POST": TenantsPermission.INSTITUTION.code("add")}
    parameters = ("page", "page_size")

    @described(
        "List institutions",
        answer=PlatformInstitutionList,
        value={"next": None, "previous": None, "results": [EXAMPLE]},
        operation_id="platform_institutions_list",
        parameters=[OpenApiParameter("page", int), OpenApiParameter("page_size", int)],
    )
    def get(self, request: Request) -> Response:
        page, size = self._window(request.META.get("QUERY_STRING", ""))
        first = (page - 1) * size
        with platform():
            tenants = Tenant.objects.prefetch_related("domains").order_by("name", "id")[first : first + size + 1]
            rows = [shown(tenant) for tenant in tenants]
        return Response(
            {
                "next": self._link(page + 1, size) if len(rows) > size else None,
                "previous": self._link(page - 1, size) if page > 1 else None,
                "results": rows[:size],
            }
        )

    @described(
        "Make an institution with its own host and schema",
        body=PlatformNewInstitution,
        sent={"name": "Lycée Lumière", "slug": "lumiere", "admin_email": "direction@lumiere.example.org"},
        answer=PlatformInstitution,
        value=EXAMPLE,
        status=201,
        operation_id="platform_institutions_create",
    )
    def post(self, request: Request) -> Response:
        values = PlatformNewInstitution.read(request)
        with platform():
            tenant = create_institution(new=NewInstitution(**values))
            row = shown(tenant)
        return Response(row, status=201, headers={"Location": f"{request.path}{tenant.pk}/"})

    def _window(self, query: str) -> tuple[int, int]:
        given = pairs(query)
        found = {"page": 1, "page_size": PAGE_SIZE}
        for name, text in given:
            most = MOST_PAGES if name == "page" else MOST_PAGE_SIZE
            if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
                raise bad(name, f"{name} is a whole number from 1 to {most}.", f"bad_{name}")
            found[name] = int(text)
        return found["page"], found["page_size"]

    def _link(self, page: int, size: int) -> str:
        return f"{self.request.build_absolute_uri(self.request.path)}?{urlencode({'page': page, 'page_size': size})}"


class InstitutionView(PlatformView):
    """One institution."""

    permission = TenantsPermission.INSTITUTION.code("view")

    @described(
        "Read an institution",
        answer=PlatformInstitution,
        value=EXAMPLE,
        operation_id="platform_institutions_retrieve",
        parameters=[ID],
    )
    def get(self, request: Request, id: str) -> Response:
        with platform():
            return Response(shown(find(id)))


class SuspendView(PlatformView):
    """Stop serving an institution, or its writes only; nothing of it is lost."""

    permission = TenantsPermission.INSTITUTION.code("change")

    @described(
        "Suspend an institution",
        body=PlatformSuspension,
        sent={"reason": "Invoice 2026-17 unpaid"},
        answer=PlatformInstitution,
        value={**EXAMPLE, "state": "suspended"},
        operation_id="platform_institutions_suspend",
        parameters=[ID],
    )
    def post(self, request: Request, id: str) -> Response:
        values = PlatformSuspension.read(request)
        to = State.READ_ONLY if values["read_only"] else State.SUSPENDED
        with platform():
            change_state(tenant=find(id), to=to, reason=values["reason"])
            return Response(shown(find(id)))


class ResumeView(PlatformView):
    """Serve a suspended or read-only institution again."""

    permission = TenantsPermission.INSTITUTION.code("change")

    @described(
        "Resume an institution",
        answer=PlatformInstitution,
        value=EXAMPLE,
        operation_id="platform_institutions_resume",
        parameters=[ID],
    )
    def post(self, request: Request, id: str) -> Response:
        with platform():
            change_state(tenant=find(id), to=State.ACTIVE, reason="")
            return Response(shown(find(id)))


platform_routes = [
    path("institutions/", InstitutionsView.as_view(), name="platform-institutions"),
    path("institutions/<id>/", InstitutionView.as_view(), name="platform-institution"),
    path("institutions/<id>/suspend/", SuspendView.as_view(), name="platform-suspend"),
    path("institutions/<id>/resume/", ResumeView.as_view(), name="platform-resume"),
]
