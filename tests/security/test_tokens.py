"""Forged, foreign, stale and stolen access tokens, and rights that end while a token lives on."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from shared_apps.core.api.admission import forget_authorisations
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.errors import Unauthenticated
from shared_apps.core.permissions import Scope
from tenant_apps.accounts import authentication, tokens
from tenant_apps.accounts.models import Role, Session, User, UserRole
from tenant_apps.accounts.services import set_password
from tests import cast
from tests.api import Asker, as_person, host_of

pytestmark = pytest.mark.django_db
ME = "/api/v1/auth/me/"
Claims = dict[str, Any]


@pytest.fixture
def genuine(greenwood: InstitutionContext) -> Claims:
    """The claims of a good token: the teacher's, fresh."""
    token = as_person(greenwood, cast.of(greenwood).teacher).token
    return jwt.decode(token, options={"verify_signature": False})


def sealed(claims: Claims, *, key: Any = None, algorithm: str = "EdDSA", kid: str | None = None) -> str:
    """A token with these claims, signed like a real one unless told otherwise."""
    ours = tokens.keyring().keys[0]
    headers = {"kid": ours.kid if kid is None else kid}
    return jwt.encode(claims, ours.private if key is None else key, algorithm=algorithm, headers=headers)


def answer_to(context: InstitutionContext, token: str) -> tuple[int, str]:
    answer = Asker(host_of(context), token=token).get(ME)
    return answer.status_code, answer.json().get("code", "")


def by_hand(header: dict[str, Any], claims: Claims, sign: Callable[[bytes], bytes]) -> str:
    """A token that no library would make."""

    def part(raw: bytes) -> bytes:
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    head = part(json.dumps(header).encode()) + b"." + part(json.dumps(claims).encode())
    return (head + b"." + part(sign(head))).decode()


# Forged


def test_a_token_made_like_ours_is_let_in(greenwood: InstitutionContext, genuine: Claims) -> None:
    """The control of everything below: what is refused there is refused for the one thing that was changed."""
    assert answer_to(greenwood, sealed(genuine)) == (200, "")


def test_an_unsigned_token_is_refused(greenwood: InstitutionContext, genuine: Claims) -> None:
    kid = tokens.keyring().keys[0].kid
    for algorithm in ("none", "None", "NONE", ""):
        header = {"alg": algorithm, "typ": "JWT", "kid": kid}
        assert answer_to(greenwood, by_hand(header, genuine, lambda _: b"")) == (401, "token_invalid")


def test_the_public_key_does_not_serve_as_a_shared_secret(greenwood: InstitutionContext, genuine: Claims) -> None:
    ours = tokens.keyring().keys[0]
    raw = ours.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = ours.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "typ": "JWT", "kid": ours.kid}
    for secret in (raw, pem, ours.jwk["x"].encode(), b""):
        token = by_hand(header, genuine, lambda head, secret=secret: hmac.new(secret, head, hashlib.sha256).digest())
        assert answer_to(greenwood, token) == (401, "token_invalid")


def test_another_key_under_our_name_is_refused(greenwood: InstitutionContext, genuine: Claims) -> None:
    assert answer_to(greenwood, sealed(genuine, key=Ed25519PrivateKey.generate())) == (401, "token_invalid")


@pytest.mark.parametrize("kid", ["unknown", "", "../../etc/passwd"])
def test_a_key_id_that_is_none_of_ours_is_refused(greenwood: InstitutionContext, genuine: Claims, kid: str) -> None:
    assert answer_to(greenwood, sealed(genuine, kid=kid)) == (401, "token_invalid")


@pytest.mark.parametrize("claim", tokens.REQUIRED)
def test_a_token_that_lacks_a_claim_is_refused(greenwood: InstitutionContext, genuine: Claims, claim: str) -> None:
    del genuine[claim]
    assert answer_to(greenwood, sealed(genuine)) == (401, "token_invalid")


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("iss", "https://elsewhere.test"),
        ("aud", ["greenwood"]),
        ("token_type", "refresh"),
        ("sub", "no uuid"),
        ("sub", 7),
        ("sid", None),
        ("ver", "many"),
        ("ver", [1]),
        ("exp", "soon"),
        ("exp", 1e400),
        ("jti", 7),
    ],
)
def test_a_claim_of_another_kind_is_refused(
    greenwood: InstitutionContext, genuine: Claims, claim: str, value: Any
) -> None:
    ours = tokens.keyring().keys[0]
    header = {"alg": "EdDSA", "typ": "JWT", "kid": ours.kid}
    token = by_hand(header, genuine | {claim: value}, ours.private.sign)
    assert answer_to(greenwood, token) == (401, "token_invalid")


def test_a_token_that_is_not_yet_good_is_refused(greenwood: InstitutionContext, genuine: Claims) -> None:
    soon = int(time.time()) + 60
    assert answer_to(greenwood, sealed(genuine | {"nbf": soon})) == (401, "token_invalid")
    assert answer_to(greenwood, sealed(genuine | {"iat": soon})) == (401, "token_invalid")
    assert answer_to(greenwood, sealed(genuine | {"nbf": int(time.time()) - 60})) == (200, "")


@pytest.mark.parametrize("token", ["x", "a.b.c", "..", "é.é.é", "a" * 10_000, "null.null.null", "\udc80"])
def test_text_that_is_no_token_is_refused(inside: InstitutionContext, token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens.read_access_token(token)
    assert refused.value.code == "token_invalid"


@pytest.mark.parametrize("header", ["Basic dGVhY2hlcjp4", "Bearer", "Bearer ", "Token x", ""])
def test_another_kind_of_authorization_is_refused_as_such(greenwood: InstitutionContext, header: str) -> None:
    answer = Asker(host_of(greenwood)).get(ME, HTTP_AUTHORIZATION=header)
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_authorization")
    assert answer["WWW-Authenticate"].startswith("Bearer")


# Stale


def test_an_expired_token_is_refused_also_when_its_signature_is_remembered(greenwood: InstitutionContext) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        token = as_person(greenwood, cast.of(greenwood).teacher).token
        assert answer_to(greenwood, token) == (200, "")
        clock.shift(timedelta(seconds=899))
        assert answer_to(greenwood, token) == (200, "")
        clock.shift(timedelta(seconds=1))
        assert answer_to(greenwood, token) == (401, "token_expired")
        tokens.keyring().verified.clear()
        assert answer_to(greenwood, token) == (401, "token_expired")


def test_a_signature_is_verified_once(greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    decode = jwt.decode

    def counted(token: str, *args: Any, **kwargs: Any) -> Any:
        verified.append(token)
        return decode(token, *args, **kwargs)

    monkeypatch.setattr(jwt, "decode", counted)
    token = as_person(greenwood, cast.of(greenwood).teacher).token
    assert [answer_to(greenwood, token)[0] for _ in range(3)] == [200] * 3
    assert len(verified) == 1
    head, _, signature = token.rpartition(".")
    swapped = head + "." + ("A" if signature[0] != "A" else "B") + signature[1:]
    assert answer_to(greenwood, swapped) == (401, "token_invalid"), "another signature is another token"


def test_what_is_remembered_stays_bounded(inside: InstitutionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MOST_REMEMBERED", 10)
    for _ in range(50):
        token = tokens.AccessToken.issue(user_id=uuid4(), session_id=uuid4(), version=1)
        tokens.read_access_token(token)
        tokens.read_access_token(token)
    assert len(tokens.keyring().verified) <= 10


def test_a_new_password_voids_every_token_made_before(greenwood: InstitutionContext) -> None:
    teacher = cast.of(greenwood).teacher
    door = as_person(greenwood, teacher)
    assert door.get(ME).status_code == 200
    with institution(greenwood):
        set_password(user=User.objects.get(pk=teacher.user_id), password="a new one, and longer")
    assert door.get(ME).status_code == 401
    with institution(greenwood):
        Session.objects.update(ended_at=None)
        forget_authorisations(teacher.user_id)
    assert door.get(ME).status_code == 401, "the version alone voids it, were the session still open"


def test_an_inactive_person_is_refused_at_once(greenwood: InstitutionContext) -> None:
    teacher = cast.of(greenwood).teacher
    door = as_person(greenwood, teacher)
    assert door.get(ME).status_code == 200
    with institution(greenwood):
        User.objects.filter(pk=teacher.user_id).update(is_active=False)
        forget_authorisations(teacher.user_id)
    assert door.get(ME).status_code == 401


# Foreign


def test_a_token_of_one_institution_does_not_open_another_with_the_same_user_and_session(
    greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    claims = jwt.decode(door.token, options={"verify_signature": False})
    with institution(lumiere):
        assert User.objects.filter(pk=claims["sub"]).exists()
        Session.objects.create(
            pk=UUID(claims["sid"]), user_id=UUID(claims["sub"]), expires_at=timezone.now() + timedelta(days=1)
        )
        # Negative control: for whoever looks at session and user alone, it is lumiere's own person.
        assert authentication.principal_for_session(UUID(claims["sid"])).user_id == UUID(claims["sub"])
    assert answer_to(greenwood, door.token) == (200, "")
    assert answer_to(lumiere, door.token) == (401, "token_invalid")
    assert answer_to(lumiere, sealed(claims | {"aud": str(lumiere.id)})) == (200, ""), "it is the audience that tells"


def test_a_token_means_nothing_on_the_bare_domain(greenwood: InstitutionContext) -> None:
    token = as_person(greenwood, cast.of(greenwood).teacher).token
    assert Asker("localhost", token=token).get(ME).status_code == 404


def test_a_socket_ticket_opens_one_institution_once(greenwood: InstitutionContext, lumiere: InstitutionContext) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    ticket = door.post("/api/v1/auth/socket-ticket/").json()["ticket"]
    with institution(lumiere), pytest.raises(Unauthenticated):
        authentication.redeem_ticket(ticket)
    with institution(greenwood):
        assert authentication.redeem_ticket(ticket).user_id == cast.of(greenwood).teacher.user_id
        with pytest.raises(Unauthenticated):
            authentication.redeem_ticket(ticket)


def test_a_ticket_of_a_session_that_ended_meanwhile_opens_nothing(greenwood: InstitutionContext) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    ticket = door.post("/api/v1/auth/socket-ticket/").json()["ticket"]
    door.post("/api/v1/auth/logout/")
    with institution(greenwood), pytest.raises(Unauthenticated):
        authentication.redeem_ticket(ticket)
    with institution(greenwood), pytest.raises(Unauthenticated):
        authentication.principal_for_token(door.token)


# Keys


def test_the_published_key_verifies_our_tokens_and_is_named_by_its_thumbprint(greenwood: InstitutionContext) -> None:
    answer = Asker(host_of(greenwood)).get("/.well-known/jwks.json")
    assert answer.status_code == 200
    (key,) = answer.json()["keys"]
    canonical = json.dumps({name: key[name] for name in ("crv", "kty", "x")}, separators=(",", ":"), sort_keys=True)
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
    assert key["kid"] == thumbprint
    assert "d" not in key
    token = as_person(greenwood, cast.of(greenwood).teacher).token
    assert jwt.get_unverified_header(token)["kid"] == thumbprint
    claims = jwt.decode(token, jwt.PyJWK(key), algorithms=["EdDSA"], audience=str(greenwood.id))
    assert set(tokens.REQUIRED) <= set(claims)


def test_a_rotated_secret_lets_old_tokens_live_as_long_as_it_is_a_fallback(
    greenwood: InstitutionContext, settings: Any
) -> None:
    token = as_person(greenwood, cast.of(greenwood).teacher).token
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another secret, long enough to be one"
    assert answer_to(greenwood, token) == (200, "")
    settings.SECRET_KEY_FALLBACKS = []
    assert answer_to(greenwood, token) == (401, "token_invalid")


def test_signatures_of_one_institution_are_worth_nothing_in_another(
    greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    with institution(greenwood):
        made = tokens.mac("csrf", "the same message")
        assert tokens.mac_matches("csrf", "the same message", made)
        assert not tokens.mac_matches("tickets", "the same message", made)
        assert tokens.salted("csrf") != tokens.salted("tickets")
    with institution(lumiere):
        assert not tokens.mac_matches("csrf", "the same message", made)


# Rights


def test_a_warm_request_reads_no_rights_from_the_database_and_a_change_makes_it_read_them(
    greenwood: InstitutionContext,
) -> None:
    """Without the first half the tests below would prove nothing: they must pass with rights remembered."""
    teacher = cast.of(greenwood).teacher
    door = as_person(greenwood, teacher)
    door.get(ME)
    with CaptureQueriesContext(connection) as warm:
        door.get(ME)
    assert not [query for query in warm.captured_queries if "accounts_userrole" in query["sql"]]
    with institution(greenwood):
        forget_authorisations(teacher.user_id)
    with CaptureQueriesContext(connection) as cold:
        door.get(ME)
    assert len(cold) == len(warm) + 2


def test_a_revoked_role_stops_working_at_the_next_request(
    greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = cast.of(greenwood).teacher
    door = as_person(greenwood, teacher)
    principal = as_person(greenwood, cast.of(greenwood).principal)
    assert door.get(ME).json()["roles"]
    (grant,) = principal.get(f"/api/v1/accounts/user-roles/?user={teacher.user_id}").json()["results"]
    assert principal.delete(f"/api/v1/accounts/user-roles/{grant['id']}/").status_code == 204
    me = door.get(ME).json()
    assert (me["roles"], me["permissions"]) == ([], [])


def test_without_moving_epochs_a_revoked_role_would_live_on(
    greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the row alone is not enough, the epoch is what tells."""
    teacher = cast.of(greenwood).teacher
    door = as_person(greenwood, teacher)
    door.get(ME)
    with institution(greenwood):
        UserRole.objects.filter(user_id=teacher.user_id).delete()
    assert door.get(ME).json()["roles"], "remembered for at most 15 s"
    later = time.monotonic() + authentication.REMEMBERED_SECONDS
    monkeypatch.setattr(authentication.time, "monotonic", lambda: later)
    assert door.get(ME).json()["roles"] == []


def test_a_grant_ends_at_its_instant_and_begins_at_its_instant(greenwood: InstitutionContext) -> None:
    guardian = cast.of(greenwood).guardian
    door = as_person(greenwood, guardian)
    now = timezone.now()
    with institution(greenwood):
        UserRole.objects.filter(user_id=guardian.user_id).update(valid_until=now + timedelta(seconds=10))
        UserRole.objects.create(
            user_id=guardian.user_id,
            role=Role.objects.get(code="teacher"),
            scope=Scope.SECTION,
            valid_from=now + timedelta(seconds=5),
        )
        forget_authorisations(guardian.user_id)

    def roles_after(seconds: float) -> list[str]:
        with time_machine.travel(now + timedelta(seconds=seconds), tick=False):
            return sorted(held["role"] for held in door.get(ME).json()["roles"])

    assert roles_after(0) == ["guardian"]
    assert roles_after(4.9) == ["guardian"]
    assert roles_after(5) == ["guardian", "teacher"]
    assert roles_after(9.9) == ["guardian", "teacher"]
    assert roles_after(10) == ["teacher"]


def test_an_expired_session_is_over(greenwood: InstitutionContext) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    door.get(ME)
    with institution(greenwood):
        Session.objects.update(expires_at=timezone.now() + timedelta(seconds=60))
        forget_authorisations(None)
    assert door.get(ME).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(seconds=61), tick=False):
        answer = door.get(ME)
        assert (answer.status_code, answer.json()["code"]) == (401, "session_over")
