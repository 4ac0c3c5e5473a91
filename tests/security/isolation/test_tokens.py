"""What opens one institution opens no other: tokens, cookies, refresh tokens, CSRF tokens, origins, downloads."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.tenants import hosts
from shared_apps.tenants.models import Domain
from tenant_apps.accounts import tokens
from tenant_apps.accounts.models import Session
from tenant_apps.files import services as files
from tests import cast
from tests.api import Asker, host_of
from tests.security.isolation.canaries import Twins, Watched, sings
from tests.security.isolation.probing import addresses

pytestmark = pytest.mark.django_db
ME, TOKEN, REFRESH = "/api/v1/auth/me/", "/api/v1/auth/token/", "/api/v1/auth/refresh/"
DOORS = ("token", "refresh", "logout", "invitation", "password-reset", "password-reset/confirm")
OPEN = {f"/api/v1/auth/{door}/" for door in DOORS}
"""Doors that look at what the body brings, and at no access token (tests/security/isolation/test_browsers.py)."""


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
