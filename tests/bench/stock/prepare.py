"""Makes the stock peer's database: `python -m tests.bench.stock.prepare`, with DATABASE_URL and REDIS_URL set.

The database that DATABASE_URL names is created when it is missing; running it twice changes nothing.
"""

import os

import django
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

HOST = "greenwood.localhost"
USERNAME = "principal"
PASSWORD = "stock-bench"


def create_database(url: str) -> None:
    """Creates the database named in `url`, asking the server's `postgres` database."""
    name = str(conninfo_to_dict(url)["dbname"])
    with psycopg.connect(make_conninfo(url, dbname="postgres"), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def fill_tenant() -> None:
    """Tables, the principal with the right to view students, and the rows, in the open tenant's schema.

    The tables come straight from the models: the bench measures requests, so the peer carries no migrations.
    """
    from django.contrib.auth.models import Group, Permission, User
    from django.db import connection

    from tests.bench.stock.school.models import Campus, GradeLevel, Student
    from tests.bench.students import student_rows

    with connection.schema_editor() as editor:
        for model in (Campus, GradeLevel, Student):
            editor.create_model(model)
    leaders = Group.objects.create(name="leaders")
    leaders.permissions.set(Permission.objects.filter(content_type__app_label="school"))
    User.objects.create_user(USERNAME, f"{USERNAME}@greenwood.test", PASSWORD).groups.add(leaders)
    campuses = [Campus.objects.create(name=f"Campus {number}") for number in range(2)]
    grades = [GradeLevel.objects.create(name=f"Grade {number}") for number in range(1, 13)]
    Student.objects.bulk_create(
        Student(campus=campuses[number % 2], grade_level=grades[number % 12], **row)
        for number, row in enumerate(student_rows())
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def main() -> None:
    """Database, public schema, one tenant, its people and rows."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.stock.settings")
    create_database(os.environ["DATABASE_URL"])
    django.setup()
    from django.core.management import call_command
    from django_tenants.utils import schema_context

    from tests.bench.stock.customers.models import Client, Domain

    call_command("migrate_schemas", shared=True, run_syncdb=True, interactive=False, verbosity=0)
    if Domain.objects.filter(domain=HOST).exists():
        return
    client = Client(schema_name="greenwood", name="Greenwood")
    client.save(verbosity=0)
    with schema_context(client.schema_name):
        fill_tenant()
    Domain.objects.create(domain=HOST, tenant=client, is_primary=True)


if __name__ == "__main__":
    main()
