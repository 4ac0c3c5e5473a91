"""New institutions are copies of the template: equal in every part that a query or a right could tell apart."""

import pytest
from django.db import connection

from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.registry import NewInstitution
from shared_apps.tenants import migrating, services, template
from shared_apps.tenants.fingerprint import fingerprints
from shared_apps.tenants.models import SchemaTemplate
from tenant_apps.accounts.models import Role, RolePermission, User


def the_template() -> SchemaTemplate:
    with platform():
        return SchemaTemplate.objects.get()


def fingerprint_of(schema: str) -> str:
    with platform():
        return fingerprints([schema])[schema]


def test_a_replayed_institution_is_equal_to_a_migrated_one(
    greenwood: InstitutionContext, console: InstitutionContext, db: None
) -> None:
    """The operators' tenant is made by Django's own migrations, institutions by replaying their result."""
    assert fingerprint_of(greenwood.schema_name) == fingerprint_of(console.schema_name) == the_template().fingerprint


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE school_campus ADD COLUMN extra int",
        "ALTER TABLE school_campus ALTER COLUMN name DROP NOT NULL",
        "DROP INDEX academics_course_by_title",
        "ALTER TABLE academics_enrolment DROP CONSTRAINT academics_enrolment_no_overlap",
        "REVOKE DELETE ON school_campus FROM PUBLIC, CURRENT_USER",
        "CREATE FUNCTION foreign_object() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ],
)
def test_a_schema_that_differs_in_one_part_has_another_fingerprint(
    transactional_db: None, greenwood: InstitutionContext, change: str
) -> None:
    with institution(greenwood), owner_connection(), connection.cursor() as cursor:
        cursor.execute(change)
    assert fingerprint_of(greenwood.schema_name) != the_template().fingerprint
    with platform():
        assert [tenant.context.slug for tenant in migrating.unlike_the_template()] == ["greenwood"]


def test_the_template_carries_roles_and_permissions_and_no_person(transactional_db: None) -> None:
    found = the_template()
    shown = InstitutionContext(id=found.pk, schema_name=found.schema_name, slug="template", name="Template")
    with institution(shown):
        assert User.objects.count() == 0
        assert set(Role.objects.values_list("code", flat=True)) == {"principal", "teacher", "guardian", "student"}
        expected = RolePermission.objects.count()
    tenant = services.create_institution(new=NewInstitution("Copy", "copy"))
    with institution(tenant.context):
        assert RolePermission.objects.count() == expected > 100
        assert User.objects.count() == 0


def test_the_dump_leaves_nothing_behind_in_the_session(transactional_db: None, greenwood: InstitutionContext) -> None:
    with platform(), owner_connection(), connection.cursor() as cursor:
        template.replay("t_playedonce23")
        cursor.execute("SHOW search_path")
        assert cursor.fetchone() == ("public, pg_temp",)
        cursor.execute("SHOW check_function_bodies")
        assert cursor.fetchone() == ("on",)


def test_a_template_that_is_refreshed_without_change_is_not_dumped_anew(transactional_db: None) -> None:
    before = the_template()
    with platform(), owner_connection():
        assert not template.refresh_template()
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {before.schema_name}.later (id int)")
        assert template.refresh_template()
    assert the_template().dump != before.dump


def test_a_template_that_is_described_in_other_words_is_compared_by_them(transactional_db: None) -> None:
    """Another release of PostgreSQL may write the same index otherwise: until then no institution could be made."""
    with platform(), owner_connection():
        SchemaTemplate.objects.update(fingerprint="0" * 32)
        assert template.refresh_template()
    services.create_institution(new=NewInstitution("Copy", "copy"))


def test_a_replay_that_is_not_equal_to_the_template_keeps_nothing(transactional_db: None) -> None:
    """Negative control of the check after each replay."""
    with platform(), owner_connection():
        SchemaTemplate.objects.update(fingerprint="0" * 32)
        with pytest.raises(template.TemplateError):
            template.replay("t_unlike")
        assert fingerprints(["t_unlike"]) == {}
