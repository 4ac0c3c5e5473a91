"""What browsers keep, what a state of life shuts, and what is kept for repeated requests: of one institution alone."""

from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.core import mail
from django.http import HttpResponse

from shared_apps.core.context import InstitutionContext, State, institution, platform
from shared_apps.tenants import hosts
from shared_apps.tenants.models import Tenant
from tenant_apps.accounts import tokens
from tenant_apps.accounts.cookies import ACCESS_COOKIE, CSRF_COOKIE, REFRESH_COOKIE
from tenant_apps.accounts.invitations import invite
from tenant_apps.accounts.models import User
from tenant_apps.accounts.password_links import RESET
from tests import cast
from tests.api import Asker, as_person, host_of, nobody
from tests.tenant_apps.eventlog.carrying import carry_out

pytestmark = pytest.mark.django_db
ME, TOKEN, REFRESH = "/api/v1/auth/me/", "/api/v1/auth/token/", "/api/v1/auth/refresh/"
INVITATION = "/api/v1/auth/invitation/"
RESETS, CONFIRM = "/api/v1/auth/password-reset/", "/api/v1/auth/password-reset/confirm/"
SUBJECTS = "/api/v1/academics/subjects/"


@pytest.mark.parametrize(
    ("state", "reads", "writes"),
    [
        (State.SUSPENDED, (403, "suspended"), (403, "suspended")),
        (State.READ_ONLY, (200, None), (403, "read_only")),
        (State.PROVISIONING, (503, "provisioning"), (503, "provisioning")),
        (State.ARCHIVED, (410, "archived"), (410, "archived")),
        (State.DELETED, (410, "archived"), (410, "archived")),
    ],
)
def test_a_good_token_opens_nothing_while_its_institution_is_not_served(
    greenwood: InstitutionContext,
    lumiere: InstitutionContext,
    state: State,
    reads: tuple[int, Any],
    writes: tuple[int, Any],
) -> None:
    asker = as_person(greenwood, cast.of(greenwood).principal)
    other = as_person(lumiere, cast.of(lumiere).principal)
    assert asker.get(ME).status_code == other.get(ME).status_code == 200
    with platform():
        Tenant.objects.filter(pk=greenwood.id).update(state=state)
    assert asker.get(ME).status_code == 200, "the control: this process has not been told yet"
    hosts.forget()
    for answer, expected in (
        (asker.get("/api/v1/school/students/"), reads),
        (asker.post("/api/v1/academics/subjects/", {"code": "X", "name": "X"}), writes),
    ):
        assert (answer.status_code, answer.json().get("code")) == expected
    assert other.get(ME).status_code == 200
    with platform():
        Tenant.objects.filter(pk=greenwood.id).update(state=State.ACTIVE)
    hosts.forget()
    assert asker.get(ME).status_code == 200


# A browser


def browser(place: InstitutionContext) -> tuple[Asker, str]:
    """A signed-in browser that will send its cookies to whatever host it is pointed at, and its CSRF token."""
    person, door = cast.of(place).teacher, nobody(place)
    answer = door.post(TOKEN, {"email": person.email, "password": person.password, "cookies": True})
    return door, answer.json()["csrf_token"]


def test_cookies_refresh_tokens_and_csrf_tokens_of_one_are_none_of_another(
    greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    ours, csrf = browser(greenwood)
    theirs, other_csrf = browser(lumiere)
    refresh = ours._client.cookies[REFRESH_COOKIE].value
    assert nobody(lumiere).post(REFRESH, {"refresh": refresh}).status_code == 401
    ours.host = host_of(lumiere)
    for answer in (
        ours.get(ME),
        ours.post("/api/v1/auth/socket-ticket/", HTTP_X_CSRFTOKEN=csrf),
        ours.post(REFRESH, HTTP_X_CSRFTOKEN=csrf),
    ):
        assert answer.status_code in (401, 403)
    # A session of one's own there, with the CSRF token of here, planted as cookie and header alike.
    theirs._client.cookies[CSRF_COOKIE] = csrf
    refused = theirs.post("/api/v1/auth/socket-ticket/", HTTP_X_CSRFTOKEN=csrf)
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf_failed")
    theirs._client.cookies[CSRF_COOKIE] = other_csrf
    assert theirs.post("/api/v1/auth/socket-ticket/", HTTP_X_CSRFTOKEN=other_csrf).status_code == 201
    ours.host = host_of(greenwood)
    assert ours.get(ME).status_code == 200, "the control"


def test_a_cookie_is_kept_for_one_host(greenwood: InstitutionContext) -> None:
    """A Domain attribute would send it to every institution; `__Host-` forbids it (RFC 6265bis, section 4.1.3.2)."""
    door, _ = browser(greenwood)
    for name in (ACCESS_COOKIE, REFRESH_COOKIE, CSRF_COOKIE):
        assert name.startswith("__Host-")
        assert door._client.cookies[name]["domain"] == ""


@pytest.mark.parametrize("origin", ["http://lumiere.localhost", "https://evil.test", "null", "http://localhost"])
def test_no_answer_lets_a_page_of_another_origin_read_it(
    greenwood: InstitutionContext, lumiere: InstitutionContext, origin: str
) -> None:
    """Without Access-Control headers a browser gives the answer to no page of another origin."""
    asker, (door, csrf) = as_person(greenwood, cast.of(greenwood).principal), browser(greenwood)
    preflight = {"HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST", "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "authorization"}
    answers: list[HttpResponse] = [
        asker.get("/api/v1/school/students/", HTTP_ORIGIN=origin),
        asker.ask("OPTIONS", "/api/v1/school/students/", HTTP_ORIGIN=origin, **preflight),
        door.get(ME, HTTP_ORIGIN=origin),
        door.post("/api/v1/auth/socket-ticket/", HTTP_X_CSRFTOKEN=csrf, HTTP_ORIGIN=origin),
        nobody(greenwood).get("/.well-known/jwks.json", HTTP_ORIGIN=origin),
    ]
    for answer in answers:
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    assert answers[3].status_code == 403


def test_an_answer_that_is_kept_for_a_repeated_request_is_given_to_nobody_elsewhere(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    """The same person's id, the same Idempotency-Key, another body: elsewhere it is a first request."""
    made = {}
    for place in (greenwood, lumiere):
        asker = as_person(place, cast.of(place).principal)
        body = {"code": f"OF-{place.slug}", "name": place.slug}
        for _ in range(2):
            answer = asker.post(SUBJECTS, body, HTTP_IDEMPOTENCY_KEY="the-same-key")
            assert answer.status_code == 201, answer.content
            made.setdefault(place.slug, set()).add(answer.json()["id"])
    assert all(len(ids) == 1 for ids in made.values()), "the control: here it is a repetition"
    assert not made["greenwood"] & made["lumiere"]


ONE = "one@both.test"


def make_one_person(*places: InstitutionContext, password: str) -> None:
    """The teacher is the same in every respect that a link's mac covers, but for the institution."""
    for place in places:
        with institution(place):
            User.objects.filter(pk=cast.user_id("teacher")).update(email=ONE, password=password, token_version=1)


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "a salt without the institution"])
def test_an_invitation_of_one_institution_is_not_good_at_another(
    greenwood: InstitutionContext, lumiere: InstitutionContext, monkeypatch: pytest.MonkeyPatch, naive: bool
) -> None:
    """The same person's id and e-mail in both, without a password in both."""
    if naive:
        monkeypatch.setattr(tokens, "salted", lambda purpose: f"lyceum:{purpose}")
    make_one_person(greenwood, lumiere, password="!none yet")
    with institution(greenwood):
        token = invite(ONE)
    chosen = {"token": token, "password": "chosen by whoever has the letter"}
    elsewhere = nobody(lumiere).post(INVITATION, chosen)
    assert (elsewhere.status_code == 204) is naive
    if not naive:
        assert elsewhere.json()["code"] == "bad_invitation"
    assert nobody(greenwood).post(INVITATION, chosen).status_code == 204, "the control"
    assert nobody(greenwood).post(INVITATION, chosen).status_code == 400, "and once"


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "a salt without the institution"])
def test_a_reset_token_of_one_institution_is_not_good_at_another(
    greenwood: InstitutionContext, lumiere: InstitutionContext, monkeypatch: pytest.MonkeyPatch, naive: bool
) -> None:
    """The same person's id, e-mail, stored password and version in both."""
    if naive:
        monkeypatch.setattr(tokens, "salted", lambda purpose: f"lyceum:{purpose}")
    make_one_person(greenwood, lumiere, password=make_password(cast.PASSWORD))
    with institution(greenwood):
        token = RESET.made_for(User.objects.get(email=ONE))
    chosen = {"token": token, "password": "chosen by whoever has the letter"}
    elsewhere = nobody(lumiere).post(CONFIRM, chosen)
    assert (elsewhere.status_code == 204) is naive
    with institution(lumiere):
        assert User.objects.get(email=ONE).check_password(cast.PASSWORD) is not naive
    if not naive:
        assert elsewhere.json()["code"] == "bad_password_reset"
    assert nobody(greenwood).post(CONFIRM, chosen).status_code == 204, "the control"
    assert nobody(greenwood).post(CONFIRM, chosen).status_code == 400, "and once"


def test_a_letter_asked_for_at_one_host_goes_to_nobody_of_another(
    greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    """The same ids in both: what is owed in one institution is found in no other's outbox."""
    assert nobody(greenwood).post(RESETS, {"email": cast.of(lumiere).teacher.email}).status_code == 202
    carry_out(greenwood, lumiere)
    assert mail.outbox == []
    assert nobody(greenwood).post(RESETS, {"email": cast.of(greenwood).teacher.email}).status_code == 202
    carry_out(greenwood, lumiere)
    assert [letter.to for letter in mail.outbox] == [["teacher@greenwood.test"]], "the control"
