"""/api/v1/sign-ups/ on the platform's own domain: ask for an institution, prove the address, follow the making."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.urls import path
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import ANYONE, Body, PlatformView, described
from shared_apps.core.api.admission import admit, demand
from shared_apps.core.api.querystring import parse_key
from shared_apps.core.registry import NewInstitution
from shared_apps.tenants.signing_up import asking

FROM_AN_ADDRESS = (20, 3600)
"""Sign-ups and confirmations an hour from one client address."""
KEY = OpenApiParameter("id", UUID, OpenApiParameter.PATH, description="The sign-up's id.")
WAITING: dict[str, Any] = {
    "id": "019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f",
    "stage": "waiting",
    "steps": ["schema", "accounts.first_administrator", "school.institution"],
    "step": "",
    "host": "",
    "error": "",
}


class PlatformSignUp(Body):
    email = serializers.EmailField(max_length=254, help_text="Of the first administrator; gets a letter with a token.")
    name = serializers.CharField(max_length=200)
    slug = serializers.CharField(max_length=63, help_text="First label of its host: lumiere -> lumiere.<platform>.")
    language = serializers.CharField(max_length=15, default="en")
    currency = serializers.RegexField(r"\A[A-Z]{3}\Z", default="USD", help_text="ISO 4217.")
    time_zone = serializers.CharField(max_length=63, default="UTC", help_text="IANA name, such as Europe/Paris.")


class PlatformSignUpProof(Body):
    token = serializers.CharField(max_length=300)
    slug = serializers.CharField(max_length=63, required=False, help_text="Another one, if the first has been taken.")


class PlatformSignUpProgress(serializers.Serializer):
    """How far a sign-up is: waiting (for the proof), confirmed (being made), ready, or refused (`error` says why)."""

    id = serializers.UUIDField()
    stage = serializers.ChoiceField(choices=("waiting", "confirmed", "ready", "refused"))
    steps = serializers.ListField(child=serializers.CharField(), help_text="Of the making, in order.")
    step = serializers.CharField(allow_blank=True, help_text="The one under way.")
    host = serializers.CharField(allow_blank=True, help_text="Where the institution is, once it is ready.")
    error = serializers.CharField(allow_blank=True)


def shown(key: UUID) -> dict[str, Any]:
    return asdict(asking.progress_of(key))


class Counted(PlatformView):
    """Base of the two doors that anybody may knock at."""

    permission = ANYONE

    def count(self) -> None:
        demand(admit(self.request._request, rate=FROM_AN_ADDRESS, bucket="sign-up"))


class SignUpsView(Counted):
    """Ask for an institution.

    The answer is the same whether or not the address is known here. A letter with a token goes to it; nothing is made
    before the token comes back within 24 hours. An address gets three letters an hour at most.
    """

    @described(
        "Ask for an institution",
        body=PlatformSignUp,
        sent={"email": "direction@lumiere.example.org", "name": "Lycée Lumière", "slug": "lumiere", "currency": "EUR"},
        answer=PlatformSignUpProgress,
        value=WAITING,
        status=202,
        operation_id="sign_ups_create",
    )
    def post(self, request: Request) -> Response:
        self.count()
        values = PlatformSignUp.read(request)
        asked = asking.sign_up(new=NewInstitution(admin_email=values.pop("email"), **values))
        return Response(shown(asked.pk), status=202, headers={"Location": f"{request.path}{asked.pk}/"})


class ConfirmSignUpView(Counted):
    """Prove the address with the letter's token, once; the institution is then made, and its administrator invited."""

    @described(
        "Confirm a sign-up",
        body=PlatformSignUpProof,
        sent={"token": "IjAxOWE5ZjNlLi4uIg:1vX2yz:kq0..."},
        answer=PlatformSignUpProgress,
        value={**WAITING, "stage": "confirmed"},
        status=202,
        operation_id="sign_ups_confirm",
    )
    def post(self, request: Request) -> Response:
        self.count()
        asked = asking.confirm_sign_up(**PlatformSignUpProof.read(request))
        return Response(shown(asked.pk), status=202)


class SignUpView(PlatformView):
    """How far a sign-up is."""

    permission = ANYONE

    @described(
        "Follow a sign-up",
        answer=PlatformSignUpProgress,
        value={**WAITING, "stage": "ready", "host": "lumiere.example.org"},
        operation_id="sign_ups_retrieve",
        parameters=[KEY],
    )
    def get(self, request: Request, id: str) -> Response:
        return Response(shown(parse_key(id)))


routes = [
    path("sign-ups/", SignUpsView.as_view(), name="sign-ups"),
    path("sign-ups/confirm/", ConfirmSignUpView.as_view(), name="sign-up-confirm"),
    path("sign-ups/<id>/", SignUpView.as_view(), name="sign-up"),
]
