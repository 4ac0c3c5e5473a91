"""Who asks: from a request's token or cookie to a Principal.

A principal is remembered in the process for at most 15 s and only while the two epochs that came with the request's
admission stand still (`core.api.admission`): whoever ends a session or changes a right moves an epoch, so the next
request everywhere reads the database again. With Redis away nothing is remembered.
"""

import secrets
import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

import redis
from django.http import HttpRequest
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from shared_apps.core import bus
from shared_apps.core.actors import identified
from shared_apps.core.api.admission import admit, demand, place_key
from shared_apps.core.context import InstitutionContext, current, current_institution
from shared_apps.core.errors import Unauthenticated, Unavailable
from shared_apps.core.permissions import Assignment, Principal, Reach, Scope
from tenant_apps.accounts.cookies import ACCESS_COOKIE, SAFE, demand_csrf
from tenant_apps.accounts.models import User, UserRole
from tenant_apps.accounts.querysets import permissions_of_roles, sitting_of
from tenant_apps.accounts.tokens import Claims, read_access_token

REMEMBERED_SECONDS = 15.0
MOST_REMEMBERED = 20_000
TICKET_SECONDS = 30
MOST_TICKET_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class _Remembered:
    principal: Principal
    epochs: tuple[bytes, bytes]
    until: float


_principals: dict[tuple[UUID, UUID], _Remembered] = {}
_lock = threading.Lock()


def authenticate(request: HttpRequest) -> Principal | None:
    """The person who makes the request; None when it carries no credentials.

    Counts the request against its limit and sets `request.admission` and `request.user_id` on the way. Raises TooMany,
    Unauthenticated for credentials that are not good here and now, Forbidden for a cookie without its CSRF token.
    """
    context = current()
    if not isinstance(context, InstitutionContext):
        demand(admit(request))
        return None
    try:
        token, by_cookie = _credential(request)
        claims = read_access_token(token) if token is not None else None
    except Unauthenticated:
        demand(admit(request))
        raise
    if claims is None:
        demand(admit(request))
        return None
    admission = demand(admit(request, user_id=claims.user_id))
    request.user_id = claims.user_id
    principal = _remembered(context.id, claims, admission.epochs)
    if by_cookie and request.method not in SAFE:
        demand_csrf(request, principal.session_id)
    identified(user_id=principal.user_id, name=principal.email)
    return principal


def _credential(request: HttpRequest) -> tuple[str | None, bool]:
    """The access token, and whether a browser sent it by itself."""
    header = request.META.get("HTTP_AUTHORIZATION")
    if header is None:
        return request.COOKIES.get(ACCESS_COOKIE), True
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("Write the header as Authorization: Bearer <access token>.", code="bad_authorization")
    return token.strip(), False


def _remembered(tenant_id: UUID, claims: Claims, epochs: tuple[bytes, bytes] | None) -> Principal:
    key = (tenant_id, claims.session_id)
    known = _principals.get(key)
    if known is not None and known.epochs == epochs and known.until > time.monotonic():
        principal = known.principal
        if principal.good_until > timezone.now():
            return _matching(principal, claims)
    principal = _matching(principal_for_session(claims.session_id), claims)
    if epochs is not None:
        with _lock:
            if len(_principals) >= MOST_REMEMBERED:
                _principals.clear()
            _principals[key] = _Remembered(principal, epochs, time.monotonic() + REMEMBERED_SECONDS)
    return principal


def _matching(principal: Principal, claims: Claims) -> Principal:
    """The session's owner, if the token was made for them as they are now."""
    if principal.user_id != claims.user_id or principal.version != claims.version:
        raise _over()
    return principal


def principal_for_session(session_id: UUID) -> Principal:
    """The person of an open session, read from the database now (two queries).

    `good_until` is the next instant at which a role of theirs begins or ends, or the session does. Raises
    Unauthenticated when the session has ended or expired or its owner may not sign in.
    """
    now = timezone.now()
    sitting = sitting_of(session_id, now)
    if sitting is None:
        raise _over()
    permissions = permissions_of_roles(held.role_id for held in sitting.roles if held.begun(now))
    assignments = tuple(
        Assignment(held.code, permissions[held.role_id], Reach(Scope(held.scope), held.scope_id))
        for held in sitting.roles
        if held.begun(now)
    )
    changes = [held.valid_until if held.begun(now) else held.valid_from for held in sitting.roles]
    return Principal(
        user_id=sitting.user_id,
        session_id=session_id,
        email=sitting.email,
        assignments=assignments,
        good_until=min([sitting.expires_at, *(instant for instant in changes if instant is not None)]),
        version=sitting.version,
    )


def principal_for_user(user_id: UUID) -> Principal:
    """A person with what they may do now, for work that goes on when their session is over. Raises Unauthenticated
    when they may no longer sign in."""
    now = timezone.now()
    person = User.objects.filter(pk=user_id, is_active=True).first()
    if person is None:
        raise Unauthenticated("Whoever asked for this may no longer sign in.", code="user_inactive")
    held = list(UserRole.objects.valid(now).filter(user_id=user_id).select_related("role"))
    permissions = permissions_of_roles(one.role_id for one in held)
    return Principal(
        user_id=user_id,
        session_id=UUID(int=0),
        email=person.email,
        assignments=tuple(
            Assignment(one.role.code, permissions[one.role_id], Reach(Scope(one.scope), one.scope_id)) for one in held
        ),
        good_until=now,
        version=person.token_version,
    )


def _over() -> Unauthenticated:
    return Unauthenticated("The session is over; sign in again.", code="session_over")


# Sockets: they have no request, so they count nothing and remember nothing.


def principal_for_token(token: str) -> Principal:
    """The person of an access token, read now. Raises Unauthenticated."""
    claims = read_access_token(token)
    return _matching(principal_for_session(claims.session_id), claims)


def issue_ticket(session_id: UUID) -> str:
    """A ticket that opens one socket within 30 s in place of the session. Raises Unavailable without Redis."""
    ticket = secrets.token_urlsafe(24)
    try:
        bus.client().set(_ticket_key(ticket), str(session_id), ex=TICKET_SECONDS)
    except redis.RedisError:
        raise Unavailable("No ticket can be made for the moment.", headers={"Retry-After": "5"}) from None
    return ticket


def redeem_ticket(ticket: str) -> Principal:
    """The person whom a ticket of this institution stands for; it is spent by this. Raises Unauthenticated."""
    if not ticket or len(ticket) > MOST_TICKET_CHARACTERS:
        raise _spent()
    try:
        session_id: Any = bus.client().getdel(_ticket_key(ticket))
    except redis.RedisError:
        raise Unavailable("No ticket can be read for the moment.", headers={"Retry-After": "5"}) from None
    if session_id is None:
        raise _spent()
    return principal_for_session(UUID(session_id.decode()))


def _ticket_key(ticket: str) -> str:
    current_institution()  # a ticket is one institution's: outside of any there is none
    return f"{place_key()}:ticket:{sha256(ticket.encode()).hexdigest()}"


def _spent() -> Unauthenticated:
    return Unauthenticated("The ticket is unknown, spent or older than 30 seconds.", code="ticket_invalid")


class PlatformAuthentication(BaseAuthentication):
    """REST framework's hook for `authenticate`."""

    def authenticate(self, request: Request) -> tuple[Principal, None] | None:
        principal = authenticate(request._request)
        request._request.principal = principal
        return None if principal is None else (principal, None)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="lyceum"'


class PlatformAuthenticationScheme(OpenApiAuthenticationExtension):
    """The two ways to sign in, for the OpenAPI document."""

    target_class = PlatformAuthentication
    name = ["bearer", "cookie"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        """One or the other; a single object with both names would ask for both."""
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:
        return [
            {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            {
                "type": "apiKey",
                "in": "cookie",
                "name": ACCESS_COOKIE,
                "description": "Unsafe methods also send the CSRF token in the header X-CSRFToken.",
            },
        ]
