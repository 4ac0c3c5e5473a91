"""What the serving database role can do with a connection of its own, were somebody to get hold of one.

It is the floor under the code: it reads and writes rows, of every institution (docs/security.md says so), and changes
nothing else. Every refusal is asked of the owner too, who is not refused: the negative control.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection as served
from psycopg.conninfo import make_conninfo

from shared_apps.core.context import InstitutionContext, institution

Connection = psycopg.Connection[Any]
ACTOR = """SET lyceum.actor = '{"kind": "user", "name": "somebody"}'"""


def connect(role: dict[str, Any]) -> Connection:
    return psycopg.Connection.connect(
        make_conninfo(
            dbname=role["NAME"],
            user=role["USER"],
            password=role["PASSWORD"],
            host=role["HOST"],
            port=role["PORT"] or None,
        ),
        autocommit=True,
    )


@pytest.fixture
def serving(django_db_setup: None) -> Iterator[Connection]:
    """A bare session of the role that serves: no engine, no context."""
    with connect(settings.DATABASES["default"]) as connection:
        yield connection


@pytest.fixture
def owner(django_db_setup: None) -> Iterator[Connection]:
    with connect(settings.DATABASE_OWNER) as connection:
        yield connection


@pytest.fixture
def names(greenwood: InstitutionContext, serving: Connection, owner: Connection) -> dict[str, str]:
    (database,) = serving.execute("SELECT current_database()").fetchone() or ("",)
    return {
        "schema": greenwood.schema_name,
        "owner": owner.info.user,
        "serving": serving.info.user,
        "database": database,
    }


TABLES = (
    "CREATE TABLE {schema}.extra (id int)",
    "CREATE TABLE public.extra (id int)",
    "CREATE VIEW {schema}.seen AS SELECT 1",
    "CREATE SCHEMA extra",
    "DROP SCHEMA {schema} CASCADE",
    "ALTER SCHEMA {schema} RENAME TO t_mine",
    "DROP TABLE {schema}.accounts_user CASCADE",
    "ALTER TABLE {schema}.accounts_user ADD COLUMN x int",
    "ALTER TABLE {schema}.accounts_user RENAME TO x",
    "ALTER TABLE {schema}.accounts_user DISABLE TRIGGER USER",
    "TRUNCATE {schema}.audit_entry",
    "CREATE INDEX ON {schema}.accounts_user (full_name)",
    "CREATE TRIGGER t AFTER INSERT ON {schema}.accounts_user FOR EACH ROW EXECUTE FUNCTION {schema}.audit_record()",
    "CREATE RULE r AS ON INSERT TO {schema}.audit_entry DO INSTEAD NOTHING",
    "CREATE FUNCTION {schema}.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION {schema}.audit_record() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "DROP FUNCTION {schema}.audit_record() CASCADE",
    "CREATE SEQUENCE {schema}.s",
    "CREATE TYPE {schema}.kind AS ENUM ('a')",
)
LOG = (
    "INSERT INTO {schema}.audit_entry (id, at, actor_kind, actor_name, address, request_id, table_name, row_key,"
    " operation, transaction_id, digest)"
    " VALUES (gen_random_uuid(), now(), 'user', 'x', '', '', 'x', 'x', 'change', 1, '')",
    "UPDATE {schema}.audit_entry SET actor_name = 'nobody'",
    "UPDATE {schema}.audit_entry SET seq = NULL, link = NULL",
    "DELETE FROM {schema}.audit_entry",
    "MERGE INTO {schema}.audit_entry e USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE",
    "COPY {schema}.audit_entry FROM STDIN",
)
SESSIONS = (
    "SET session_replication_role = replica",  # would put the triggers out
    "SET lyceum.actor = ''; INSERT INTO {schema}.auth_group (name) VALUES ('x')",  # would write without saying who
    "SET ROLE {owner}",
    "SET SESSION AUTHORIZATION {owner}",
    "GRANT {owner} TO {serving}",
    "ALTER ROLE {serving} SUPERUSER",
    "ALTER ROLE {serving} CREATEROLE",
    "ALTER ROLE {serving} BYPASSRLS",
    "CREATE ROLE mine",
    "DROP OWNED BY {owner}",
    "REASSIGN OWNED BY {owner} TO {serving}",
    "ALTER DATABASE {database} SET search_path = public",
    "ALTER DATABASE {database} OWNER TO {serving}",
    "CREATE EXTENSION file_fdw",
)
SERVER = (
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY pg_temp.x FROM '/etc/passwd'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_reload_conf()",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE c AS 'libc', 'system'",
    "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET log_min_messages = debug1",
)
ALONE = ("DROP DATABASE {database}", "CREATE DATABASE mine", "ALTER SYSTEM SET work_mem = '1GB'")
"""Statements that stand in no transaction."""


def refused(connection: Connection, statement: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


@pytest.mark.parametrize("statement", [*TABLES, *LOG, *SESSIONS, *SERVER])
def test_the_serving_role_is_refused(serving: Connection, names: dict[str, str], statement: str) -> None:
    assert refused(serving, statement.format(**names))


@pytest.mark.parametrize("statement", ALONE)
def test_it_is_refused_what_concerns_the_whole_server(
    serving: Connection, names: dict[str, str], statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        serving.execute(statement.format(**names))


@pytest.mark.parametrize("statement", [*TABLES, *LOG[:4]])
def test_the_owner_is_not(owner: Connection, names: dict[str, str], statement: str) -> None:
    """Negative control: the statements are right, and only the role differs."""
    with owner.transaction(force_rollback=True):
        owner.execute(ACTOR)
        owner.execute(statement.format(**names))


def test_what_it_writes_is_logged_whatever_it_says_of_itself(serving: Connection, names: dict[str, str]) -> None:
    """It can name another actor; it cannot write unnoticed."""
    count = f"SELECT count(*) FROM {names['schema']}.audit_entry"
    with serving.transaction(force_rollback=True):
        serving.execute(ACTOR)
        (before,) = serving.execute(count).fetchone() or (0,)
        serving.execute(f"UPDATE {names['schema']}.accounts_user SET full_name = 'x'")
        (after,) = serving.execute(count).fetchone() or (0,)
    assert after - before == 4


def test_a_function_that_writes_the_log_cannot_be_hung_to_a_table_of_one_s_own(
    serving: Connection, names: dict[str, str]
) -> None:
    """It runs with the owner's rights: whoever could, would write entries of what never happened."""
    hang = (
        "CREATE TEMP TABLE mine (id uuid); CREATE TRIGGER t AFTER INSERT ON mine REFERENCING NEW TABLE AS new_rows"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {names['schema']}.audit_record('accounts_user')"
    )
    assert refused(serving, hang)


def test_a_temporary_table_does_not_catch_what_the_log_is_told(serving: Connection, names: dict[str, str]) -> None:
    schema = names["schema"]
    with serving.transaction(force_rollback=True):
        serving.execute(ACTOR)
        serving.execute(f"CREATE TEMP TABLE audit_entry (LIKE {schema}.audit_entry)")
        serving.execute(f"SET LOCAL search_path = pg_temp, {schema}")
        serving.execute(f"UPDATE {schema}.accounts_user SET full_name = 'x'")
        caught = serving.execute("SELECT count(*) FROM pg_temp.audit_entry").fetchone()
    assert caught == (0,)


def test_it_reaches_every_schema_and_that_is_why_the_engine_exists(
    serving: Connection, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    """Documented, not wished for: one role serves all institutions, so which rows are read rests on the search path."""
    for place in (greenwood, lumiere):
        serving.execute(f"SET search_path = {place.schema_name}")
        assert serving.execute("SELECT count(*) FROM school_student").fetchone() == (6,)


def test_what_it_can_keep_for_its_next_sessions_does_not_move_ours(
    serving: Connection, names: dict[str, str], lumiere: InstitutionContext, greenwood: InstitutionContext
) -> None:
    """A role may always set its own defaults; the engine compares and sets the path all the same."""
    serving.execute(
        f"ALTER ROLE {names['serving']} IN DATABASE {names['database']} SET search_path = {lumiere.schema_name}"
    )
    try:
        served.close()
        with institution(greenwood), served.cursor() as cursor:
            cursor.execute("SELECT current_schema()")
            assert cursor.fetchone() == (greenwood.schema_name,)
        with connect(settings.DATABASES["default"]) as bare:  # negative control
            assert bare.execute("SELECT current_schema()").fetchone() == (lumiere.schema_name,)
    finally:
        serving.execute(f"ALTER ROLE {names['serving']} IN DATABASE {names['database']} RESET search_path")
        served.close()
