"""/api/v1/auth/password-reset/: another password for who has forgotten theirs."""

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import described
from shared_apps.core.api.admission import admit, client_address, demand
from tenant_apps.accounts import password_resets, signin
from tenant_apps.accounts.api import bodies
from tenant_apps.accounts.api.auth import OwnAdmission

FROM_AN_ADDRESS = (300, 3600)
"""Resets asked for in an hour from one client address: a school of thousands may stand behind it."""
SENT = {"detail": "If this e-mail may sign in here, a letter is on its way to it."}


class PasswordResetView(OwnAdmission):
    """Ask for a new password by letter.

    The answer is the same, after the same work, for a known, an unknown and an inactive person. The letter goes to the
    e-mail as it is stored, five an hour at most. Where no mail server is configured nobody gets one (503
    `no_mail_server`); while the institution is read-only none are written (403 `read_only`).
    """

    @described(
        "Ask for a password reset",
        body=bodies.AuthPasswordReset,
        sent={"email": "teacher@greenwood.test"},
        answer=bodies.AuthPasswordResetSent,
        value=SENT,
        status=202,
    )
    def post(self, request: Request) -> Response:
        demand(admit(request._request, rate=FROM_AN_ADDRESS, bucket="password-reset"))
        password_resets.ask_for_reset(**bodies.AuthPasswordReset.read(request))
        return Response(SENT, status=202)


class ConfirmPasswordResetView(OwnAdmission):
    """Choose the new password with the letter's token; then sign in with it.

    The token is good once, for an hour. All sessions, access tokens and sockets of the person end, other tokens are
    void, and a letter tells them of it. After a weak password (400 `weak_password`) the token is still good.
    """

    @described(
        "Confirm a password reset",
        body=bodies.AuthPasswordResetProof,
        sent={"token": "019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f.1790000000.5f2a...", "password": "correct horse staple"},
        status=204,
    )
    def post(self, request: Request) -> Response:
        self._count()
        user = password_resets.confirm_reset(**bodies.AuthPasswordResetProof.read(request))
        signin.forgive(email=user.email, address=client_address(request._request))
        return Response(status=204)


routes = [
    path("password-reset/", PasswordResetView.as_view(), name="auth-password-reset"),
    path("password-reset/confirm/", ConfirmPasswordResetView.as_view(), name="auth-password-reset-confirm"),
]
