"""Signed-in devices: opened at sign-in, kept by refresh tokens, ended by sign-out, by a new password or by reuse.

A refresh token is an opaque secret of which only the digest is stored. Using it consumes it and makes its successor,
whose secret follows from its own (HMAC with a key of SECRET_KEY), so whoever repeats a refresh because the answer got
lost receives the same successor. Repeating is honest within GRACE and as long as the successor was not used itself;
anything else means that two parties hold the chain, nobody can say which is the owner, and the session ends.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from shared_apps.core.api.admission import forget_authorisations
from shared_apps.core.context import current_institution
from shared_apps.core.errors import NotFound, Unauthenticated
from tenant_apps.accounts.models import RefreshToken, Session, User
from tenant_apps.accounts.tokens import AccessToken, purpose_keys, secrets_newest_first

log = structlog.get_logger(__name__)
GRACE = timedelta(seconds=20)
MOST_CHARACTERS = 200

# One statement: of any number of concurrent refreshes of a token exactly one gets a row back. The others wait for its
# commit, see the token consumed, and find its successor.
CONSUME = """
UPDATE accounts_refreshtoken AS token SET consumed_at = %(now)s, updated_at = %(now)s
FROM accounts_session AS session JOIN accounts_user AS person ON person.id = session.user_id
WHERE token.digest = %(digest)s AND token.consumed_at IS NULL AND session.id = token.session_id
  AND session.ended_at IS NULL AND session.expires_at > %(now)s AND person.is_active
RETURNING session.id, person.id, person.token_version
"""


@dataclass(frozen=True, slots=True)
class Issued:
    """What a device receives; both secrets leave the process only in the answer."""

    access: str
    refresh: str
    session_id: UUID
    user_id: UUID


def open_session(*, user: User, address: str | None, user_agent: str) -> Issued:
    """Sign a device in, inside the caller's transaction."""
    session = Session.objects.create(
        user=user,
        address=address,
        user_agent=user_agent.replace("\x00", "")[:300],
        expires_at=timezone.now() + timedelta(days=settings.SESSION_DAYS),
    )
    secret = secrets.token_urlsafe(32)
    RefreshToken.objects.create(session=session, digest=_digest(secret))
    return _issued(secret, session.pk, user.pk, user.token_version)


def session_of(refresh: str) -> tuple[UUID, UUID] | None:
    """(session, user) that a refresh token was made for, whatever became of it; None for an unknown one."""
    if not refresh or len(refresh) > MOST_CHARACTERS:
        return None
    return RefreshToken.objects.filter(digest=_digest(refresh)).values_list("session_id", "session__user_id").first()


def rotate(*, refresh: str) -> Issued:
    """Exchange a refresh token for its successor and a new access token.

    Raises Unauthenticated: `refresh_invalid` for an unknown token and for one whose session is over or whose owner may
    not sign in, `refresh_reused` when it was used before; then its session has ended.
    """
    if not refresh or len(refresh) > MOST_CHARACTERS:
        raise _refused()
    now = timezone.now()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(CONSUME, {"now": now, "digest": _digest(refresh)})
            row = cursor.fetchone()
        if row is not None:
            session_id, user_id, version = row
            successor = _successors(refresh)[0]
            RefreshToken.objects.create(session_id=session_id, digest=_digest(successor))
            Session.objects.filter(pk=session_id).update(last_seen_at=now, updated_at=now)
            return _issued(successor, session_id, user_id, version)
    return _repeated(refresh, now)


def _repeated(refresh: str, now: datetime) -> Issued:
    """The answer to a token that could not be consumed. Runs outside the transaction: ending a session must stay."""
    token = RefreshToken.objects.select_related("session__user").filter(digest=_digest(refresh)).first()
    if token is None or token.consumed_at is None or not _open(token.session, now):
        raise _refused()
    person = token.session.user
    if now - token.consumed_at <= GRACE:
        candidates = {_digest(secret): secret for secret in _successors(refresh)}
        heir = RefreshToken.objects.filter(digest__in=candidates, session=token.session, consumed_at=None).first()
        if heir is not None:
            return _issued(candidates[heir.digest], token.session_id, person.pk, person.token_version)
    log.warning("refresh_token_reused", session=str(token.session_id), user=str(person.pk))
    end_sessions(user_id=person.pk, reason="reuse", only=token.session_id)
    raise Unauthenticated("This refresh token was used before; sign in again.", code="refresh_reused")


def end_sessions(
    *, user_id: UUID, reason: str, only: UUID | None = None, but: UUID | None = None, now: datetime | None = None
) -> int:
    """End a person's open sessions, `only` one or all `but` one. Tokens, cookies and sockets stop with them.

    Returns how many were open.
    """
    instant = now or timezone.now()
    with transaction.atomic():
        sessions = Session.objects.filter(user_id=user_id, ended_at=None)
        if only is not None:
            sessions = sessions.filter(pk=only)
        if but is not None:
            sessions = sessions.exclude(pk=but)
        ended = sessions.update(ended_at=instant, end_reason=reason, updated_at=instant)
        forget_authorisations(user_id)
    return ended


def end_all_sessions() -> None:
    """End everybody's: after a restore, sessions and rights are those of another day."""
    now = timezone.now()
    Session.objects.filter(ended_at=None).update(ended_at=now, end_reason="restored", updated_at=now)
    forget_authorisations(None)


def end_own_session(*, user_id: UUID, session_id: UUID) -> None:
    """End one of a person's own devices. Raises NotFound for another's and for one that is over."""
    if not end_sessions(user_id=user_id, reason="signed_out", only=session_id):
        raise NotFound("You are not signed in on such a device.")


def _open(session: Session, now: datetime) -> bool:
    return session.ended_at is None and session.expires_at > now and session.user.is_active


def _issued(refresh: str, session_id: UUID, user_id: UUID, version: int) -> Issued:
    access = AccessToken.issue(user_id=user_id, session_id=session_id, version=version)
    return Issued(access, refresh, session_id, user_id)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _successors(secret: str) -> list[str]:
    """The successor's secret under the present key, then under the fallbacks: a key may change between two tries."""
    message = secret.encode() + current_institution().id.bytes
    keys = purpose_keys("refresh successors", secrets_newest_first())
    raw = (hmac.new(key, message, hashlib.sha256).digest() for key in keys)
    return [base64.urlsafe_b64encode(value).rstrip(b"=").decode() for value in raw]


def _refused() -> Unauthenticated:
    return Unauthenticated("This refresh token is not valid; sign in again.", code="refresh_invalid")
