"""/api/v1/auth/invitation/: the first password of an invited person."""

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import described
from tenant_apps.accounts.api import bodies
from tenant_apps.accounts.api.auth import OwnAdmission
from tenant_apps.accounts.invitations import accept_invitation


class InvitationView(OwnAdmission):
    """Accept an invitation by choosing a password; then sign in with it. An invitation is good once, for seven days."""

    @described(
        "Accept an invitation",
        body=bodies.AuthInvitation,
        sent={"token": "019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f.1790000000.5f2a...", "password": "correct horse staple"},
        status=204,
    )
    def post(self, request: Request) -> Response:
        self._count()
        accept_invitation(**bodies.AuthInvitation.read(request))
        return Response(status=204)


routes = [path("invitation/", InvitationView.as_view(), name="auth-invitation")]
