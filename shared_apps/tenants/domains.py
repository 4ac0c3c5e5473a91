"""Domains of an institution's own: claimed, proven by a DNS record, and only then answered.

A claim stands in a table that no request is routed by, so what is unproven cannot be reached by mistake, and a claim
keeps nobody else from proving the domain.
"""

import hmac
import re
import secrets

import idna
from django.conf import settings
from django.db import transaction

from shared_apps.core.context import platform
from shared_apps.core.errors import Conflict, Invalid, NotFound
from shared_apps.tenants.addresses import hold, release
from shared_apps.tenants.lifecycle import demand_live, locked_tenant, record, tell
from shared_apps.tenants.models import Domain, DomainClaim, Tenant
from shared_apps.tenants.resolver import Resolver, SystemResolver
from shared_apps.tenants.slugs import LONGEST_HOST

CHALLENGE = "_lyceum-challenge."
PREFIX = "lyceum-verification="
MOST = 20  # of an institution's own domains and claims together
FORM = re.compile(r"\A(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])\Z")
resolver: Resolver = SystemResolver()


def domain_name(text: str) -> str:
    """A domain as DNS and the Host header write it: lower case, other scripts encoded (IDNA 2008), no final dot.

    Raises Invalid for what is no name, an address, or part of the platform's own domain.
    """
    given = text.strip().removesuffix(".")
    try:
        name = idna.encode(given, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        raise _no_domain() from None
    if not FORM.match(name) or len(CHALLENGE + name) > LONGEST_HOST:
        raise _no_domain()
    if f".{name}".endswith(f".{settings.PLATFORM_DOMAIN}"):
        raise Invalid.at(
            "/domain", "Addresses on the platform's domain are slugs; change that.", code="platform_domain"
        )
    return name


def challenge(claim: DomainClaim) -> tuple[str, str]:
    """The TXT record that proves a claim: its name and its text."""
    return CHALLENGE + claim.domain, PREFIX + claim.token


def claim_domain(*, tenant: Tenant, domain: str) -> DomainClaim:
    """Say that a domain is the institution's own; the same claim when it was said before.

    Raises Invalid for a bad name, Conflict when an institution holds it, or this one has too many.
    """
    name = domain_name(domain)
    with platform(), transaction.atomic():
        locked = locked_tenant(tenant)
        demand_live(locked)
        claim = DomainClaim.objects.filter(tenant=locked, domain=name).first()
        if claim is not None:
            return claim
        if Domain.objects.filter(domain=name).exists():
            raise Conflict(f"{name} is held already.", code="domain_taken")
        if locked.claims.count() + locked.domains.filter(slug="").count() >= MOST:
            raise Conflict(f"An institution has {MOST} domains at most; release one first.", code="too_many_domains")
        claim = DomainClaim.objects.create(tenant=locked, domain=name, token=secrets.token_urlsafe(32))
        record(locked, "claim_domain", reason=name)
    return claim


def verify_domain(*, tenant: Tenant, domain: str, asking: Resolver | None = None) -> Domain:
    """Look for the claim's record and, when it is there, let the domain lead to the institution.

    Raises NotFound without a claim; Conflict when the record is not there, or the domain is another's or cools down;
    Unavailable when the DNS does not answer. A domain that is proven already is simply returned.
    """
    with platform():
        held = Domain.objects.filter(tenant=tenant, slug="", domain=domain).first()
        if held is not None:
            return held
        claim = _claim(tenant, domain)
        name, expected = challenge(claim)
        found = (asking or resolver).txt(name)
        if not any(hmac.compare_digest(text.strip().encode(), expected.encode()) for text in found):
            what = f"{len(found)} other records" if found else "no record"
            raise Conflict(
                f"There is {what} at {name}; publish a TXT record with the text {expected}, and wait until it is seen.",
                code="domain_unproven",
            )
        with transaction.atomic():
            locked = locked_tenant(tenant)
            demand_live(locked)
            if not DomainClaim.objects.filter(pk=claim.pk).delete()[0]:
                raise _no_claim(domain)
            made = hold(Domain(tenant=locked, domain=claim.domain, is_primary=False))
            record(locked, "verify_domain", reason=claim.domain)
            tell(locked)
    return made


def make_primary(*, tenant: Tenant, domain: str) -> Domain:
    """Make a host that the institution holds the one that it is known by. Raises NotFound for another."""
    with platform(), transaction.atomic():
        locked = locked_tenant(tenant)
        demand_live(locked)
        held = _held(locked, domain)
        if not held.is_primary:
            held.is_primary = True
            held.save(update_fields=["is_primary", "updated_at"])  # takes it from the others
            record(locked, "make_primary", reason=held.domain)
            tell(locked)
    return held


def release_domain(*, tenant: Tenant, domain: str) -> None:
    """Give up a domain, or a claim. A domain answers no more, and cools down.

    Raises NotFound for one that is not the institution's, Conflict for its host on the platform.
    """
    with platform(), transaction.atomic():
        locked = locked_tenant(tenant)
        demand_live(locked)
        if DomainClaim.objects.filter(tenant=locked, domain=domain).delete()[0]:
            record(locked, "withdraw_claim", reason=domain)
            return
        held = _held(locked, domain)
        if held.slug:
            raise Conflict("Its host on the platform stays; change the slug instead.", code="platform_host")
        release(held)
        if held.is_primary:
            Domain.objects.filter(tenant=locked).exclude(slug="").update(is_primary=True)
        record(locked, "release_domain", reason=domain)
        tell(locked)


def _held(tenant: Tenant, domain: str) -> Domain:
    held = Domain.objects.filter(tenant=tenant, domain=domain).first()
    if held is None:
        raise NotFound(f"The institution holds no {domain}.", code="no_domain")
    return held


def _claim(tenant: Tenant, domain: str) -> DomainClaim:
    claim = DomainClaim.objects.filter(tenant=tenant, domain=domain).first()
    if claim is None:
        raise _no_claim(domain)
    return claim


def _no_claim(domain: str) -> NotFound:
    return NotFound(f"The institution has not claimed {domain}.", code="no_claim")


def _no_domain() -> Invalid:
    return Invalid.at(
        "/domain", "Give a domain of two labels or more, such as school.example.org.", code="invalid_domain"
    )
