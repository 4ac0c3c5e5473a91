"""The role that serves can do nothing but serve, and a start with another one is refused."""

import os
from collections.abc import Callable, Iterator

import pytest
from django.conf import LazySettings
from psycopg import sql

from shared_apps.core import checks, roles
from tests.servers import run_on_server

NAME = "lyceum_test_powerful"


@pytest.fixture
def serve_as(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch, django_db_setup: None
) -> Iterator[Callable[..., str]]:
    """Makes an owner and a role without powers, a member of the owner when asked to, and serves with it."""
    made = f"{NAME}_{os.getpid()}"
    role, owner = sql.Identifier(made), sql.Identifier(f"{made}_owner")

    def serve(*, member: bool) -> str:
        for each in (role, owner):
            run_on_server(sql.SQL("CREATE ROLE {} LOGIN").format(each))
        if member:
            run_on_server(sql.SQL("GRANT {} TO {}").format(owner, role))
        monkeypatch.setitem(settings.DATABASE_OWNER, "USER", f"{made}_owner")
        serving = {**settings.DATABASES["default"], "USER": made, "PASSWORD": ""}
        monkeypatch.setitem(settings.DATABASES, "default", serving)
        return made

    yield serve
    for each in (role, owner):
        run_on_server(sql.SQL("DROP ROLE IF EXISTS {}").format(each))


def test_the_suite_s_own_serving_role_may_serve(django_db_setup: None) -> None:
    assert roles.why_no_serving_role() is None


def test_the_owner_s_role_may_not_serve(
    django_db_setup: None, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.DATABASES, "default", settings.DATABASE_OWNER)
    assert "may make roles" in str(roles.why_no_serving_role())


def test_a_member_of_the_owner_s_role_may_not_serve(serve_as: Callable[..., str]) -> None:
    name = serve_as(member=True)
    assert roles.why_no_serving_role() == (
        f"the role {name} is the owner's, or a member of it; "
        "serve with one that has no rights but those of migrate_platform."
    )


def test_a_role_without_any_power_may_serve(serve_as: Callable[..., str]) -> None:
    """Negative control of the last test: only the membership differs."""
    serve_as(member=False)
    assert roles.why_no_serving_role() is None


def test_a_superuser_may_not_serve(
    django_db_setup: None, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = {**settings.DATABASES["default"], "USER": "postgres", "PASSWORD": ""}
    monkeypatch.setitem(settings.DATABASES, "default", serving)
    wrong = str(roles.why_no_serving_role())
    assert "is a superuser" in wrong or "does not answer" in wrong  # a server of one's own may not let us in


def test_production_does_not_start_with_such_a_role(
    django_db_setup: None, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.DATABASES, "default", settings.DATABASE_OWNER)
    checks.demand_safe_start()  # elsewhere the owner may serve: a scratch database knows no other
    settings.SERVING_ROLE_IS_CHECKED = True
    with pytest.raises(SystemExit, match=r"DATABASE_APP_URL: the role .* may make roles"):
        checks.demand_safe_start()


def test_a_start_without_a_database_is_refused(
    django_db_setup: None, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SERVING_ROLE_IS_CHECKED = True
    serving = {**settings.DATABASES["default"], "HOST": "/nowhere", "PORT": "1"}
    monkeypatch.setitem(settings.DATABASES, "default", serving)
    with pytest.raises(SystemExit, match="the database does not answer"):
        checks.demand_safe_start()
