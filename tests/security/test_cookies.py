"""Browsers sign in with cookies; another site's page, another host and another session cannot use them."""

from http.cookies import Morsel
from typing import Any

import pytest

from shared_apps.core.context import InstitutionContext
from tenant_apps.accounts.cookies import ACCESS_COOKIE, CSRF_COOKIE, REFRESH_COOKIE
from tests import cast
from tests.api import Asker, as_person, host_of, nobody
from tests.cast import Person

pytestmark = pytest.mark.django_db
AUTH = "/api/v1/auth/"
TICKET = AUTH + "socket-ticket/"


def browser(context: InstitutionContext, person: Person | None = None) -> tuple[Asker, str]:
    """A signed-in browser and its CSRF token; it keeps its cookies."""
    person = person or cast.of(context).teacher
    door = nobody(context)
    answer = door.post(AUTH + "token/", {"email": person.email, "password": person.password, "cookies": True})
    assert answer.status_code == 200
    return door, answer.json()["csrf_token"]


def jar(door: Asker) -> dict[str, Morsel]:
    return dict(door._client.cookies)


def test_the_cookies_are_bound_to_their_host_and_hidden_from_scripts(greenwood: InstitutionContext) -> None:
    person = cast.of(greenwood).teacher
    door = nobody(greenwood)
    answer = door.post(AUTH + "token/", {"email": person.email, "password": person.password, "cookies": True})
    assert set(answer.json()) == {"expires_in", "csrf_token"}, "the tokens are not in the body"
    cookies = jar(door)
    assert set(cookies) == {ACCESS_COOKIE, REFRESH_COOKIE, CSRF_COOKIE}
    for name, cookie in cookies.items():
        assert name.startswith("__Host-")
        assert (cookie["path"], cookie["domain"]) == ("/", "")
        assert cookie["secure"]
        assert bool(cookie["httponly"]) == (name != CSRF_COOKIE)
        assert cookie["samesite"] in ("Lax", "Strict")


def test_a_cookie_reads_alone_and_writes_with_its_csrf_token(greenwood: InstitutionContext) -> None:
    door, csrf = browser(greenwood)
    assert door.get(AUTH + "me/").json()["csrf_token"] == csrf
    refused = door.post(TICKET)
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf_failed")
    assert door.post(TICKET, HTTP_X_CSRFTOKEN=csrf).status_code == 201


def test_a_bearer_token_needs_no_csrf_token(greenwood: InstitutionContext) -> None:
    assert as_person(greenwood, cast.of(greenwood).teacher).post(TICKET).status_code == 201


def test_a_pair_planted_by_an_attacker_is_worth_nothing(greenwood: InstitutionContext) -> None:
    """Plain double submit would take it: cookie and header are equal."""
    door, own = browser(greenwood)
    _, attackers = browser(greenwood, cast.of(greenwood).guardian)
    for planted in ("a" * 64, attackers):
        door._client.cookies[CSRF_COOKIE] = planted
        assert door.post(TICKET, HTTP_X_CSRFTOKEN=planted).status_code == 403
    door._client.cookies[CSRF_COOKIE] = own
    assert door.post(TICKET, HTTP_X_CSRFTOKEN=own).status_code == 201


def test_the_header_without_the_cookie_is_refused(greenwood: InstitutionContext) -> None:
    door, csrf = browser(greenwood)
    del door._client.cookies[CSRF_COOKIE]
    assert door.post(TICKET, HTTP_X_CSRFTOKEN=csrf).status_code == 403
    assert door.post(TICKET, HTTP_X_CSRFTOKEN="é").status_code == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://greenwood.localhost", 201),
        ("https://greenwood.localhost", 201),
        ("http://GREENWOOD.localhost:80", 201),
        ("http://lumiere.localhost", 403),
        ("http://greenwood.localhost:8001", 403),
        ("http://greenwood.localhost.evil.test", 403),
        ("https://evil.test", 403),
        ("null", 403),
        ("http://[", 403),
        ("", 403),
    ],
)
def test_another_origin_s_page_is_refused_even_with_the_token(
    greenwood: InstitutionContext, origin: str, status: int
) -> None:
    door, csrf = browser(greenwood)
    assert door.post(TICKET, HTTP_X_CSRFTOKEN=csrf, HTTP_ORIGIN=origin).status_code == status


def test_another_origin_s_page_cannot_sign_a_browser_in(greenwood: InstitutionContext) -> None:
    person = cast.of(greenwood).teacher
    body: dict[str, Any] = {"email": person.email, "password": person.password, "cookies": True}
    assert nobody(greenwood).post(AUTH + "token/", body, HTTP_ORIGIN="https://evil.test").status_code == 403
    form = nobody(greenwood).ask("POST", AUTH + "token/", b"email=x", CONTENT_TYPE="application/x-www-form-urlencoded")
    assert form.status_code == 415, "nor by a plain form"


def test_a_cookie_of_one_institution_is_refused_by_another(
    greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    door, csrf = browser(greenwood)
    door.host = host_of(lumiere)
    answer = door.get(AUTH + "me/")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    assert door.post(AUTH + "refresh/", {}, HTTP_X_CSRFTOKEN=csrf).status_code == 401


def test_a_refresh_by_cookie_needs_the_csrf_token_and_gives_new_cookies(greenwood: InstitutionContext) -> None:
    door, csrf = browser(greenwood)
    before = {name: cookie.value for name, cookie in jar(door).items()}
    assert door.post(AUTH + "refresh/").status_code == 403
    answer = door.post(AUTH + "refresh/", HTTP_X_CSRFTOKEN=csrf)
    assert answer.status_code == 200
    assert set(answer.json()) == {"expires_in", "csrf_token"}
    after = {name: cookie.value for name, cookie in jar(door).items()}
    assert after[REFRESH_COOKIE] != before[REFRESH_COOKIE]
    assert after[CSRF_COOKIE] == before[CSRF_COOKIE], "other tabs keep working"
    assert door.get(AUTH + "me/").status_code == 200


def test_a_stale_access_cookie_keeps_neither_sign_in_nor_refresh_shut(greenwood: InstitutionContext) -> None:
    door, csrf = browser(greenwood)
    door._client.cookies[ACCESS_COOKIE] = "stale"
    assert door.get(AUTH + "me/").status_code == 401
    assert door.post(AUTH + "refresh/", HTTP_X_CSRFTOKEN=csrf).status_code == 200
    door._client.cookies[ACCESS_COOKIE] = "stale"
    person = cast.of(greenwood).teacher
    assert door.post(AUTH + "token/", {"email": person.email, "password": person.password}).status_code == 200


def test_signing_out_clears_the_cookies_and_ends_the_session(greenwood: InstitutionContext) -> None:
    door, csrf = browser(greenwood)
    kept = jar(door)[ACCESS_COOKIE].value
    assert door.post(AUTH + "logout/", HTTP_X_CSRFTOKEN=csrf).status_code == 204
    assert all(cookie.value == "" and cookie["max-age"] == 0 for cookie in jar(door).values())
    assert Asker(host_of(greenwood), token=kept).get(AUTH + "me/").status_code == 401
