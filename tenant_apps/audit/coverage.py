"""Which tables are watched: every table of an institution but the few named here.

The triggers are attached after each migration, to whatever tables stand then: a new room is covered without a line.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from psycopg import sql

from shared_apps.core.context import InstitutionContext, current

LOG = "audit_entry"
EXEMPT = {
    LOG: "the log itself",
    "django_migrations": "the release's own record of itself",
    "eventlog_outboxmessage": "what is owed follows from a change that is in the log",
    "eventlog_stream": "counters of what people have been told",
    "eventlog_streamevent": "what people have been told, kept for thirty days",
    "eventlog_job": "its own record of who asked for what; what it wrote is in the log",
    "eventlog_idempotencykey": "the memory of answers, for a day",
    "accounts_session": "the record of sign-ins is its own",
    "accounts_refreshtoken": "links of a session",
    "communication_notification": "made from messages that are in the log, for each recipient",
}
"""Tables that are not watched, and why."""

SECRET = re.compile(r"(?:\A|_)(?:password|secret|token|digest|hash|private_key)\Z")
"""Columns whose values never reach the log, by their names."""

EVENTS = {
    "insert": "AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows",
    "update": "AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "delete": "AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows",
    "truncate": "AFTER TRUNCATE ON {table}",
}
FOUND = """
SELECT c.relname,
       (SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}') FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       (SELECT coalesce(array_agg(t.tgname || ' ' || encode(t.tgargs, 'escape')), '{}') FROM pg_trigger t
        WHERE t.tgrelid = c.oid AND t.tgname LIKE 'audit\\_%%')
FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> ALL (%s)
ORDER BY c.relname
"""


def masked_columns(columns: Iterable[str]) -> tuple[str, ...]:
    """Those of a table's columns whose values are not kept."""
    return tuple(column for column in columns if SECRET.search(column))


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the current institution that should be watched, and the triggers that it has."""

    name: str
    masked: tuple[str, ...]
    found: frozenset[str]

    @property
    def lacking(self) -> list[str]:
        """The events without a trigger; one that masks other columns than it should does not count."""
        arguments = "\\000".join([self.name, *self.masked, ""])
        return [event for event in EVENTS if f"audit_{event} {arguments}" not in self.found]

    def attach(self, event: str) -> sql.Composed:
        statement = "CREATE OR REPLACE TRIGGER {name} {event} FOR EACH STATEMENT EXECUTE FUNCTION audit_record({words})"
        return sql.SQL(statement).format(
            name=sql.Identifier(f"audit_{event}"),
            event=sql.SQL(EVENTS[event]).format(table=sql.Identifier(self.name)),
            words=sql.SQL(", ").join(map(sql.Literal, [self.name, *self.masked])),
        )


def tables() -> list[Table]:
    """Every table of the current institution but the exempt."""
    with connection.cursor() as cursor:
        cursor.execute(FOUND, [list(EXEMPT)])
        return [Table(name, masked_columns(columns), frozenset(found)) for name, columns, found in cursor.fetchall()]


def watch_everything() -> None:
    """Attach what is lacking, and leave the serving role nothing but reading the log. Runs as the owner."""
    role = sql.Identifier(settings.DATABASES["default"]["USER"])
    statements: list[sql.Composed] = [
        sql.SQL("REVOKE ALL ON audit_entry FROM {}").format(role),
        sql.SQL("GRANT SELECT ON audit_entry TO {}").format(role),
        sql.SQL("GRANT EXECUTE ON FUNCTION audit_seal(integer) TO {}").format(role),
    ]
    for table in tables():
        statements += [table.attach(event) for event in table.lacking]
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement.as_string(connection.connection))


def watch_after_migrate(**kwargs: Any) -> None:
    """Receiver of post_migrate: in an institution once the log stands, never on the platform."""
    if not isinstance(current(), InstitutionContext):
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT to_regclass(current_schema() || '.audit_entry') IS NOT NULL"
            " AND to_regprocedure(current_schema() || '.audit_record()') IS NOT NULL"
        )
        if not cursor.fetchone()[0]:  # migrated back to before the log
            return
    watch_everything()
