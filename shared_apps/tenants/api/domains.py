"""The hosts of an institution, and the domains that it says are its own."""

from typing import Any

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import Body, described
from shared_apps.core.context import platform
from shared_apps.tenants import domains
from shared_apps.tenants.api.desk import ID, WRITE, Desk, find
from shared_apps.tenants.models import DomainClaim, Tenant
from shared_apps.tenants.permissions import TenantsPermission

NAME = OpenApiParameter("domain", str, OpenApiParameter.PATH, description="As the list shows it.")
CLAIMED = {
    "domain": "school.example.org",
    "proven": False,
    "primary": False,
    "record": {
        "name": "_lyceum-challenge.school.example.org",
        "text": "lyceum-verification=Zm9ydHktdHdvIGJ5dGVzIG9mIHJhbmRvbW5lc3M",
    },
}
HELD = {"domain": "lumiere.example.org", "proven": True, "primary": True, "record": None}


class PlatformDomainRecord(serializers.Serializer):
    """The TXT record that proves a claim."""

    name = serializers.CharField()
    text = serializers.CharField()


class PlatformDomain(serializers.Serializer):
    """A host that leads to the institution, or one that is claimed: then `record` says what to publish."""

    domain = serializers.CharField()
    proven = serializers.BooleanField()
    primary = serializers.BooleanField(help_text="The host that the institution is known by.")
    record = PlatformDomainRecord(allow_null=True)


class PlatformDomains(serializers.Serializer):
    results = PlatformDomain(many=True)


class PlatformNewDomain(Body):
    domain = serializers.CharField(max_length=253, help_text="In any script; kept as DNS writes it.")


def hosts_of(tenant: Tenant) -> list[dict[str, Any]]:
    held = [
        {"domain": host.domain, "proven": True, "primary": host.is_primary, "record": None}
        for host in tenant.domains.all()
    ]
    return [*held, *map(claimed, tenant.claims.all())]


def claimed(claim: DomainClaim) -> dict[str, Any]:
    name, text = domains.challenge(claim)
    return {"domain": claim.domain, "proven": False, "primary": False, "record": {"name": name, "text": text}}


class DomainsView(Desk):
    """The hosts of an institution: its own on the platform first, then its domains and claims."""

    permission = TenantsPermission.DOMAIN.code("view")
    permission_by_method = {"POST": TenantsPermission.DOMAIN.code("add")}

    @described(
        "List an institution's hosts and claims",
        answer=PlatformDomains,
        value={"results": [HELD, CLAIMED]},
        operation_id="platform_domains_list",
        parameters=[ID],
    )
    def get(self, request: Request, id: str) -> Response:
        with platform():
            return Response({"results": hosts_of(find(id))})

    @described(
        "Claim a domain",
        body=PlatformNewDomain,
        sent={"domain": "school.example.org"},
        answer=PlatformDomain,
        value=CLAIMED,
        status=201,
        operation_id="platform_domains_claim",
        parameters=WRITE,
        description="Nothing is answered there until the record is published and the claim verified.",
    )
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.once(
            lambda: claimed(domains.claim_domain(tenant=find(id), **PlatformNewDomain.read(request))),
            status=201,
            place=lambda row: f"{request.path}{row['domain']}/",
        )


class DomainView(Desk):
    """One host or claim."""

    permission = TenantsPermission.DOMAIN.code("delete")

    @described(
        "Release a domain, or withdraw a claim",
        status=204,
        operation_id="platform_domains_release",
        parameters=[*WRITE, NAME],
        description="The domain answers no more, and is nobody else's for 90 days. The host on the platform stays.",
    )
    def delete(self, request: Request, id: str, domain: str) -> HttpResponse:
        return self.once(lambda: domains.release_domain(tenant=find(id), domain=domain.lower()), status=204)


class VerifyDomainView(Desk):
    """Look for a claim's record; when it is there, the domain leads to the institution."""

    permission = TenantsPermission.DOMAIN.code("change")

    @described(
        "Verify a claim",
        answer=PlatformDomains,
        value={"results": [HELD, {**HELD, "domain": "school.example.org", "primary": False}]},
        operation_id="platform_domains_verify",
        parameters=[*WRITE, NAME],
    )
    def post(self, request: Request, id: str, domain: str) -> HttpResponse:
        def work() -> dict[str, Any]:
            domains.verify_domain(tenant=find(id), domain=domain.lower())
            return {"results": hosts_of(find(id))}

        return self.once(work)


class PrimaryDomainView(Desk):
    """Make one of the institution's hosts the one that it is known by."""

    permission = TenantsPermission.DOMAIN.code("change")

    @described(
        "Make a host the primary one",
        answer=PlatformDomains,
        value={"results": [{**HELD, "primary": False}, {**HELD, "domain": "school.example.org"}]},
        operation_id="platform_domains_make_primary",
        parameters=[*WRITE, NAME],
    )
    def post(self, request: Request, id: str, domain: str) -> HttpResponse:
        def work() -> dict[str, Any]:
            domains.make_primary(tenant=find(id), domain=domain.lower())
            return {"results": hosts_of(find(id))}

        return self.once(work)


routes = [
    path("institutions/<id>/domains/", DomainsView.as_view(), name="platform-domains"),
    path("institutions/<id>/domains/<domain>/", DomainView.as_view(), name="platform-domain"),
    path("institutions/<id>/domains/<domain>/verify/", VerifyDomainView.as_view(), name="platform-domain-verify"),
    path(
        "institutions/<id>/domains/<domain>/make-primary/", PrimaryDomainView.as_view(), name="platform-domain-primary"
    ),
]
