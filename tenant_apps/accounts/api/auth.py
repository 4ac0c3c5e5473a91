"""/api/v1/auth/: signing in and out, refreshing, oneself and one's devices."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.urls import URLPattern, path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import ANYONE, SIGNED_IN, PlatformView, described
from shared_apps.core.api.admission import admit, client_address, demand
from shared_apps.core.api.querystring import parse_key
from shared_apps.core.context import current_institution
from shared_apps.core.errors import Invalid, Problem, Unauthenticated
from tenant_apps.accounts import services, sessions, signin
from tenant_apps.accounts.api import bodies
from tenant_apps.accounts.authentication import TICKET_SECONDS, issue_ticket
from tenant_apps.accounts.cookies import (
    REFRESH_COOKIE,
    clear_cookies,
    csrf_token,
    demand_csrf,
    demand_origin,
    set_cookies,
)
from tenant_apps.accounts.models import Session, User
from tenant_apps.accounts.tokens import AccessToken, jwks

SIGN_IN_RATE = (3000, 3600)
"""Sign-ins and failed refreshes an hour from one address: a school of thousands may stand behind it. Guessing has its
own, far narrower limits (`signin`)."""
ID = "019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f"
TOKENS = {"access": "eyJhbGciOiJFZERTQSI...", "refresh": "b7cX2k0Y...", "expires_in": 900}


class OwnAdmission(PlatformView):
    """Base of the two doors that open without an access token: an expired one beside must not keep them shut."""

    permission = ANYONE
    authentication_classes = ()

    def _count(self, user_id: UUID | None = None) -> None:
        if user_id is None:
            demand(admit(self.request._request, rate=SIGN_IN_RATE, bucket="sign-in"))
        else:
            demand(admit(self.request._request, user_id=user_id, bucket="refresh"))

    def _answer(self, issued: sessions.Issued, *, cookies: bool) -> Response:
        expires_in = settings.ACCESS_TOKEN_SECONDS
        if not cookies:
            return Response({"access": issued.access, "refresh": issued.refresh, "expires_in": expires_in})
        response = Response({"expires_in": expires_in, "csrf_token": csrf_token(issued.session_id)})
        set_cookies(response, access=issued.access, refresh=issued.refresh, session_id=issued.session_id)
        return response


class TokenView(OwnAdmission):
    """Sign in with e-mail and password.

    The answer is the same, after the same time, for a wrong password, an unknown or inactive person and one without a
    password. Ten wrong passwords for one account from one address within 15 minutes make that pair wait.
    """

    @described(
        "Sign in",
        body=bodies.AuthSignIn,
        sent={"email": "principal@greenwood.test", "password": "correct horse battery staple"},
        answer=bodies.AuthTokens,
        value=TOKENS,
    )
    def post(self, request: Request) -> Response:
        self._count()
        values = bodies.AuthSignIn.read(request)
        if values["cookies"]:
            demand_origin(request._request)
        issued = signin.sign_in(
            email=values["email"],
            password=values["password"],
            address=client_address(request._request),
            user_agent=request.META.get("HTTP_USER_AGENT", ""),
        )
        request._request.user_id = issued.user_id
        return self._answer(issued, cookies=values["cookies"])


class RefreshView(OwnAdmission):
    """Exchange a refresh token for its successor and a new access token.

    A retry within 20 seconds, as long as the successor was not used, receives the same successor. A token that comes
    back later was taken by someone: its session ends, for both.
    """

    @described(
        "Refresh", body=bodies.AuthRefresh, sent={"refresh": "b7cX2k0Y..."}, answer=bodies.AuthTokens, value=TOKENS
    )
    def post(self, request: Request) -> Response:
        try:
            values = bodies.AuthRefresh.read(request)
        except (ValidationError, Problem):
            self._count()
            raise
        by_cookie = "refresh" not in values
        secret = request.COOKIES.get(REFRESH_COOKIE, "") if by_cookie else values["refresh"]
        owner = sessions.session_of(secret)
        self._count(owner[1] if owner else None)
        if by_cookie and not secret:
            raise Unauthenticated("Send the refresh token in the body, or its cookie.", code="refresh_missing")
        if by_cookie and owner is not None:
            demand_csrf(request._request, owner[0])
        issued = sessions.rotate(refresh=secret)
        request._request.user_id = issued.user_id
        return self._answer(issued, cookies=by_cookie)


class LogoutView(PlatformView):
    """End this session, or all of one's own; tokens, cookies and open sockets stop at once."""

    permission = SIGNED_IN

    @described("Sign out", body=bodies.AuthLogout, sent={"everywhere": False}, answer=None, value=None, status=204)
    def post(self, request: Request) -> Response:
        if bodies.AuthLogout.read(request)["everywhere"]:
            services.end_everywhere(user_id=self.principal.user_id)
        else:
            sessions.end_own_session(user_id=self.principal.user_id, session_id=self.principal.session_id)
        response = Response(status=204)
        clear_cookies(response)
        return response


class MeView(PlatformView):
    """Who one is here, and what one may do where."""

    permission = SIGNED_IN

    @described(
        "Oneself",
        answer=bodies.AuthMe,
        value={
            "id": ID,
            "email": "teacher@greenwood.test",
            "full_name": "Ada Byron",
            "language": "en",
            "time_zone": "America/New_York",
            "session_id": ID,
            "institution": {"id": ID, "slug": "greenwood", "name": "Greenwood High", "kind": "institution"},
            "roles": [{"role": "teacher", "scope": "section", "scope_id": None}],
            "permissions": ["school.view_student"],
            "realtime_url": "ws://greenwood.localhost:8001/ws/v1/",
            "csrf_token": "5f0c1d7f8a2b4c6d",
        },
    )
    def get(self, request: Request) -> Response:
        principal = self.principal
        context = current_institution()
        full_name, language, time_zone = User.objects.values_list("full_name", "language", "time_zone").get(
            pk=principal.user_id
        )
        return Response(
            {
                "id": principal.user_id,
                "email": principal.email,
                "full_name": full_name,
                "language": language,
                "time_zone": time_zone,
                "session_id": principal.session_id,
                "institution": {
                    "id": context.id,
                    "slug": context.slug,
                    "name": context.name,
                    "kind": context.kind,
                },
                "roles": [
                    {"role": held.role, "scope": held.reach.scope, "scope_id": held.reach.scope_id}
                    for held in principal.assignments
                ],
                "permissions": sorted(principal.permissions),
                "realtime_url": realtime_url(request._request),
                "csrf_token": csrf_token(principal.session_id),
            }
        )


def realtime_url(request: HttpRequest) -> str:
    """Where this host's sockets are: REALTIME_PORT, which a proxy in front sets to its own (443: left out)."""
    scheme, default = ("wss", 443) if request.is_secure() else ("ws", 80)
    port = "" if default == settings.REALTIME_PORT else f":{settings.REALTIME_PORT}"
    return f"{scheme}://{request.host}{port}/ws/v1/"


class SocketTicketView(PlatformView):
    """A ticket that opens one socket within 30 seconds, for clients that can set no header on a handshake."""

    permission = SIGNED_IN

    @described(
        "Make a socket ticket", answer=bodies.AuthTicket, value={"ticket": "Yt5p...", "expires_in": 30}, status=201
    )
    def post(self, request: Request) -> Response:
        return Response({"ticket": issue_ticket(self.principal.session_id), "expires_in": TICKET_SECONDS}, status=201)


class SessionsView(PlatformView):
    """The devices on which one is signed in."""

    permission = SIGNED_IN

    @described(
        "List one's devices",
        answer=bodies.AuthSessionList,
        value={
            "next": None,
            "previous": None,
            "results": [
                {
                    "id": ID,
                    "current": True,
                    "user_agent": "Mozilla/5.0",
                    "address": "192.0.2.7",
                    "created_at": "2026-09-01T08:00:00Z",
                    "last_seen_at": "2026-09-01T08:15:00Z",
                    "expires_at": "2026-10-01T08:00:00Z",
                }
            ],
        },
    )
    def get(self, request: Request) -> Response:
        principal = self.principal
        open_ones = Session.objects.still_open().filter(user_id=principal.user_id)[:200]
        results = bodies.AuthSession(
            [_with_current(session, principal.session_id) for session in open_ones], many=True
        ).data
        return Response({"next": None, "previous": None, "results": results})


def _with_current(session: Session, own: UUID) -> Session:
    session.current = session.pk == own
    return session


class SessionView(PlatformView):
    """One of one's own devices."""

    permission = SIGNED_IN

    @extend_schema(parameters=[OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)])
    @described("Sign a device out", answer=None, value=None, status=204)
    def delete(self, request: Request, id: str) -> Response:
        sessions.end_own_session(user_id=self.principal.user_id, session_id=parse_key(id))
        return Response(status=204)


class PasswordView(PlatformView):
    """Change one's own password. All other devices are signed out and every access token made before is void."""

    permission = SIGNED_IN

    @described(
        "Change one's password",
        body=bodies.AuthPassword,
        sent={"current_password": "correct horse battery staple", "new_password": "a longer sentence is better"},
        answer=bodies.AuthAccess,
        value={"access": "eyJhbGciOiJFZERTQSI...", "expires_in": 900},
    )
    def post(self, request: Request) -> Response:
        values = bodies.AuthPassword.read(request)
        principal = self.principal
        user = User.objects.get(pk=principal.user_id)
        # A stolen token must not become a way to guess: counted as wrong sign-ins are.
        if not signin.guess(user.email, user, values["current_password"], client_address(request._request)):
            raise Invalid.at("/current_password", "This is not your password.", code="wrong_password")
        services.set_password(
            user=user, password=values["new_password"], keep=principal.session_id, pointer="/new_password"
        )
        access = AccessToken.issue(user_id=user.pk, session_id=principal.session_id, version=user.token_version)
        answer: dict[str, Any] = {"expires_in": settings.ACCESS_TOKEN_SECONDS}
        if "HTTP_AUTHORIZATION" in request.META:
            return Response({"access": access, **answer})
        response = Response(answer)
        set_cookies(response, access=access, refresh=None, session_id=principal.session_id)
        return response


class JwksView(PlatformView):
    """The public keys that access tokens are signed with (RFC 7517)."""

    permission = ANYONE
    authentication_classes = ()

    @described(
        "Public keys",
        answer=bodies.AuthKeys,
        value={
            "keys": [
                {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKx...", "kid": "kPrK_qmx...", "use": "sig", "alg": "EdDSA"}
            ]
        },
    )
    def get(self, request: Request) -> Response:
        return Response(jwks(), headers={"Cache-Control": "public, max-age=300"})


auth_routes: list[URLPattern] = [
    path("token/", TokenView.as_view(), name="auth-token"),
    path("refresh/", RefreshView.as_view(), name="auth-refresh"),
    path("logout/", LogoutView.as_view(), name="auth-logout"),
    path("me/", MeView.as_view(), name="auth-me"),
    path("socket-ticket/", SocketTicketView.as_view(), name="auth-socket-ticket"),
    path("sessions/", SessionsView.as_view(), name="auth-sessions"),
    path("sessions/<id>/", SessionView.as_view(), name="auth-session"),
    path("password/", PasswordView.as_view(), name="auth-password"),
]
