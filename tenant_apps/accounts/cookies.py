"""Browser sign-in: HttpOnly cookies for the tokens, and what keeps another site from using them.

The `__Host-` prefix ties a cookie to the one host that set it: no other subdomain can read, set or overwrite it. An
unsafe request that is signed in by cookie repeats the CSRF cookie in a header, which another site cannot read; the
value is made for the session, so a planted pair is worth nothing.
"""

import hmac
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from shared_apps.core.errors import Forbidden
from tenant_apps.accounts.tokens import mac, mac_matches

ACCESS_COOKIE = "__Host-lyceum-access"
REFRESH_COOKIE = "__Host-lyceum-refresh"
CSRF_COOKIE = "__Host-lyceum-csrf"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PORTS = {"http": ":80", "https": ":443"}


def csrf_token(session_id: UUID) -> str:
    """The value that this session's unsafe requests carry in `X-CSRFToken`."""
    return mac("csrf", str(session_id))


def demand_csrf(request: HttpRequest, session_id: UUID) -> None:
    """Raises Forbidden unless the request comes from this host's own pages and repeats the session's CSRF token."""
    demand_origin(request)
    sent = request.META.get("HTTP_X_CSRFTOKEN", "")
    kept = request.COOKIES.get(CSRF_COOKIE, "")
    if (
        not sent
        or not hmac.compare_digest(sent.encode(), kept.encode())
        or not mac_matches("csrf", str(session_id), sent)
    ):
        raise Forbidden(f"Send the value of the cookie {CSRF_COOKIE} in the header X-CSRFToken.", code="csrf_failed")


def demand_origin(request: HttpRequest) -> None:
    """Raises Forbidden when a browser says that another origin's page makes the request."""
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None:
        return
    try:
        parts = urlsplit(origin)
    except ValueError:
        parts = urlsplit("")
    ours = request.META.get("HTTP_HOST", "").lower()
    default = PORTS.get(parts.scheme)
    if default is None or parts.netloc.lower().removesuffix(default) != ours.removesuffix(default):
        raise Forbidden("The request comes from a page of another origin.", code="foreign_origin")


def set_cookies(response: HttpResponse, *, access: str, refresh: str | None, session_id: UUID) -> None:
    """Sign the browser in. The access cookie ends with its token, the others with the longest session."""
    _set(response, ACCESS_COOKIE, access, settings.ACCESS_TOKEN_SECONDS, samesite="Lax")
    lifetime = settings.SESSION_DAYS * 86400
    if refresh is not None:
        _set(response, REFRESH_COOKIE, refresh, lifetime, samesite="Strict")
    _set(response, CSRF_COOKIE, csrf_token(session_id), lifetime, samesite="Strict", httponly=False)


def clear_cookies(response: HttpResponse) -> None:
    for name in (ACCESS_COOKIE, REFRESH_COOKIE, CSRF_COOKIE):
        _set(response, name, "", 0, samesite="Lax")


def _set(response: HttpResponse, name: str, value: str, max_age: int, *, samesite: str, httponly: bool = True) -> None:
    response.set_cookie(name, value, max_age=max_age, path="/", secure=True, httponly=httponly, samesite=samesite)
