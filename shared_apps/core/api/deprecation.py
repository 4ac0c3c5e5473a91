"""How a client learns that an address will go: in every answer of it (RFC 9745, RFC 8594) and in the OpenAPI text."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import wraps
from typing import Any

from django.utils.http import http_date

from shared_apps.core.errors import Problem


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Since when an address should no longer be used, from when it may be gone, and the path of what replaces it."""

    since: date
    sunset: date
    successor: str = ""

    def __post_init__(self) -> None:
        if self.sunset < self.since:
            raise ValueError("An address is deprecated first and gone afterwards (RFC 9745, section 4).")

    @property
    def headers(self) -> dict[str, str]:
        found = {"Deprecation": f"@{_instant(self.since)}", "Sunset": http_date(_instant(self.sunset))}
        return found | ({"Link": f'<{self.successor}>; rel="successor-version"'} if self.successor else {})

    @property
    def text(self) -> str:
        """For the documentation."""
        instead = f" Use {self.successor} instead." if self.successor else ""
        return f"Deprecated since {self.since}; it may be gone from {self.sunset} on.{instead}"


def _instant(day: date) -> int:
    return int(datetime.combine(day, time.min, UTC).timestamp())


def announced(view: Callable[..., Any], deprecated: Deprecation | None) -> Callable[..., Any]:
    """The view, whose answers and refusals say that it is deprecated; the view itself when it is not."""
    if deprecated is None:
        return view
    headers = deprecated.headers

    @wraps(view)
    def announcing(*args: Any, **kwargs: Any) -> Any:
        try:
            response = view(*args, **kwargs)
        except Problem as problem:
            problem.headers |= headers
            raise
        for name, value in headers.items():
            response.headers[name] = value
        return response

    return announcing
