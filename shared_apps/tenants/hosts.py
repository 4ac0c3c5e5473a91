"""Which institution a host leads to, remembered in the process for a few seconds.

A negative answer is remembered too, so that a scanner's made-up hosts cost one query each and no more. Changes are
told to every process over `core.bus`; the lifetime bounds what a lost message costs.
"""

import re
import time
from threading import Lock

from django.conf import settings

from shared_apps.core import bus
from shared_apps.core.context import InstitutionContext, platform
from shared_apps.tenants.models import Domain, Tenant

LIFETIME = 15.0  # seconds
NEGATIVE_LIFETIME = 5.0
MOST = 20_000
HOST = re.compile(r"\A(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")
HOST_HEADER = re.compile(r"\A(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?\Z")

_hosts: dict[str, tuple[float, InstitutionContext | None]] = {}
_generation = 0
_lock = Lock()


def normalise(header: str) -> str | None:
    """The host of a Host header in lower case, without port and final dot; None when it is no host name."""
    match = HOST_HEADER.match(header)
    if not match:
        return None
    host = match[1].lower().removesuffix(".")
    if host.startswith("["):
        return host
    return host if HOST.match(host) else None


def is_bare(host: str) -> bool:
    """Whether the host is the platform's own, without an institution."""
    return host in {settings.PLATFORM_DOMAIN, f"www.{settings.PLATFORM_DOMAIN}", "127.0.0.1", "[::1]"}


def find(host: str) -> InstitutionContext | None:
    """The institution behind a normalised host, in whatever state it is; None when there is none."""
    bus.listen()
    known = _hosts.get(host)
    if known is not None and known[0] > time.monotonic():
        return known[1]
    generation = _generation
    with platform():
        domain = Domain.objects.select_related("tenant").filter(domain=host).first()
        context = domain.tenant.context if domain else None
    # A change told while the query ran may be newer than what the query read: then the answer is not kept.
    with _lock:
        if generation == _generation:
            if len(_hosts) >= MOST:
                _hosts.clear()
            _hosts[host] = (time.monotonic() + (LIFETIME if context else NEGATIVE_LIFETIME), context)
    return context


def by_id(tenant_id: str) -> InstitutionContext | None:
    """The institution with this id, read afresh (tasks and relays: their messages may be old)."""
    with platform():
        tenant = Tenant.objects.prefetch_related("domains").filter(pk=tenant_id).first()
        return tenant.context if tenant else None


def forget(_key: str = "") -> None:
    """Forget every host; institutions change rarely, and a reload costs one query."""
    global _generation
    with _lock:
        _generation += 1
        _hosts.clear()


bus.subscribe("tenants", forget)
