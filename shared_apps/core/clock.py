"""The date at the institution: a school day begins at its own midnight, not at Greenwich's."""

import time
from datetime import UTC, date, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from shared_apps.core import bus
from shared_apps.core.context import current_institution
from shared_apps.core.registry import registry

LIFETIME = 60.0  # seconds; a change is told over the bus at once
_zones: dict[UUID, tuple[float, ZoneInfo]] = {}


def local_date() -> date:
    """Today at the current institution. The zone is remembered, so a warm call asks no database."""
    institution_id = current_institution().id
    known = _zones.get(institution_id)
    if known is None or known[0] < time.monotonic():
        name = registry.time_zone() if registry.time_zone else None
        known = _zones[institution_id] = (time.monotonic() + LIFETIME, ZoneInfo(name or "UTC"))
    return datetime.now(UTC).astimezone(known[1]).date()


def forget(institution_id: str = "") -> None:
    """Forget one institution's zone, or all."""
    if institution_id:
        _zones.pop(UUID(institution_id), None)
    else:
        _zones.clear()


bus.subscribe("time_zone", forget)
