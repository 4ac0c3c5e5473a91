"""Institutions follow a release: the same statements in each, and one's trouble is its own."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, migrations
from django.db.migrations.loader import MigrationLoader
from django.test import override_settings

from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.tenants import migrating, template
from shared_apps.tenants.models import Tenant
from shared_apps.tenants.services import migrate_platform
from tenant_apps.accounts.models import RolePermission

LATER = {"school": "tests.shared_apps.tenants.later_release"}


@pytest.fixture
def later_release(transactional_db: None) -> Iterator[None]:
    """The next release is installed, and the platform migrated; the institutions are not yet."""
    with override_settings(MIGRATION_MODULES=LATER):
        migrate_platform()
        yield


def columns(context: InstitutionContext) -> int:
    with institution(context), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = %s AND column_name LIKE 'extra_%%'",
            [context.schema_name],
        )
        return int(cursor.fetchone()[0])


def as_owner(context: InstitutionContext, statement: str) -> None:
    with institution(context), owner_connection(), connection.cursor() as cursor:
        cursor.execute(statement)


def behind() -> set[str]:
    return {tenant.context.slug for tenant in migrating.institutions_behind()}


def test_every_institution_follows_and_then_equals_the_template(
    later_release: None, greenwood: InstitutionContext, console: InstitutionContext
) -> None:
    assert behind() == {"greenwood", "lumiere", "console"}
    seen: list[tuple[int, int]] = []
    outcome = migrating.migrate_institutions(tell=lambda done, of, seconds: seen.append((done, of)))
    assert sorted(outcome.migrated) == ["console", "greenwood", "lumiere"]
    assert seen == [(1, 3), (3, 3)]
    assert columns(greenwood) == columns(console) == 10
    assert behind() == set()
    assert migrating.unlike_the_template() == []
    with institution(greenwood):
        assert MigrationLoader(connection).applied_migrations.keys() >= {("school", "0002_ten_columns")}
    assert migrating.migrate_institutions() == migrating.Outcome()


def test_the_result_is_that_of_django_s_own_executor(
    later_release: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    """Negative control of the replay: the slow way, for one of the two."""
    with platform(), owner_connection():
        template.migrate_schema(greenwood)
    outcome = migrating.migrate_institutions()
    assert (outcome.failed, columns(greenwood), columns(lumiere)) == ([], 10, 10)
    assert migrating.unlike_the_template() == []


def test_a_canary_that_fails_keeps_the_others_as_they_are(
    later_release: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    as_owner(greenwood, "ALTER TABLE school_campus ADD COLUMN extra_3 int")
    with platform():
        Tenant.objects.filter(pk=greenwood.id).update(created_at="2001-01-01T00:00:00Z")
    outcome = migrating.migrate_institutions()
    assert outcome.stopped
    assert [slug for slug, _ in outcome.failed] == ["greenwood"]
    assert columns(lumiere) == 0


def test_one_that_fails_is_named_and_passed_over_and_follows_once_mended(
    later_release: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    as_owner(lumiere, "ALTER TABLE school_campus ADD COLUMN extra_3 int")
    with platform():
        Tenant.objects.filter(pk=lumiere.id).update(created_at="2099-01-01T00:00:00Z")
        complaints = StringIO()
        with pytest.raises(CommandError, match="1 institutions failed"):
            call_command("tenant", "migrate", stderr=complaints, stdout=StringIO())
        assert 'lumiere: column "extra_3"' in complaints.getvalue()
        assert "extra_3" in Tenant.objects.get(pk=lumiere.id).migration_error
    assert (columns(greenwood), columns(lumiere)) == (10, 1), "what failed is rolled back whole"
    as_owner(lumiere, "ALTER TABLE school_campus DROP COLUMN extra_3")
    assert migrating.migrate_institutions().migrated == ["lumiere"]
    with platform():
        assert Tenant.objects.get(pk=lumiere.id).migration_error == ""


def test_a_schema_that_differs_afterwards_is_said_to(later_release: None, lumiere: InstitutionContext) -> None:
    as_owner(lumiere, "CREATE TABLE by_hand (id int)")
    with platform():
        Tenant.objects.filter(pk=lumiere.id).update(created_at="2099-01-01T00:00:00Z")
    ((slug, error),) = migrating.migrate_institutions().failed
    assert (slug, "by hand" in error) == ("lumiere", True)
    assert columns(lumiere) == 10


def test_a_release_that_changes_rights_alone_reaches_the_institutions(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No migration tells of it: who is behind is judged by the template's rows as well."""
    from shared_apps.core.registry import registry
    from tenant_apps.school.permissions import SchoolPermission

    grants = {role: dict(held) for role, held in registry.grants.items()}
    monkeypatch.setattr(registry, "grants", grants)
    registry.grant("teacher", SchoolPermission.CAMPUS, "delete")
    migrate_platform()
    assert "greenwood" in behind()
    assert migrating.migrate_institutions().failed == []
    with institution(greenwood):
        assert RolePermission.objects.filter(role__code="teacher", code="school.delete_campus").exists()
    assert behind() == set()


def test_a_migration_that_runs_python_goes_through_django_s_executor(
    later_release: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def fill(apps: Any, editor: Any) -> None:
        ran.append(editor.connection.schema_name)

    from importlib import import_module

    later = import_module("tests.shared_apps.tenants.later_release.0002_ten_columns").Migration
    monkeypatch.setattr(later, "operations", [*later.operations, migrations.RunPython(fill)])
    outcome = migrating.migrate_institutions()
    assert outcome.failed == []
    assert greenwood.schema_name in ran
    assert len(ran) == len(set(ran)) == 3


def test_the_statements_are_made_once_for_all_that_lack_the_same(
    later_release: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    plainly = migrating._replay

    def counted(tenant: Tenant) -> migrating.Replay:
        made.append(tenant.schema_name)
        return plainly(tenant)

    monkeypatch.setattr(migrating, "_replay", counted)
    assert len(migrating.migrate_institutions().migrated) == 3
    assert len(made) == 1
