"""The three states, and that none of them leaks."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, transaction

from shared_apps.core.context import InstitutionContext, NoTenant, WrongContext, current, institution, platform
from shared_apps.core.engine.base import DatabaseWrapper
from shared_apps.core.engine.owner import owner_connection
from shared_apps.tenants.models import Tenant
from tenant_apps.accounts.models import User


def schema_now() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        return str(cursor.fetchone()[0])


def test_a_query_outside_of_any_context_raises(db: None) -> None:
    assert current() is None
    with pytest.raises(NoTenant), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    with pytest.raises(NoTenant):
        User.objects.count()


def test_the_stock_engine_would_have_read_public_there(db: None) -> None:
    """Negative control: django-tenants' own rule for the same moment."""
    from django_tenants.postgresql_backend.base import DatabaseWrapper

    stock = DatabaseWrapper({**connection.settings_dict, "ENGINE": "django_tenants.postgresql_backend"}, "stock")
    with stock.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        assert cursor.fetchone()[0] == "public"
    stock.close()


def test_an_institution_reads_its_own_schema_and_the_platform_public(db: None, greenwood: InstitutionContext) -> None:
    with institution(greenwood):
        assert schema_now() == greenwood.schema_name
        with platform():
            assert schema_now() == "public"
        assert schema_now() == greenwood.schema_name


def test_platform_tables_raise_inside_an_institution(inside: InstitutionContext) -> None:
    with pytest.raises(WrongContext):
        Tenant.objects.count()
    with connection.cursor() as cursor:  # negative control: the search path alone would have listed every institution
        cursor.execute("SELECT count(*) FROM tenants_tenant")
        assert cursor.fetchone()[0] >= 3


def test_an_institutions_tables_raise_on_the_platform(db: None) -> None:
    with platform(), pytest.raises(WrongContext):
        User.objects.count()


def test_the_context_ends_with_its_block_also_after_an_error(greenwood: InstitutionContext) -> None:
    with pytest.raises(ZeroDivisionError), institution(greenwood):
        raise ZeroDivisionError
    assert current() is None


def test_a_new_thread_starts_outside_of_any_context(inside: InstitutionContext) -> None:
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(current()))
    thread.start()
    thread.join()
    assert seen == [None]


def test_threads_that_swap_institutions_never_see_each_others(
    transactional_db: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    def visit(context: InstitutionContext) -> list[str]:
        seen = []
        for _ in range(40):
            with institution(context):
                seen.append(schema_now())
        connection.close()
        return seen

    with ThreadPoolExecutor(4) as pool:
        for context, seen in zip((greenwood, lumiere) * 2, pool.map(visit, (greenwood, lumiere) * 2), strict=True):
            assert set(seen) == {context.schema_name}


def test_coroutines_keep_their_own_institution(
    transactional_db: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    async def visit(context: InstitutionContext) -> set[str]:
        seen = set()
        with institution(context):
            for _ in range(10):
                seen.add(await sync_to_async(schema_now)())
                await asyncio.sleep(0)
        return seen

    async def both() -> list[set[str]]:
        return await asyncio.gather(visit(greenwood), visit(lumiere))

    assert asyncio.run(both()) == [{greenwood.schema_name}, {lumiere.schema_name}]


def test_a_rolled_back_savepoint_does_not_bring_the_other_schema_back(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    with institution(greenwood):
        assert schema_now() == greenwood.schema_name
        with pytest.raises(ZeroDivisionError), institution(lumiere), transaction.atomic():
            assert schema_now() == lumiere.schema_name
            raise ZeroDivisionError
        assert schema_now() == greenwood.schema_name


def test_the_search_path_is_sent_once_and_not_for_every_cursor(
    db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers before PostgreSQL 18 do not report what it is, so there it goes along each time."""
    sent: list[str] = []
    send = DatabaseWrapper._send

    def note(self: DatabaseWrapper, statements: list[str], *, begin: bool) -> None:
        sent.extend(one for one in statements if "search_path" in one)
        send(self, statements, begin=begin)

    monkeypatch.setattr(DatabaseWrapper, "_send", note)
    with institution(greenwood):
        for _ in range(3):
            schema_now()
    assert len(sent) == (1 if connection.pg_version >= 180000 else 3)


def test_a_schema_name_that_is_no_plain_name_is_refused(db: None, greenwood: InstitutionContext) -> None:
    from dataclasses import replace

    for name in ('x"; DROP SCHEMA public; --', "pg_catalog, public", "T_upper", "a b", ""):
        with institution(replace(greenwood, schema_name=name)), pytest.raises(WrongContext):
            schema_now()


def test_django_tenants_own_switches_are_banned(db: None, greenwood: InstitutionContext) -> None:
    from django_tenants.utils import schema_context

    with platform():
        with pytest.raises(WrongContext):
            connection.set_schema(greenwood.schema_name)
        with pytest.raises(WrongContext), schema_context(greenwood.schema_name):
            pass
        tenant = Tenant.objects.get(pk=greenwood.id)
        with pytest.raises(WrongContext), tenant:
            pass


def test_the_serving_role_cannot_change_tables_and_the_owner_can(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    with institution(greenwood):
        for statement in (
            "CREATE TABLE extra (id int)",
            "DROP TABLE accounts_user",
            "ALTER TABLE accounts_user ADD x int",
        ):
            with pytest.raises(DatabaseError, match=r"permission denied|must be owner"), connection.cursor() as cursor:
                cursor.execute(statement)
        with owner_connection(), connection.cursor() as cursor:
            cursor.execute("CREATE TABLE extra (id int)")
