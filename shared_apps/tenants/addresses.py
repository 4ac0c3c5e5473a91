"""The hosts that an institution holds, and those that it gave up: nobody inherits an address that is still warm."""

from datetime import UTC, datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q

from shared_apps.core.context import Kind, current_institution, platform
from shared_apps.core.errors import Conflict
from shared_apps.core.problems import constraint_name
from shared_apps.tenants.lifecycle import demand_live, demand_no_deletion, locked_tenant, record, tell
from shared_apps.tenants.models import Domain, ReleasedHost, Tenant
from shared_apps.tenants.slugs import address_of, check_slug, host_of, looks

COOL_DOWN = timedelta(days=90)


def change_slug(*, tenant: Tenant, slug: str) -> Tenant:
    """Give an institution another slug; its old host answers to nobody from the commit on.

    Nobody signs in anew where the host stays; at the new host everybody does, since cookies are the old host's.
    Raises Invalid for a bad slug, Conflict when it is taken, looks like another's, or cools down.
    """
    slug = check_slug(slug)
    with platform(), transaction.atomic():
        locked = locked_tenant(tenant)
        demand_live(locked)
        demand_no_deletion(locked)
        old = Domain.objects.select_for_update().exclude(slug="").get(tenant=locked)
        if old.slug != slug:
            release(old)
            hold_slug(locked, slug, is_primary=old.is_primary)
            record(locked, "change_slug", reason=f"{old.slug} -> {slug}")
            tell(locked)
    return fresh(tenant)


def hold_slug(tenant: Tenant, slug: str, *, is_primary: bool = True) -> Domain:
    """The institution's host on the platform. Raises Conflict when it is another's, looks like another's or cools
    down."""
    look = looks(slug) if tenant.kind == Kind.INSTITUTION else ""
    return hold(Domain(tenant=tenant, slug=slug, looks=look, domain=host_of(slug), is_primary=is_primary))


def hold(domain: Domain) -> Domain:
    """Write the host into the open transaction. Raises Conflict when it is another's or cools down."""
    try:
        with transaction.atomic():
            domain.save(force_insert=True)
    except IntegrityError as error:
        raise _refusal(domain, constraint_name(error)) from None
    # Looked for after the insert, which waits for whoever releases the same host just now.
    released = ReleasedHost.objects.filter(Q(host=domain.domain) | Q(looks=domain.looks, looks__gt=""))
    now = datetime.now(UTC)
    for was in released:
        if was.free_at > now and was.tenant_id != domain.tenant_id:
            raise Conflict(
                f"{domain.domain} was another institution's; it is free from {was.free_at:%Y-%m-%d} on.",
                code="host_cools_down",
            )
    for was in released:
        if was.host == domain.domain:
            was.delete()
    return domain


def demand_free(slug: str) -> None:
    """Raises Conflict when a slug could not be had now. Who asks may still lose it to somebody faster."""
    with platform():
        held = Domain.objects.filter(Q(slug=slug) | Q(looks=looks(slug), looks__gt="")).first()
        if held is not None:
            raise _refusal(Domain(slug=slug), "tenants_domain_looks" if held.slug != slug else "")
        warm = ReleasedHost.objects.filter(Q(host=host_of(slug)) | Q(looks=looks(slug), looks__gt=""))
        if warm.filter(free_at__gt=datetime.now(UTC)).exists():
            raise Conflict(f"{slug!r} was another institution's not long ago; choose another slug.", code="slug_taken")


def release(domain: Domain) -> None:
    """Take a host from its institution in the open transaction; for a while nobody else gets it."""
    ReleasedHost.objects.update_or_create(
        host=domain.domain,
        defaults={
            "tenant_id": domain.tenant_id,
            "looks": domain.looks,
            "free_at": datetime.now(UTC) + COOL_DOWN,
        },
    )
    Domain.objects.filter(pk=domain.pk).delete()


def fresh(tenant: Tenant) -> Tenant:
    """The institution as it stands now, with its hosts."""
    with platform():
        return Tenant.objects.prefetch_related("domains").get(pk=tenant.pk)


def own_address() -> str:
    """Where a browser finds the current institution: the host that it is known by, whatever host was asked."""
    key = current_institution().id
    with platform():
        return address_of(Tenant.objects.prefetch_related("domains").get(pk=key).host)


def _refusal(domain: Domain, constraint: str) -> Conflict:
    if domain.slug and constraint == "tenants_domain_looks":
        held = Domain.objects.filter(slug=domain.slug).exists()
        if not held:
            return Conflict(f"{domain.slug!r} looks like another institution's address.", code="slug_alike")
    if domain.slug:
        return Conflict(f"The address {domain.slug!r} is taken; choose another slug.", code="slug_taken")
    return Conflict(f"{domain.domain} is another institution's.", code="domain_taken")
