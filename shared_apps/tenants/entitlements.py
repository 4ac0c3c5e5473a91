"""What each institution may use: its plan's limits, and what an operator allows beside them.

What follows from both (`plans.resolved`) comes with the institution's context: it is remembered and forgotten with it.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction

from shared_apps.core import bus
from shared_apps.core.api.admission import requests_of_this_minute
from shared_apps.core.context import current_institution, institution, platform
from shared_apps.core.errors import Invalid
from shared_apps.core.limits import NAMES, REQUESTS, STATEMENT
from shared_apps.core.quotas import JOB_PATIENCE, used
from shared_apps.tenants.addresses import fresh
from shared_apps.tenants.lifecycle import demand_live, locked_tenant, record, tell
from shared_apps.tenants.models import WITHOUT_SCHEMA, Tenant
from shared_apps.tenants.plans import Plan, Said, resolved

MOST = 2**53  # what a JSON number holds exactly
LONGEST_STATEMENT = 3600  # seconds
PLAN_CODE = re.compile(r"[A-Za-z0-9_-]{1,50}")
LIMIT_NAMES = (
    "students: enrolled ones. storage_bytes: of kept files. requests_per_minute: of everybody together; those who are "
    "not signed in get four fifths of it. concurrent_jobs: running at once; others wait. statement_seconds: the "
    f"longest that one database statement of a request may take; one of a job may take {JOB_PATIENCE} times as long."
)
EXAMPLE = {
    "plan": "standard",
    "limits": [
        {"name": "students", "allowed": 800, "source": "institution", "used": 641},
        {"name": "storage_bytes", "allowed": None, "source": "institution", "used": 73400320},
        {"name": "requests_per_minute", "allowed": 3000, "source": "plan", "used": 118},
        {"name": "concurrent_jobs", "allowed": 2, "source": "standard", "used": 1},
        {"name": "statement_seconds", "allowed": 30, "source": "standard", "used": None},
    ],
}


@dataclass(frozen=True, slots=True)
class Entitlement:
    """One limit of one institution. `source` is institution, plan or standard; `used` is None where it is not known or
    nothing is used up."""

    name: str
    allowed: int | None
    source: str
    used: int | None


def entitlements(tenant: Tenant) -> list[Entitlement]:
    """Every limit of an institution with its use now, counted inside it."""
    uses: dict[str, int | None] = {}
    if tenant.state not in WITHOUT_SCHEMA:
        with institution(tenant.context):
            uses = {name: used(name) for name in NAMES if name not in (REQUESTS, STATEMENT)}
            uses[REQUESTS] = requests_of_this_minute()
    held = resolved(kind=tenant.kind, own=tenant.entitlements, plan=tenant.plan)
    return [Entitlement(name, allowed, source, uses.get(name)) for name, (allowed, source) in held.items()]


def shown(tenant: Tenant) -> dict[str, Any]:
    """As the API shows them (EXAMPLE)."""
    return {"plan": tenant.plan, "limits": [asdict(limit) for limit in entitlements(tenant)]}


def entitlements_here() -> dict[str, Any]:
    """The current institution's, as the API shows them."""
    here = current_institution().id
    with platform():
        return shown(Tenant.objects.prefetch_related("domains").get(pk=here))


def allow(*, tenant: Tenant, wanted: Said) -> Tenant:
    """Give an institution limits of its own in place of those that it had; the ones left out are its plan's again.

    What it uses beyond a lower limit is kept; only more of it is refused. Raises Invalid for what is no limit, and
    Conflict for the operators' own tenant and for an institution that is being made or deleted.
    """
    said = checked(wanted)
    with platform(), transaction.atomic():
        locked = locked_tenant(tenant)
        demand_live(locked)
        if locked.entitlements != said:
            locked.entitlements = said
            locked.save(update_fields=["entitlements", "updated_at"])
            record(locked, "limits", reason=described(said) or "none of its own")
            tell(locked)
            transaction.on_commit(_tell_limits)
    return fresh(tenant)


def save_plan(*, code: str, wanted: Said) -> Plan:
    """Add a plan, or change it for every institution that has it. Raises Invalid for what is no limit or no code."""
    if not PLAN_CODE.fullmatch(code):
        raise Invalid("A plan's code is 1 to 50 of a-z, A-Z, 0-9, - and _.", code="bad_plan")
    said = checked(wanted)
    with platform(), transaction.atomic():
        plan, _ = Plan.objects.update_or_create(code=code, defaults={"limits": said})
        transaction.on_commit(_tell_limits)
    return plan


def checked(wanted: Said) -> dict[str, int | None]:
    """Limits as they are kept. Raises Invalid for an unknown name and for what is no number from 1 on, or None."""
    for name, allowed in wanted.items():
        if name not in NAMES:
            known = ", ".join(NAMES)
            raise Invalid.at(f"/{name}", f"There is no limit {name!r}; there are {known}.", code="unknown_limit")
        most = LONGEST_STATEMENT if name == STATEMENT else MOST
        if allowed is not None and (
            isinstance(allowed, bool) or not isinstance(allowed, int) or not 1 <= allowed <= most
        ):
            raise Invalid.at(f"/{name}", f"{name} is a whole number from 1 to {most}, or null.", code="bad_limit")
    return {name: wanted[name] for name in NAMES if name in wanted}


def described(said: Said) -> str:
    """For people: `students 800, storage_bytes unlimited`."""
    return ", ".join(f"{name} {'unlimited' if allowed is None else allowed}" for name, allowed in said.items())


def _tell_limits() -> None:
    """Plans first: a process that forgot its institutions alone would make them anew of the old ones."""
    for topic in ("plans", "tenants", "limits"):
        bus.tell(topic, "")
