"""Reads of who holds what."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from django.db import connection, models
from django.db.models import Q
from django.utils import timezone

CLOSURE = """
WITH RECURSIVE closure (holder, role) AS (
    SELECT id, id FROM accounts_role WHERE id = ANY(%s)
    UNION
    SELECT closure.holder, edge.parent_id
    FROM closure JOIN accounts_roleinheritance AS edge ON edge.role_id = closure.role
)
SELECT closure.holder, array_agg(held.code)
FROM closure JOIN accounts_rolepermission AS held ON held.role_id = closure.role
GROUP BY closure.holder
"""

# Asked for everybody who comes back after 15 s, so it is written out: compiling the ORM's two queries for it takes
# twice as long as running this one.
SITTING = """
SELECT session.user_id, person.email, person.token_version, session.expires_at,
       held.role_id, role.code, held.scope, held.scope_id, held.valid_from, held.valid_until
FROM accounts_session AS session
JOIN accounts_user AS person ON person.id = session.user_id
LEFT JOIN accounts_userrole AS held
       ON held.user_id = person.id AND (held.valid_until IS NULL OR held.valid_until > %(now)s)
LEFT JOIN accounts_role AS role ON role.id = held.role_id
WHERE session.id = %(session)s AND session.ended_at IS NULL AND session.expires_at > %(now)s AND person.is_active
ORDER BY held.id
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A role that a person holds now or will hold."""

    role_id: UUID
    code: str
    scope: str
    scope_id: UUID | None
    valid_from: datetime | None
    valid_until: datetime | None

    def begun(self, instant: datetime) -> bool:
        return self.valid_from is None or self.valid_from <= instant


@dataclass(frozen=True, slots=True)
class Sitting:
    """An open session, its owner, and the roles of the owner that are not over."""

    user_id: UUID
    email: str
    version: int
    expires_at: datetime
    roles: tuple[Held, ...]


class UserRoleQuerySet(models.QuerySet):
    """Roles held by people."""

    def not_over(self, instant: datetime) -> "UserRoleQuerySet":
        """Those that hold at the instant or begin later."""
        return self.filter(Q(valid_until__isnull=True) | Q(valid_until__gt=instant))

    def valid(self, instant: datetime) -> "UserRoleQuerySet":
        """Those that hold at the instant; `valid_until` is exclusive."""
        return self.not_over(instant).filter(Q(valid_from__isnull=True) | Q(valid_from__lte=instant))


class SessionQuerySet(models.QuerySet):
    """Signed-in devices."""

    def still_open(self) -> "SessionQuerySet":
        """Those that have neither ended nor expired."""
        return self.filter(ended_at=None, expires_at__gt=timezone.now())


def sitting_of(session_id: UUID, now: datetime) -> Sitting | None:
    """The open session with this id; None when it is over or its owner may not sign in. One query."""
    with connection.cursor() as cursor:
        cursor.execute(SITTING, {"session": session_id, "now": now})
        rows = cursor.fetchall()
    if not rows:
        return None
    user_id, email, version, expires_at = rows[0][:4]
    roles = tuple(Held(*row[4:]) for row in rows if row[4] is not None)
    return Sitting(user_id, email, version, expires_at, roles)


def permissions_of_roles(roles: Iterable[UUID]) -> dict[UUID, frozenset[str]]:
    """For each role the codes that it holds, those of the roles that it inherits included. One query.

    UNION drops what was reached before, so even a circle in the table would come to an end.
    """
    wanted = list(dict.fromkeys(roles))
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(CLOSURE, [wanted])
        found = {holder: _shared(frozenset(codes)) for holder, codes in cursor.fetchall()}
    return {role: found.get(role, frozenset()) for role in wanted}


@lru_cache(maxsize=1024)
def _shared(codes: frozenset[str]) -> frozenset[str]:
    """The same set object for the same codes: thousands of remembered people hold a handful of roles."""
    return codes
