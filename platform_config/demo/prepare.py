"""Makes and fills the demo institutions that are missing. A run that was killed is finished by the next one."""

from collections.abc import Iterator

from django.contrib.auth.hashers import make_password
from django.db import connection

from platform_config.demo.schools import SCHOOLS
from platform_config.demo.seed import PASSWORD, seed_operator, seed_school
from shared_apps.core.context import Kind, State, institution, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.registry import NewInstitution
from shared_apps.tenants.models import Tenant
from shared_apps.tenants.services import create_institution

OPERATORS = NewInstitution("Lyceum operators", "console", kind=Kind.OPERATOR)


def institutions() -> Iterator[tuple[NewInstitution, Tenant]]:
    """The operators' tenant and the three schools, each made when it is missing or half made."""
    wanted = (OPERATORS, *(plan.new for plan in SCHOOLS))
    with platform():
        found = Tenant.objects.exclude(state=State.PROVISIONING).filter(domains__slug__in=[new.slug for new in wanted])
        known = {tenant.context.slug: tenant for tenant in found.prefetch_related("domains")}
    for new in wanted:
        yield new, known.get(new.slug) or create_institution(new=new)


def prepare() -> Iterator[str]:
    """Make and fill what is missing; yields a line for each institution."""
    plans = {plan.slug: plan for plan in SCHOOLS}
    password_hash = ""
    for new, tenant in institutions():
        # One hash for everybody: Argon2 takes 100 MiB and a noticeable time for each, by design.
        password_hash = password_hash or make_password(PASSWORD)
        with institution(tenant.context):
            if new.kind == Kind.OPERATOR:
                fresh = seed_operator(password_hash)
            else:
                fresh = seed_school(plans[new.slug], password_hash)
        if fresh:
            _analyse(tenant)
        yield f"{new.slug}: {'made' if fresh else 'there already'}"


def _analyse(tenant: Tenant) -> None:
    """Tell the planner what was filled in; by itself it would learn in a minute, and scan whole tables until then."""
    with institution(tenant.context), owner_connection(), connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [tenant.schema_name])
        tables = ", ".join(connection.ops.quote_name(name) for (name,) in cursor.fetchall())
        cursor.execute(f"ANALYZE {tables}")
