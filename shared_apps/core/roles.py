"""The serving database role: may read and write rows, may not change tables.

A superuser, or the owner of the tables, would prove nothing about isolation, so local runs and the suite use two roles
as production does. Where only the owner's address is known, the serving role is made from it.
"""

import hashlib
import hmac

import psycopg
from django.conf import settings
from django.db import connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

ANSWER_SECONDS = 10
TOO_MUCH = (
    "is a superuser",
    "passes by row security",
    "may make roles",
    "is the owner's, or a member of it",
    "may make tables in public",
)
POWERS = """
SELECT role.rolsuper, role.rolbypassrls, role.rolcreaterole,
       EXISTS (SELECT FROM pg_roles owner WHERE owner.rolname = %s AND pg_has_role(role.oid, owner.oid, 'MEMBER')),
       has_schema_privilege(role.oid, 'public', 'CREATE')
FROM pg_roles role WHERE role.rolname = current_user
"""


def derived_role(database: str, secret: str) -> dict[str, str]:
    """USER and PASSWORD of the serving role of `database`, the same at every start."""
    password = hmac.new(secret.encode(), f"database-role:{database}".encode(), hashlib.sha256).hexdigest()
    return {"USER": f"{database[:54]}_app", "PASSWORD": password}


def ensure_serving_role() -> None:
    """Make or refresh the derived role. Runs on the owner's connection; safe beside another start doing the same."""
    serving = settings.DATABASES["default"]
    name, password = sql.Identifier(serving["USER"]), sql.Literal(serving["PASSWORD"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(7201)")
        try:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [serving["USER"]])
            # A role without CREATEROLE and so on is what CREATE ROLE makes; ALTER ROLE must not name those, or it
            # would need a superuser.
            verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
            statement = sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, name, password)
            cursor.execute(statement.as_string(connection.connection))
            # So that the owner may end the serving role's connections before it drops a database.
            cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name).as_string(connection.connection))
        finally:
            cursor.execute("SELECT pg_advisory_unlock(7201)")


def grant_serving_role(schema: str) -> None:
    """Let the serving role read and write rows of `schema`, of the tables it has and of those to come."""
    role = sql.Identifier(settings.DATABASES["default"]["USER"])
    place = sql.Identifier(schema)
    statements = (
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
        "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE, SELECT ON SEQUENCES TO {role}",
    )
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(sql.SQL(statement).format(schema=place, role=role).as_string(connection.connection))


def why_no_serving_role() -> str | None:
    """Why the role that serves may not: it could change tables, so isolation would rest on the code alone.

    None when all is well. Also says when the database does not answer: a start that cannot be judged is none. Asked on
    a connection of its own, since it runs before there is any context.
    """
    serving, owner = settings.DATABASES["default"], settings.DATABASE_OWNER["USER"]
    address = make_conninfo(
        dbname=serving["NAME"],
        user=serving["USER"] or None,
        password=serving["PASSWORD"] or None,
        host=serving["HOST"] or None,
        port=serving["PORT"] or None,
        **{**serving.get("OPTIONS", {}), "connect_timeout": ANSWER_SECONDS},
    )
    try:
        with psycopg.Connection.connect(address) as asked:
            row = asked.execute(POWERS, [owner]).fetchone()
    except psycopg.Error as error:
        return f"the database does not answer: {' '.join(str(error).split())}"
    assert row is not None
    found = [what for what, has in zip(TOO_MUCH, row, strict=True) if has]
    if not found:
        return None
    return f"the role {serving['USER']} {found[0]}; serve with one that has no rights but those of migrate_platform."
