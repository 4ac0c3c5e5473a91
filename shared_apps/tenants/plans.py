"""Plans, and the limits that follow from them: an institution's own, its plan's, the standard, in this order.

A limit that neither the institution nor its plan names is therefore a limit; unlimited is what says so (null). Plans
are few and read all at once.
"""

import time
from collections.abc import Mapping
from threading import Lock

from django.db import models

from shared_apps.core import bus
from shared_apps.core.context import Kind, platform
from shared_apps.core.limits import NAMES, Limits, standard
from shared_apps.core.models import Record

LIFETIME = 15.0  # seconds, as of hosts
Said = Mapping[str, int | None]

_plans: tuple[float, dict[str, Said]] | None = None
_generation = 0
_lock = Lock()


class Plan(Record):
    """What may be ordered: limit -> number, null for unlimited. Of a limit that it does not name the standard holds."""

    code = models.SlugField(max_length=50, unique=True)
    limits = models.JSONField(default=dict, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("code",)


def limits_of(*, kind: str, own: Said, plan: str) -> Limits:
    """The limits that hold for an institution."""
    return Limits(**{name: allowed for name, (allowed, _) in resolved(kind=kind, own=own, plan=plan).items()})


def resolved(*, kind: str, own: Said, plan: str) -> dict[str, tuple[int | None, str]]:
    """Limit -> what is allowed and who says so: institution, plan or standard. The operators' own tenant has none."""
    if kind == Kind.OPERATOR:
        return dict.fromkeys(NAMES, (None, "standard"))
    ordered, else_ = _known().get(plan, {}), standard()
    found: dict[str, tuple[int | None, str]] = {}
    for name in NAMES:
        if name in own:
            found[name] = own[name], "institution"
        elif name in ordered:
            found[name] = ordered[name], "plan"
        else:
            found[name] = getattr(else_, name), "standard"
    return found


def _known() -> dict[str, Said]:
    global _plans
    known = _plans
    if known is not None and known[0] > time.monotonic():
        return known[1]
    generation = _generation
    with platform():
        found: dict[str, Said] = dict(Plan.objects.values_list("code", "limits"))
    # As in `hosts`: a change told while the query ran may be newer than what it read.
    with _lock:
        if generation == _generation:
            _plans = time.monotonic() + LIFETIME, found
    return found


def _forget(_key: str = "") -> None:
    global _generation, _plans
    with _lock:
        _generation += 1
        _plans = None


bus.subscribe("plans", _forget)
