"""Where a query reads: after a switch, a rollback, an error, and in a thread that others have used."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django_tenants.postgresql_backend.base import DatabaseWrapper as StockWrapper

from shared_apps.core.context import InstitutionContext, NoTenant, WrongContext, institution, platform
from shared_apps.core.engine.base import DatabaseWrapper
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.routing import tenant_app_labels
from tenant_apps.school.models import Student
from tests import cast
from tests.api import Asker, host_of
from tests.realtime.sockets import SignIn
from tests.security.isolation.canaries import tenant_models

ROOT = Path(__file__).resolve().parents[3]
STUDENTS = "/api/v1/school/students/?page_size=200"


def schema_now(cursor: Any = None) -> str:
    """Where a query reads, on this cursor or on one of its own."""
    if cursor is None:
        with connection.cursor() as own:
            return schema_now(own)
    cursor.execute("SELECT current_schema()")
    return str(cursor.fetchone()[0])


@pytest.fixture(params=["ours", "remembers in Python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Our engine, and the usual one that keeps in an attribute what it has set last (the negative control)."""
    if request.param != "ours":
        handle = DatabaseWrapper._handle_search_path

        def remembering(self: DatabaseWrapper, cursor: Any = None) -> None:
            if self._opened_in != self.schema_name:
                handle(self, cursor)

        monkeypatch.setattr(DatabaseWrapper, "_handle_search_path", remembering)
        monkeypatch.setattr(DatabaseWrapper, "_stand_here", lambda self: None)
    return str(request.param)


def test_a_savepoint_that_is_rolled_back_after_a_switch_takes_nobody_elsewhere(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext, way: str
) -> None:
    with institution(lumiere):
        schema_now()
        savepoint = transaction.savepoint()
    with institution(greenwood):
        assert schema_now() == greenwood.schema_name
        transaction.savepoint_rollback(savepoint)
        assert (schema_now() == greenwood.schema_name) is (way == "ours")


def test_a_cursor_that_is_kept_open_over_a_switch_reads_where_the_code_stands(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext, way: str
) -> None:
    with institution(greenwood), connection.cursor() as kept:
        assert schema_now(kept) == greenwood.schema_name
        with institution(lumiere):
            schema_now()
        assert (schema_now(kept) == greenwood.schema_name) is (way == "ours")
        with institution(lumiere):
            assert schema_now(kept) == lumiere.schema_name, "and used inside another institution, that one"


def test_a_path_that_somebody_set_by_hand_lasts_for_no_query_of_ours(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext, way: str
) -> None:
    with institution(greenwood):
        schema_now()
        with connection.cursor() as cursor:
            cursor.execute(f"SET search_path = {lumiere.schema_name}")
        assert (schema_now() == greenwood.schema_name) is (way == "ours")


def test_an_error_in_one_institution_leaves_nothing_for_the_next(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    with institution(lumiere), pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM no_such_table")
    with institution(greenwood):
        assert schema_now() == greenwood.schema_name


def test_threads_that_serve_both_in_turn_never_mix_them(
    committed: None, greenwood: InstitutionContext, lumiere: InstitutionContext, sign_in: SignIn, way: str
) -> None:
    """Four threads with a connection each, requests of both institutions and defects in turn."""
    askers = [
        (place, Asker(host_of(place), token=sign_in(place, "principal").access)) for place in (greenwood, lumiere)
    ]

    def serve(thread: int) -> int:
        mixed = 0
        try:
            for turn in range(12):
                place, asker = askers[(thread + turn) % 2]
                answer = asker.get(STUDENTS if turn % 3 else "/api/v1/school/students/not-an-id/")
                mixed += turn % 3 > 0 and str(cast.of(place).id("ada")).encode() not in answer.content
        finally:
            connections.close_all()
        return mixed

    if way != "ours":  # what a thread's connection keeps: it is set when the connection is made
        once = DatabaseWrapper._handle_search_path

        def at_the_first_time(self: DatabaseWrapper, cursor: Any = None) -> None:
            if not self._opened_in:
                once(self, cursor)

        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(4) as pool:
            patch.setattr(DatabaseWrapper, "_handle_search_path", at_the_first_time)
            assert sum(pool.map(serve, range(4)))
        return
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(serve, range(4))) == 0


def test_a_pool_s_thread_that_is_given_no_institution_reads_nothing(
    committed: None, greenwood: InstitutionContext
) -> None:
    """Negative control inside: the stock engine answers from public."""

    def read() -> str:
        try:
            return schema_now()
        except NoTenant:
            return "refused"
        finally:
            connections.close_all()

    def read_as_stock() -> str:
        stock = StockWrapper({**connection.settings_dict, "ENGINE": "django_tenants.postgresql_backend"}, "stock")
        try:
            with stock.cursor() as cursor:
                return schema_now(cursor)
        finally:
            stock.close()

    with institution(greenwood), ThreadPoolExecutor(1) as pool:
        assert [pool.submit(ask).result() for ask in (read, read_as_stock)] == ["refused", "public"]


# Names


@pytest.mark.parametrize(
    "name",
    [
        "public", "pg_catalog", "information_schema", "pg_temp", "pg_toast", "t_", "t_x, public", "t_x; SELECT 1",
        't_x"', "t_x'--", "T_X", "t_é", "t_\x00", "t_x\n", "$user", "", "t_" + "x" * 80,
    ],
)  # fmt: skip
def test_no_institution_is_read_from_a_schema_that_is_none_of_theirs(
    db: None, greenwood: InstitutionContext, name: str
) -> None:
    """Whoever could write the row of an institution would otherwise have it served from the platform's own tables."""
    with institution(replace(greenwood, schema_name=name)), pytest.raises(WrongContext):
        schema_now()


def test_a_name_that_is_put_into_sql_as_it_is_would_read_another_schema(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    """Negative control: what the check of names is for."""
    with institution(greenwood), connection.cursor() as cursor:
        cursor.execute(f"SET search_path = {greenwood.schema_name}; SET search_path = {lumiere.schema_name}, public")
        raw = connection.connection.execute("SELECT current_schema()").fetchone()
    assert raw == (lumiere.schema_name,)


@pytest.mark.parametrize("switch", ["set_schema", "set_tenant"])
def test_django_tenants_own_ways_to_switch_are_closed(db: None, greenwood: InstitutionContext, switch: str) -> None:
    with platform(), pytest.raises(WrongContext):
        getattr(connection, switch)(greenwood.schema_name)


# Past the engine


RAW = re.compile(
    r"(?<!as_string\()connection\.connection\b|\.connection\.(?:execute|cursor|info)\b|\.pgconn\b|psycopg\.(?:Async)?Connection\b|\.raw_connection"
)
MAY = {
    "shared_apps/core/engine/base.py",  # the engine itself
    "shared_apps/core/engine/owner.py",  # whether a kept connection still answers
    "shared_apps/core/roles.py",  # asks the server what a role may, before there is any context
    "platform_config/launch.py",  # waits for the server
    "platform_config/embedded.py",  # makes the server
}


def test_nobody_but_the_engine_uses_the_connection_below_it() -> None:
    found = set()
    for room in ("shared_apps", "tenant_apps", "tasks", "realtime", "platform_config"):
        for path in (ROOT / room).rglob("*.py"):
            if RAW.search(path.read_text()):
                found.add(str(path.relative_to(ROOT)))
    assert found <= MAY


def test_the_connection_below_the_engine_would_read_whoever_was_there_before(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    """Negative control of the rule above."""
    assert RAW.search("with connection.connection.cursor() as raw:")
    with institution(lumiere):
        schema_now()
    with institution(greenwood):
        assert connection.connection.execute("SELECT current_schema()").fetchone() == (lumiere.schema_name,)


def test_nothing_is_prepared_on_the_server(inside: InstitutionContext) -> None:
    """A prepared statement of one schema fails, or worse, in another."""
    schema_now()
    assert connection.connection.prepare_threshold is None


@pytest.mark.parametrize("path", ["ours", "pg_temp first, as by default"])
def test_a_temporary_table_of_the_session_stands_before_none_of_ours(
    db: None, greenwood: InstitutionContext, path: str
) -> None:
    with institution(greenwood), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE school_student (LIKE school_student) ON COMMIT DROP")
        if path != "ours":
            cursor.execute("SELECT 1")
            connection.connection.execute(f"SET LOCAL search_path = {greenwood.schema_name}, public")
            assert connection.connection.execute("SELECT count(*) FROM school_student").fetchone() == (0,)
        else:
            assert Student.objects.count() == len(cast.STUDENTS)


@pytest.mark.parametrize("mode", ["TRANSACTION", "SESSION"])
def test_behind_a_pooler_nothing_is_left_on_the_session_for_whoever_gets_it_next(
    committed: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Every statement says where it reads in a transaction of its own; the other mode is the negative control. With a
    real pgbouncer: tests/faults/live."""
    with platform():
        connection.ensure_connection()
    connection.connection.execute("RESET search_path")
    monkeypatch.setitem(connection.settings_dict, "POOL_MODE", mode)
    with institution(greenwood):
        assert schema_now() == greenwood.schema_name
        assert Student.objects.count() == len(cast.STUDENTS)
        left = connection.connection.execute("SELECT current_schema()").fetchone()
    assert (left == ("public",)) is (mode == "TRANSACTION")


# What is missing


@pytest.fixture
def as_owner(transactional_db: None) -> Callable[[str], None]:
    def run(statement: str) -> None:
        with platform(), owner_connection(), connection.cursor() as cursor:
            cursor.execute(statement)

    return run


def test_no_table_of_the_institutions_has_a_namesake_in_public(db: None) -> None:
    """Else a missing table would be read from there."""
    with platform(), connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        public = {name for (name,) in cursor.fetchall()}
    assert not public & {model._meta.db_table for model in tenant_models()}
    assert "school" in tenant_app_labels()


def test_a_missing_table_and_a_dropped_schema_are_a_defect_and_nobody_else_s_rows(
    as_owner: Callable[[str], None], greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    askers = {place.slug: Asker(host_of(place), cast.of(place).principal) for place in (greenwood, lumiere)}
    neighbour = askers["lumiere"].get(STUDENTS).content
    assert askers["greenwood"].get(STUDENTS).status_code == 200

    as_owner(f"DROP TABLE {greenwood.schema_name}.school_student CASCADE")
    for path in (STUDENTS, f"/api/v1/school/students/{cast.of(lumiere).id('ada')}/"):
        missing = askers["greenwood"].get(path)
        assert (missing.status_code, missing.json()["code"]) == (500, "internal_error")
        assert b"school_student" not in missing.content

    # Negative control: were there a table of that name in public, its rows would be served here.
    as_owner(f"CREATE TABLE public.school_student AS SELECT * FROM {lumiere.schema_name}.school_student")
    as_owner(f'GRANT SELECT ON public.school_student TO "{connection.settings_dict["USER"]}"')
    assert str(cast.of(lumiere).id("ada")).encode() in askers["greenwood"].get(STUDENTS).content
    as_owner("DROP TABLE public.school_student")

    as_owner(f"DROP SCHEMA {greenwood.schema_name} CASCADE")
    assert askers["greenwood"].get(STUDENTS).status_code >= 500
    assert askers["lumiere"].get(STUDENTS).content == neighbour
