"""What opens one institution opens no other: tokens, cookies, refresh tokens, CSRF tokens, origins, downloads."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from django.http import HttpResponse
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, State, institution, platform
from shared_apps.tenants import hosts
from shared_apps.tenants.models import Domain, Tenant
from tenant_apps.accounts import tokens
from tenant_apps.accounts.cookies import ACCESS_COOKIE, CSRF_COOKIE, REFRESH_COOKIE
from tenant_apps.accounts.models import Session
from tenant_apps.files import services as files
from tests import cast
from tests.api import Asker, as_person, host_of, nobody
from tests.security.isolation.canaries import Twins, Watched, sings
from tests.security.isolation.probing import addresses

pytestmark = pytest.mark.django_db
ME, TOKEN, REFRESH = "/api/v1/auth/me/", "/api/v1/auth/token/", "/api/v1/auth/refresh/"
OPEN = {"/api/v1/auth/token/", "/api/v1/auth/refresh/", "/api/v1/auth/logout/"}


@pytest.fixture
def same_session(twins: Twins, principal: Watched) -> str:
    """The asker's token, whose user and session exist in the other institution too, under the same ids."""
    claims = jwt.decode(principal.token, options={"verify_signature": False})
    with institution(twins.there):
        session = {"user_id": UUID(claims["sub"]), "expires_at": timezone.now() + timedelta(days=1)}
        Session.objects.update_or_create(pk=UUID(claims["sid"]), defaults=session)
    return principal.token


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "audience not looked at"])
def test_a_token_opens_no_address_of_another_institution(
    twins: Twins, same_session: str, naive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_of(twins.there)
    if naive:
        claims = jwt.decode(same_session, options={"verify_signature": False})
        with institution(twins.there):
            forged = tokens.read_access_token(resealed(claims | {"aud": str(twins.there.id)}))
        monkeypatch.setattr("tenant_apps.accounts.authentication.read_access_token", lambda token: forged)
        assert sings(Asker(host, token=same_session).get("/api/v1/school/students/").content)
        return
    for address in addresses():
        if address.path in OPEN:
            continue
        for method in address.methods:
            answer = Watched(host, token=same_session).ask(
                method, address.at(UUID(int=7)), {} if method != "GET" else None
            )
            assert answer.status_code == 401, (method, address.path)


def resealed(claims: dict[str, Any]) -> str:
    """A token with these claims, signed with the platform's own key."""
    ours = tokens.keyring().keys[0]
    return jwt.encode(claims, ours.private, algorithm="EdDSA", headers={"kid": ours.kid})


def test_a_token_that_names_no_one_institution_opens_none(twins: Twins, same_session: str) -> None:
    claims = jwt.decode(same_session, options={"verify_signature": False})
    here, there = str(twins.here.id), str(twins.there.id)
    del claims["aud"]
    audiences = (
        "",
        "*",
        "greenwood",
        "platform",
        [],
        [here],
        [here, there],
        here.upper(),
        f"{{{here}}}",
        f"{here} {there}",
    )
    for token in (resealed(claims), *(resealed(claims | {"aud": audience}) for audience in audiences)):
        for place in (twins.here, twins.there):
            assert Watched(host_of(place), token=token).get(ME).status_code == 401
    good = resealed(claims | {"aud": here, "iat": int(time.time())})
    assert Asker(host_of(twins.here), token=good).get(ME).status_code == 200, "the control: refused for that alone"


def give_host(host: str, to: InstitutionContext) -> None:
    with platform():
        Domain.objects.filter(domain=host).update(tenant_id=to.id)
    hosts.forget()


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "bound to the host's name"])
def test_what_was_signed_under_an_address_is_worth_nothing_to_who_has_it_next(
    twins: Twins, same_session: str, naive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slug that is given away: the browser still sends its cookies to the same host."""
    host = host_of(twins.here)
    if naive:
        monkeypatch.setattr("tenant_apps.accounts.tokens.current_institution", lambda: twins.here)
    with platform():
        Domain.objects.filter(tenant_id=twins.there.id).delete()
    give_host(host, twins.there)
    answer = Asker(host, token=same_session).get("/api/v1/school/students/")
    if naive:
        assert sings(answer.content)
    else:
        assert answer.status_code == 401
        assert not sings(answer.content)


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


# Downloads


def test_a_download_of_one_institution_is_nothing_at_another(
    twins: Twins, principal: Watched, settings: Any, tmp_path: Any
) -> None:
    """Also where the web server in front sends the file: its internal address is given to nobody else."""
    settings.MEDIA_ROOT = tmp_path
    with institution(twins.there):
        kept = files.keep(
            name="marks.csv", content_type="text/csv", purpose="export", chunks=[b"canarybird"],
            owner=cast.user_id("principal"),
        )  # fmt: skip
    for by_proxy in (False, True):
        settings.FILES_SENT_BY_PROXY = by_proxy
        answer = principal.get(kept.url)
        assert (answer.status_code, "X-Accel-Redirect" in answer.headers) == (404, False)
        assert Asker(host_of(twins.there)).get(kept.url).status_code == 401
    for inside in (f"/protected/{kept.path}", f"/media/{kept.path}", f"/static/../{kept.path}"):
        assert principal.get(inside).status_code == 404
