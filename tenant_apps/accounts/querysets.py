"""Reads of who holds what."""

from collections.abc import Iterable
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
