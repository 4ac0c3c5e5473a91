"""What an institution may use. `shared_apps.tenants.plans` decides it; it comes with the institution's context."""

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final

from django.conf import settings

STUDENTS, STORAGE, REQUESTS, JOBS, STATEMENT = (
    "students",
    "storage_bytes",
    "requests_per_minute",
    "concurrent_jobs",
    "statement_seconds",
)
PEOPLE: Final = 1_000
"""An institution without a limit of its own may ask as often as so many of its people at their own limit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one institution may use; None: it was said that there is no limit.

    `students` are enrolled ones, `concurrent_jobs` running ones; `statement_seconds` is the longest that one database
    statement of a request may take.
    """

    students: int | None
    storage_bytes: int | None
    requests_per_minute: int | None
    concurrent_jobs: int | None
    statement_seconds: int | None


NAMES: Final = tuple(field.name for field in fields(Limits))
UNLIMITED: Final = Limits(*(None for _ in NAMES))


def standard() -> Limits:
    """The limits of an institution of which neither its plan nor an operator says anything."""
    return _standard(*settings.RATE_LIMIT_USER)


@lru_cache(maxsize=16)
def _standard(requests: int, seconds: int) -> Limits:
    return Limits(
        students=100_000,
        storage_bytes=100 * 1024**3,
        requests_per_minute=max(1, PEOPLE * requests * 60 // seconds),
        concurrent_jobs=2,
        statement_seconds=30,
    )
