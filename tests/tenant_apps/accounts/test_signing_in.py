"""Signing in, oneself, signing out."""

from typing import Any

import pytest

from shared_apps.core.api import admission
from shared_apps.core.api.admission import forget_authorisations
from shared_apps.core.context import InstitutionContext
from tenant_apps.accounts.authentication import PlatformAuthentication, PlatformAuthenticationScheme
from tests import cast
from tests.api import as_person, nobody

pytestmark = pytest.mark.django_db
AUTH = "/api/v1/auth/"


def test_who_signs_in_reads_who_they_are_and_what_they_may(greenwood: InstitutionContext) -> None:
    teacher = cast.of(greenwood).teacher
    me = as_person(greenwood, teacher).get(AUTH + "me/").json()
    assert me["id"] == str(teacher.user_id)
    assert me["roles"] == [{"role": "teacher", "scope": "section", "scope_id": None}]
    assert "school.view_student" in me["permissions"]
    assert "accounts.add_userrole" not in me["permissions"]
    assert me["institution"]["slug"] == "greenwood"
    assert me["realtime_url"].startswith("ws://greenwood.localhost:")


def test_an_operator_signs_in_at_the_operators_host_and_nowhere_else(
    console: InstitutionContext, greenwood: InstitutionContext
) -> None:
    operator = cast.of(console).operator
    me = as_person(console, operator).get(AUTH + "me/").json()
    assert (me["institution"]["kind"], [held["role"] for held in me["roles"]]) == ("operator", ["operator"])
    assert "accounts.add_userrole" in me["permissions"]
    body = {"email": operator.email, "password": operator.password}
    assert nobody(greenwood).post(AUTH + "token/", body).json()["code"] == "bad_credentials"


def test_who_signed_out_is_refused_with_the_same_token(greenwood: InstitutionContext) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    assert door.get(AUTH + "me/").status_code == 200
    assert door.post(AUTH + "logout/").status_code == 204
    answer = door.get(AUTH + "me/")
    assert answer.status_code == 401
    assert answer.json()["code"] == "session_over"
    assert answer["Content-Type"] == "application/problem+json"


def test_a_request_without_credentials_is_asked_to_sign_in(greenwood: InstitutionContext) -> None:
    assert nobody(greenwood).get(AUTH + "me/").status_code == 401


@pytest.mark.parametrize("path", ["auth/me/", "auth/sessions/", "accounts/permissions/"])
def test_a_parameter_that_is_not_there_is_refused_and_not_ignored(greenwood: InstitutionContext, path: str) -> None:
    door = as_person(greenwood, cast.of(greenwood).principal)
    assert door.get(f"/api/v1/{path}?page=2").status_code == 400
    assert door.get(f"/api/v1/{path}").status_code == 200


def test_every_answer_says_how_much_of_the_limit_is_left(greenwood: InstitutionContext) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    answers = [
        door.get(AUTH + "me/"),
        nobody(greenwood).get(AUTH + "me/"),
        nobody(greenwood).post(AUTH + "token/", {"email": "nobody@greenwood.test", "password": "wrong"}),
        nobody(greenwood).post(AUTH + "refresh/", {"refresh": "unknown"}),
        nobody(greenwood).post(AUTH + "refresh/", {"refersh": "misspelt"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 401, 401, 400]
    for answer in answers:
        assert int(answer["X-RateLimit-Remaining"]) < int(answer["X-RateLimit-Limit"])
        assert int(answer["X-RateLimit-Reset"]) > 0


def test_sockets_are_told_of_changed_rights_after_the_commit(
    inside: InstitutionContext, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    """Before it they would read the old rights and keep them."""
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(admission.bus, "tell", lambda topic, key: told.append((topic, key)))
    teacher = cast.of(inside).teacher.user_id
    with django_capture_on_commit_callbacks(execute=True):
        forget_authorisations(teacher)
        forget_authorisations(None)
        assert told == []
    assert told == [("authz", f"{inside.id}:{teacher}"), ("authz", f"{inside.id}:")]


def test_the_api_document_offers_bearer_or_cookie_and_asks_for_one_of_them() -> None:
    scheme = PlatformAuthenticationScheme(PlatformAuthentication)
    assert scheme.get_security_requirement(None) == [{"bearer": []}, {"cookie": []}]


@pytest.mark.parametrize("path", ["token/", "refresh/", "logout/", "password/"])
@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b"null", b'{"email": 1e999}', b"\xff"])
def test_a_body_that_is_no_json_object_is_refused_and_never_a_defect(
    greenwood: InstitutionContext, path: str, body: bytes
) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    answer = door.ask("POST", AUTH + path, body)
    assert 400 <= answer.status_code < 500
    assert answer["Content-Type"] == "application/problem+json"


def test_signing_out_needs_no_body(greenwood: InstitutionContext) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    assert door.ask("POST", AUTH + "logout/").status_code == 204
