"""Verbs over institutions: create, find; the platform's own migration."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from queue import Empty, SimpleQueue
from typing import Final

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.commands.migrate import Command as Migrate
from django.core.validators import validate_email
from django.db import DatabaseError, connection, transaction
from django.db.models import prefetch_related_objects

from shared_apps.core import bus
from shared_apps.core.actors import acting, actor, platform_work
from shared_apps.core.context import InstitutionContext, Kind, State, institution, platform
from shared_apps.core.engine.owner import owner_ahead, owner_connection
from shared_apps.core.errors import Conflict, Invalid, NotFound, Problem
from shared_apps.core.registry import NewInstitution, registry
from shared_apps.core.roles import ensure_serving_role, grant_serving_role
from shared_apps.tenants import template
from shared_apps.tenants.addresses import fresh, hold_slug
from shared_apps.tenants.lifecycle import move, record, tell
from shared_apps.tenants.models import WITHOUT_SCHEMA, SchemaTemplate, Tenant
from shared_apps.tenants.slugs import check_slug

LONGEST_EMAIL: Final = 254  # RFC 5321, 4.5.3.1.3: a path of 256 with its brackets
FIRST_STEP: Final = "schema"
LASTS: Final = 0.05  # seconds after which somebody could see what a making is at
UUID_FORM = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

log = structlog.get_logger(__name__)


def create_institution(*, new: NewInstitution, finish: Callable[[Tenant], None] | None = None) -> Tenant:
    """Make an institution with its host and schema, run every provisioning step, and set it live.

    The row stands as `provisioning` while one transaction makes the schema, runs the steps and sets it active; `finish`
    runs last in it, on the platform. `Tenant.step` tells everybody how far it is. A kill on the way leaves a row that
    serves nobody, and no schema; `create_institution` with the same slug finishes it.

    Raises Invalid for a bad slug, name or address, Conflict when the slug is taken by a live institution, looks like
    another's, or was another's not long ago.
    """
    check_new(new)
    with platform(), owner_ahead() as owner:
        tenant, is_ours = _claim(new)
        with _given_up_if_refused(tenant, is_ours), _telling(tenant) as at, owner(), connection.cursor() as lock:
            # One maker at a time for one institution: a second one waits, then finds it live and is refused.
            lock.execute("SELECT pg_advisory_lock(hashtextextended(%s, 7202))", [tenant.schema_name])
            try:
                tenant.refresh_from_db(fields=["state", "name", "plan", "entitlements", "ordered", "step"])
            except Tenant.DoesNotExist:
                detail = "It was being made for somebody else, and given up; ask again."
                raise Conflict(detail, code="given_up") from None
            if tenant.state != State.PROVISIONING:
                raise _taken(new.slug)
            if (tenant.ordered, tenant.step) != (asdict(new), FIRST_STEP):
                # Only now is it ours: whoever else was making it has died, or never was.
                tenant.name, tenant.plan, tenant.ordered = new.name.strip(), new.plan, asdict(new)
                tenant.step = FIRST_STEP
                tenant.save(update_fields=["name", "plan", "ordered", "step", "updated_at"])
            if not is_ours:
                _drop_what_is_left(tenant)
            if tenant.kind == Kind.OPERATOR:  # whose roles are its own; a migration is not one transaction
                template.make_empty_schema(tenant.schema_name)
                template.migrate_schema(tenant.context)
            asked_by, made_by = actor(), platform_work("institution creation")
            with transaction.atomic():
                tenant.template_rows = _make_schema(tenant)
                with institution(tenant.context), acting(made_by):
                    for name, step in registry.provisioning_steps:
                        at(name)
                        step(new)
                with acting(asked_by or made_by):
                    tenant.ordered, tenant.step = {}, ""
                    move(tenant, State.ACTIVE, verb="create", fields=["template_rows", "ordered", "step"])
                    if finish is not None:
                        finish(tenant)
        return tenant


def check_new(new: NewInstitution) -> None:
    """Raises Invalid for what no institution can be made of."""
    check_slug(new.slug, kind=new.kind)
    name = new.name.strip()
    if not name or len(name) > 200 or "\x00" in name:
        raise Invalid.at("/name", "Give a name of 1 to 200 characters.", code="invalid_name")
    if new.admin_email:
        try:
            if len(new.admin_email) > LONGEST_EMAIL:
                raise ValidationError("too long")
            validate_email(new.admin_email)
        except ValidationError:
            raise Invalid.at("/admin_email", "This is not an e-mail address.", code="invalid_email") from None
    for check in registry.new_institution_checks:
        check(new)


def change_institution(*, tenant: Tenant, name: str | None = None, plan: str | None = None) -> Tenant:
    """Give an institution another name or plan."""
    with platform(), transaction.atomic():
        locked = Tenant.objects.select_for_update().get(pk=tenant.pk)
        changes = {
            field: value
            for field, value in (("name", name), ("plan", plan))
            if value is not None and value != getattr(locked, field)
        }
        if changes:
            told = "; ".join(f"{field}: {getattr(locked, field)} -> {value}" for field, value in changes.items())
            for field, value in changes.items():
                setattr(locked, field, value)
            locked.save(update_fields=[*changes, "updated_at"])
            record(locked, "change", reason=told)
            tell(locked)
    return fresh(tenant)


def _taken(slug: str) -> Conflict:
    return Conflict(f"The address {slug!r} is taken; choose another slug.", code="slug_taken")


def _demand_no_operators() -> None:
    """Raises Conflict: a platform has one tenant of operators."""
    there = Tenant.objects.prefetch_related("domains").filter(kind=Kind.OPERATOR).first()
    if there is not None:
        detail = f"The operators are there already, at {there.host}; a platform has one such tenant."
        raise Conflict(detail, code="operators_exist")


def _claim(new: NewInstitution) -> tuple[Tenant, bool]:
    """The new row, or the one that a killed creation of the same slug left behind; whether it is new."""
    slug = check_slug(new.slug, kind=new.kind)
    tenant = Tenant(name=new.name.strip(), kind=new.kind, plan=new.plan, ordered=asdict(new), step=FIRST_STEP)
    try:
        with transaction.atomic():
            if new.kind == Kind.OPERATOR:
                _demand_no_operators()
            tenant.save(force_insert=True)
            hold_slug(tenant, slug)
    except Conflict:
        left = Tenant.objects.filter(domains__slug=slug, state=State.PROVISIONING, kind=new.kind).first()
        if left is None:
            raise
        prefetch_related_objects([left], "domains")
        return left, False
    prefetch_related_objects([tenant], "domains")
    return tenant, True


@contextmanager
def _given_up_if_refused(tenant: Tenant, is_ours: bool) -> Iterator[None]:
    """What a room refuses would be refused each time: its row is taken back, with the slug that it holds. A row that
    stood before stays, since somebody ordered it in other words."""
    try:
        yield
    except (Problem, ValidationError):
        if is_ours:
            Tenant.objects.filter(pk=tenant.pk, state=State.PROVISIONING).delete()
        raise


@contextmanager
def _telling(tenant: Tenant) -> Iterator[Callable[[str], None]]:
    """Writes what the making is at over a connection of its own, so that it is seen before the making commits: a step
    that lasts, and one that fails. The making waits neither for that nor, when its own connection is lost, for a row
    that a server still holds for it."""
    steps: SimpleQueue[str] = SimpleQueue()
    under_way = FIRST_STEP

    def at(step: str) -> None:
        nonlocal under_way
        under_way = step
        steps.put(step)

    def write(step: str) -> None:
        being_made = Tenant.objects.select_for_update(skip_locked=True).filter(pk=tenant.pk, state=State.PROVISIONING)
        try:
            with platform(), transaction.atomic():
                if being_made.first() is not None:
                    Tenant.objects.filter(pk=tenant.pk).update(step=step)
        except DatabaseError:
            log.warning("step_not_told", institution=str(tenant.pk), step=step, exc_info=True)

    def follow() -> None:
        try:
            step = steps.get()
            while step:
                try:
                    step = steps.get(timeout=LASTS)
                except Empty:
                    write(step)
                    step = steps.get()
        finally:
            connection.close()  # the proxy is this thread's only here

    try:
        with ThreadPoolExecutor(1, thread_name_prefix="lyceum-provisioning") as beside:
            try:
                beside.submit(follow)
                yield at
            finally:
                steps.put("")
    except BaseException:
        write(under_way)
        raise


def _make_schema(tenant: Tenant) -> str:
    """The institution's schema, equal to the template; which of the template's rows it has. The operators' tenant has
    roles of its own: its schema is migrated, and stands before."""
    if tenant.kind == Kind.OPERATOR:
        return SchemaTemplate.objects.values_list("rows", flat=True).get()
    return template.replay(tenant.schema_name)


def _drop_what_is_left(tenant: Tenant) -> None:
    """The schema of a making that ended half way, where that was not one transaction; no person was ever in it."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {connection.ops.quote_name(tenant.schema_name)} CASCADE")


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
    """The institution with this slug, host or id (a deleted one has nothing else). Raises NotFound."""
    tenants = Tenant.objects.prefetch_related("domains")
    key = slug.strip().lower()
    tenant = tenants.filter(domains__slug=key).first() or tenants.filter(domains__domain=key).first()
    if tenant is None and re.fullmatch(UUID_FORM, key):
        tenant = tenants.filter(pk=key).first()
    if tenant is None:
        raise NotFound(f"There is no institution {slug!r}; `manage.py tenant list` shows them.", code="no_institution")
    return tenant


def every_institution() -> list[InstitutionContext]:
    """Those that have a schema, whatever their state, in the order of their making."""
    with platform():
        kept = Tenant.objects.exclude(state__in=WITHOUT_SCHEMA)
        return [tenant.context for tenant in kept.prefetch_related("domains").order_by("created_at", "id")]
