"""Verbs over institutions: create, suspend, resume."""

import re
from datetime import UTC, datetime

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.commands.migrate import Command as Migrate
from django.core.validators import validate_email
from django.db import IntegrityError, connection, transaction

from shared_apps.core import bus
from shared_apps.core.actors import acting, platform_work
from shared_apps.core.context import InstitutionContext, Kind, State, institution, platform
from shared_apps.core.engine.base import owner_connection
from shared_apps.core.errors import Conflict, Invalid, NotFound
from shared_apps.core.registry import NewInstitution, registry
from shared_apps.core.roles import ensure_serving_role, grant_serving_role
from shared_apps.tenants import template
from shared_apps.tenants.models import Domain, SchemaTemplate, Tenant

SLUG = re.compile(r"\A[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
RESERVED = frozenset(
    "admin api app assets auth blog cdn console dashboard docs ftp health help lyceum mail metrics platform public "
    "root smtp static status support test webmail www".split()
)


def check_slug(slug: str, *, kind: str = Kind.INSTITUTION) -> str:
    """The slug in lower case. Raises Invalid when it cannot be a host's first label or is kept for the platform."""
    slug = slug.strip().lower()
    if not SLUG.match(slug) or slug.startswith("xn--") or len(slug) < 2:
        raise Invalid.at(
            "/slug", "Use 2 to 63 letters a-z, digits and hyphens, with no hyphen at either end.", code="invalid_slug"
        )
    if kind == Kind.INSTITUTION and slug in RESERVED:
        raise Invalid.at("/slug", f"{slug!r} is kept for the platform; choose another.", code="reserved_slug")
    return slug


def create_institution(*, new: NewInstitution) -> Tenant:
    """Make an institution with its host and schema, run every provisioning step, and set it live.

    The row stands as `provisioning` while the schema is made, and one transaction at the end runs the steps and makes
    it active. A kill on the way leaves a row that serves nobody; `create_institution` with the same slug finishes it.

    Raises Invalid for a bad slug, name or address, Conflict when the slug is taken by a live institution.
    """
    slug = check_slug(new.slug, kind=new.kind)
    name = new.name.strip()
    if not name or len(name) > 200 or "\x00" in name:
        raise Invalid.at("/name", "Give a name of 1 to 200 characters.", code="invalid_name")
    if new.admin_email:
        try:
            validate_email(new.admin_email)
        except ValidationError:
            raise Invalid.at("/admin_email", "This is not an e-mail address.", code="invalid_email") from None
    for check in registry.new_institution_checks:
        check(new)
    with platform():
        tenant = _claim(slug, name, new)
        with owner_connection(), connection.cursor() as lock:
            # One maker at a time for one institution: a second one waits, then finds it live and is refused.
            lock.execute("SELECT pg_advisory_lock(hashtextextended(%s, 7202))", [tenant.schema_name])
            tenant.refresh_from_db()
            if tenant.state != State.PROVISIONING:
                raise _taken(slug)
            _make_schema(tenant)
            made_by = acting(platform_work("institution creation"))
            with institution(tenant.context), made_by, transaction.atomic():
                for _, step in registry.provisioning_steps:
                    step(new)
                with platform():
                    changed_at = datetime.now(UTC)
                    Tenant.objects.filter(pk=tenant.pk).update(state=State.ACTIVE, state_changed_at=changed_at)
        bus.tell("tenants", str(tenant.pk))
        return Tenant.objects.prefetch_related("domains").get(pk=tenant.pk)


def _taken(slug: str) -> Conflict:
    return Conflict(f"The address {slug!r} is taken; choose another slug.", code="slug_taken")


def _claim(slug: str, name: str, new: NewInstitution) -> Tenant:
    """The new row, or the one that a killed creation of the same slug left behind."""
    try:
        with transaction.atomic():
            tenant = Tenant(name=name, kind=new.kind, plan=new.plan)
            tenant.save(force_insert=True)
            Domain.objects.create(tenant=tenant, slug=slug, domain=f"{slug}.{settings.PLATFORM_DOMAIN}")
            return tenant
    except IntegrityError:
        left = Tenant.objects.filter(domains__slug=slug, state=State.PROVISIONING, kind=new.kind).first()
        if left is None:
            raise _taken(slug) from None
        Tenant.objects.filter(pk=left.pk).update(name=name, plan=new.plan)
        return left


def _make_schema(tenant: Tenant) -> None:
    """The institution's schema, equal to the template. What a killed attempt left is dropped first: no person was ever
    in it. The operators' tenant has roles of its own, and is migrated."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {connection.ops.quote_name(tenant.schema_name)} CASCADE")
        if tenant.kind == Kind.INSTITUTION:
            template.replay(tenant.schema_name)
    if tenant.kind == Kind.OPERATOR:
        template.make_empty_schema(tenant.schema_name)
        template.migrate_schema(tenant.context)
    Tenant.objects.filter(pk=tenant.pk).update(template_rows=SchemaTemplate.objects.get().rows)


def migrate_platform() -> None:
    """Apply the shared apps' migrations to the public schema and give the serving role its rights there."""
    with platform(), owner_connection():
        if settings.DATABASE_APP_DERIVED:
            ensure_serving_role()
        grant_serving_role("public")
        call_command(Migrate(), interactive=False, verbosity=0, skip_checks=True)
        template.refresh_template()
    bus.tell("tenants", "")


def find_tenant(slug: str) -> Tenant:
    """The institution with this slug or host. Raises NotFound."""
    tenants = Tenant.objects.prefetch_related("domains")
    key = slug.strip().lower()
    tenant = tenants.filter(domains__slug=key).first() or tenants.filter(domains__domain=key).first()
    if tenant is None:
        raise NotFound(f"There is no institution {slug!r}; `manage.py tenant list` shows them.", code="no_institution")
    return tenant


def every_institution() -> list[InstitutionContext]:
    """Those that have a schema, whatever their state, in the order of their making."""
    with platform():
        kept = Tenant.objects.exclude(state__in=(State.PROVISIONING, State.DELETED))
        return [tenant.context for tenant in kept.prefetch_related("domains").order_by("created_at", "id")]


def change_state(*, tenant: Tenant, to: State, reason: str) -> Tenant:
    """Move a live institution between active, read_only and suspended. Raises Conflict for any other move.

    One that is in that state already stays as it is, since when included; a suspension may be given another reason.
    """
    movable = {State.ACTIVE, State.READ_ONLY, State.SUSPENDED}
    with platform(), transaction.atomic():
        locked = Tenant.objects.select_for_update().get(pk=tenant.pk)
        if locked.kind == Kind.OPERATOR:
            raise Conflict("The operators' own tenant cannot be suspended.", code="operator_tenant")
        if locked.state not in movable or to not in movable:
            raise Conflict(f"An institution that is {locked.state} cannot become {to}.", code="bad_transition")
        if locked.state != to:
            locked.state, locked.state_changed_at = to, datetime.now(UTC)
        locked.state_reason = reason.strip()[:300]
        locked.save(update_fields=["state", "state_reason", "state_changed_at", "updated_at"])
        # Told before the commit, a process would read the old state again and keep it.
        transaction.on_commit(lambda: bus.tell("tenants", str(tenant.pk)))
    return locked
