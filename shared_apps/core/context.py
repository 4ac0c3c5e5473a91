"""Where the running code stands: nowhere, on the platform, or in one institution.

Three states, kept in one ContextVar, so that threads, tasks and coroutines never see each other's:

- none: a query raises `NoTenant`;
- platform: entered by name, sees the public schema only;
- institution: sees that institution's schema, and of the public one nothing but content types.

The database engine (`shared_apps.core.engine`) reads this variable for every cursor. Code that hands work to another
thread or yields a streaming body must enter again there: a new thread starts at none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from shared_apps.core.limits import Limits


class NoTenant(RuntimeError):
    """Code that needs an institution, or any context at all, ran without one."""


class WrongContext(RuntimeError):
    """A platform table was asked for inside an institution, or an institution's table on the platform."""


class Kind(StrEnum):
    INSTITUTION = "institution"
    OPERATOR = "operator"


class State(StrEnum):
    """Life of an institution: provisioning -> active <-> read_only / suspended -> archived -> deleting -> deleted."""

    PROVISIONING = "provisioning"
    ACTIVE = "active"
    READ_ONLY = "read_only"
    SUSPENDED = "suspended"
    ARCHIVED = "archived"
    DELETING = "deleting"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class InstitutionContext:
    """What a request, socket or task knows of its institution without asking the database.

    Without `limits` the standard ones hold (`core.limits`)."""

    id: UUID
    schema_name: str
    slug: str
    name: str
    kind: str = Kind.INSTITUTION
    state: str = State.ACTIVE
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class Platform:
    """The platform itself: the public schema."""

    schema_name: str = "public"


PLATFORM: Final = Platform()
_current: ContextVar[InstitutionContext | Platform | None] = ContextVar("lyceum_context", default=None)


def current() -> InstitutionContext | Platform | None:
    """The context of the running code, None outside of any."""
    return _current.get()


def current_institution() -> InstitutionContext:
    """The institution of the running code. Raises NoTenant on the platform and outside of any context."""
    context = _current.get()
    if not isinstance(context, InstitutionContext):
        where = "on the platform" if context else "outside of any context"
        raise NoTenant(f"This code needs an institution and ran {where}; enter one with core.context.institution().")
    return context


@contextmanager
def institution(context: InstitutionContext) -> Iterator[InstitutionContext]:
    """Run the block inside one institution."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


@contextmanager
def platform() -> Iterator[Platform]:
    """Run the block on the platform (public schema only)."""
    token = _current.set(PLATFORM)
    try:
        yield PLATFORM
    finally:
        _current.reset(token)
