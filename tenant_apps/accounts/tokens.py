"""Access tokens: JWT (RFC 7519) signed with Ed25519 (RFC 8037), good for one institution and one session.

The key is derived from SECRET_KEY, so there is nothing to distribute; keys of SECRET_KEY_FALLBACKS still verify. The
algorithm is pinned, whatever a token's header says. Verifying a signature costs 200 us, so one that was verified is
remembered until the token expires; its claims are compared at each request all the same.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import (
    ExpiredTokenError,
    TokenBackendError,
    TokenBackendExpiredToken,
    TokenError,
)
from rest_framework_simplejwt.tokens import AccessToken as StockAccessToken

from shared_apps.core.context import current_institution
from shared_apps.core.errors import Unauthenticated

ALGORITHM = "EdDSA"
MOST_BYTES = 4096
MOST_REMEMBERED = 20_000
CLOCK_SKEW = 5
"""Seconds by which another server's clock may be ahead in `iat` and `nbf`; `exp` has none."""
REQUIRED = ("iss", "aud", "sub", "sid", "ver", "jti", "iat", "exp", "token_type")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says; times in seconds since 1970."""

    user_id: UUID
    session_id: UUID
    version: int
    audience: str
    issuer: str
    token_type: str
    issued_at: float
    not_before: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One Ed25519 key; `kid` is the thumbprint of its public part (RFC 7638)."""

    kid: str
    private: Ed25519PrivateKey
    public: Ed25519PublicKey
    jwk: dict[str, str]


@dataclass(slots=True)
class Keyring:
    """The keys of one set of secrets (the first signs) and the signatures that were verified with them."""

    keys: tuple[SigningKey, ...]
    verified: dict[bytes, Claims] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def remember(self, digest: bytes, claims: Claims) -> None:
        with self.lock:
            if len(self.verified) >= MOST_REMEMBERED:
                now = time.time()
                for known in [key for key, value in self.verified.items() if value.expires_at <= now]:
                    del self.verified[known]
                for known in list(self.verified)[: len(self.verified) - MOST_REMEMBERED // 2]:
                    del self.verified[known]
            self.verified[digest] = claims


def derived_key(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"lyceum {purpose}".encode()).derive(
        secret.encode()
    )


def secrets_newest_first() -> tuple[str, ...]:
    return (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


@lru_cache(maxsize=64)
def purpose_keys(purpose: str, secrets: tuple[str, ...]) -> tuple[bytes, ...]:
    """The keys of a purpose, the newest first: it makes, all check."""
    return tuple(derived_key(secret, purpose) for secret in secrets)


def salted(purpose: str) -> str:
    """The salt of a signature made for a purpose: it names the institution, so what A signed is worth nothing in B."""
    return f"lyceum:{purpose}:{current_institution().id}"


def mac(purpose: str, message: str) -> str:
    """HMAC-SHA256 of a message, in hex, for this institution and purpose alone."""
    return _mac(purpose_keys(purpose, secrets_newest_first())[0], purpose, message)


def mac_matches(purpose: str, message: str, given: str) -> bool:
    """Whether `given` was made by `mac` with the present secret or one of its fallbacks."""
    return any(
        hmac.compare_digest(_mac(key, purpose, message).encode(), given.encode())
        for key in purpose_keys(purpose, secrets_newest_first())
    )


def _mac(key: bytes, purpose: str, message: str) -> str:
    return hmac.new(key, f"{salted(purpose)}:{message}".encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=4)
def _keyring(secrets: tuple[str, ...]) -> Keyring:
    return Keyring(tuple(_signing_key(secret) for secret in secrets))


def keyring() -> Keyring:
    return _keyring(secrets_newest_first())


def _signing_key(secret: str) -> SigningKey:
    private = Ed25519PrivateKey.from_private_bytes(derived_key(secret, "access tokens, ed25519"))
    public = private.public_key()
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    kid = _base64url(hashlib.sha256(canonical).digest())
    return SigningKey(kid, private, public, {**members, "kid": kid, "use": "sig", "alg": ALGORITHM})


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwks() -> dict[str, list[dict[str, str]]]:
    """The public keys (RFC 7517), the signing one first."""
    return {"keys": [key.jwk for key in keyring().keys]}


def issuer() -> str:
    return f"https://{settings.PLATFORM_DOMAIN}"


class InstitutionBackend(TokenBackend):
    """simplejwt's backend with a `kid`, keys in rotation and the current institution as audience."""

    def __init__(self, audience: str) -> None:
        super().__init__(ALGORITHM, audience=audience, issuer=issuer(), leeway=CLOCK_SKEW)

    def encode(self, payload: dict[str, Any]) -> str:
        key = keyring().keys[0]
        claims = {**payload, "aud": self.audience, "iss": self.issuer}
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid})

    def get_verifying_key(self, token: Any) -> Ed25519PublicKey:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise TokenBackendError("Token is invalid") from error
        for key in keyring().keys:
            if key.kid == header.get("kid"):
                return key.public
        raise TokenBackendError("Token is signed with an unknown key")

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        """The payload of a token; it is always verified."""
        try:
            return jwt.decode(
                token,
                self.get_verifying_key(token),
                algorithms=[ALGORITHM],
                audience=self.audience,
                issuer=self.issuer,
                leeway=CLOCK_SKEW,
                options={"require": list(REQUIRED), "strict_aud": True},
            )
        except jwt.ExpiredSignatureError as error:
            raise TokenBackendExpiredToken("Token is expired") from error
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            raise TokenBackendError("Token is invalid") from error


class AccessToken(StockAccessToken):
    """simplejwt's access token for the current institution."""

    def __init__(self, token: Any = None, verify: bool = True) -> None:
        self.lifetime = timedelta(seconds=settings.ACCESS_TOKEN_SECONDS)
        super().__init__(token, verify)

    def get_token_backend(self) -> InstitutionBackend:
        return InstitutionBackend(str(current_institution().id))

    @classmethod
    def issue(cls, *, user_id: UUID, session_id: UUID, version: int) -> str:
        token = cls()
        token["sub"], token["sid"], token["ver"] = str(user_id), str(session_id), version
        return str(token)


def read_access_token(token: str) -> Claims:
    """The claims of a token of the current institution.

    Raises Unauthenticated with `token_expired`, or `token_invalid` for every other fault. Whether the session still
    lives and the version is the user's is the caller's question.
    """
    tenant = current_institution().id
    if len(token) > MOST_BYTES or not token.isascii():
        raise _invalid()
    raw = token.encode()
    ring = keyring()
    digest = hashlib.sha256(raw + tenant.bytes).digest()
    claims = ring.verified.get(digest)
    if claims is None:
        claims = _verified(token)
        ring.remember(digest, claims)
    now = time.time()
    if claims.expires_at <= now:
        raise Unauthenticated("The access token has expired; refresh it.", code="token_expired")
    soon = now + CLOCK_SKEW
    if (
        claims.audience != str(tenant)
        or claims.issuer != issuer()
        or claims.token_type != AccessToken.token_type
        or claims.issued_at > soon
        or claims.not_before > soon
    ):
        raise _invalid()
    return claims


def _verified(token: str) -> Claims:
    try:
        payload = AccessToken(token).payload
        return Claims(
            user_id=UUID(payload["sub"]),
            session_id=UUID(payload["sid"]),
            version=int(payload["ver"]),
            audience=payload["aud"],
            issuer=payload["iss"],
            token_type=payload["token_type"],
            issued_at=float(payload["iat"]),
            not_before=float(payload.get("nbf", 0)),
            expires_at=float(payload["exp"]),
        )
    except ExpiredTokenError:
        raise Unauthenticated("The access token has expired; refresh it.", code="token_expired") from None
    except (TokenError, ValueError, TypeError, AttributeError, OverflowError):
        raise _invalid() from None


def _invalid() -> Unauthenticated:
    return Unauthenticated("The access token is not valid here.", code="token_invalid")
