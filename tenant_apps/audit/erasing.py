"""Taking payloads out of the log: for a person who may be forgotten, and for what is older than it may be kept.

An erased entry keeps that a row was changed, when, and by which id; what it said, who was named, and the salt are gone,
so nothing can be guessed from its digest. Each erasure is an entry of its own that names what it erased: a payload that
is gone without one is a finding of `verify`. The serving role has no right to any of this; it runs as the owner.
"""

import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
from django.db import connection, transaction

from shared_apps.core.actors import actor
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.ids import uuid7
from tenant_apps.audit.chain import payload_digest

AT_A_TIME = 1_000
FOUND = "SELECT id FROM audit_entry WHERE erased_at IS NULL AND operation <> 'erase' AND {} ORDER BY id"
ABOUT = "table_name = %s AND row_key = ANY(%s)"
BY = "actor_id = %s"
BEFORE = "at < %s"
ERASE = """
UPDATE audit_entry SET before = NULL, after = NULL, salt = NULL, actor_name = '', address = '', erased_at = %s
WHERE id = ANY(%s)
"""
# Of what a person did to others' rows the rows stay; their name and address go, and with them the proof.
UNNAME = """
UPDATE audit_entry SET salt = NULL, actor_name = '', address = '', erased_at = %s WHERE id = ANY(%s)
"""
RECORD = """
INSERT INTO audit_entry (id, at, actor_kind, actor_id, actor_name, address, request_id, table_name, row_key, operation,
                         after, transaction_id, salt, digest)
VALUES (%s, %s, %s, %s, %s, %s, %s, 'audit_entry', '', 'erase', %s, pg_current_xact_id()::text::bigint, %s, %s)
"""


def forget_person(*, rows: Iterable[tuple[str, UUID]], user_id: UUID | None, reason: str, dry_run: bool = False) -> int:
    """Erase the entries about these rows (table, key), and the name and address in what the person did as `user_id`.

    Returns how many entries lost something. Entered outside of any transaction; a kill on the way leaves whole batches.
    """
    by_table: dict[str, list[str]] = {}
    for table, key in rows:
        by_table.setdefault(table, []).append(str(key))
    count = 0
    for table, keys in by_table.items():
        count += _erase(_found(ABOUT, [table, keys]), ERASE, reason, dry_run)
    if user_id is not None:
        count += _erase(_found(BY, [user_id]), UNNAME, reason, dry_run)
    return count


def expire(*, years: int, now: datetime | None = None, dry_run: bool = False) -> int:
    """Erase every entry older than so many years (of 365.25 days). Returns how many; the log itself stays whole."""
    limit = (now or datetime.now(UTC)) - timedelta(days=365.25 * years)
    return _erase(_found(BEFORE, [limit]), ERASE, f"older than {years} years", dry_run)


def _found(condition: str, values: Sequence[object]) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(FOUND.format(condition), values)
        return [key for (key,) in cursor.fetchall()]


def _erase(keys: list[UUID], statement: str, reason: str, dry_run: bool) -> int:
    if dry_run or not keys:
        return len(keys)
    who = actor()
    if who is None:
        raise RuntimeError("Nobody says who erases; enter core.actors.acting().")
    with owner_connection():
        for start in range(0, len(keys), AT_A_TIME):
            some = keys[start : start + AT_A_TIME]
            now, salt = datetime.now(UTC), secrets.token_bytes(16)
            after = orjson.dumps({"reason": reason, "entries": some}).decode()
            digest = payload_digest(salt, who.name, who.address, None, after)
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement, [now, some])
                person = (who.kind, who.user_id, who.name, who.address, who.request_id)
                cursor.execute(RECORD, [uuid7(), now, *person, after, salt, digest])
    return len(keys)
