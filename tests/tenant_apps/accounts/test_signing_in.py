"""Signing in, oneself, signing out."""

import pytest

from shared_apps.core.context import InstitutionContext
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
