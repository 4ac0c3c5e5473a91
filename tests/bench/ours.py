"""Our side of the bench: an institution with the same 1,200 students, served by the Procfile's own web command.

`python -m tests.bench.ours` makes it in DATABASE_URL, with its principal, and an empty one for the import.
"""

import os
import sys
from pathlib import Path

from tests.bench.servers import ROOT, Peer, run_python

SLUG = "greenwood"
EMPTY_SLUG = "importing"
PRINCIPAL = "principal@greenwood.test"
PASSWORD = "bench-of-lyceum"


def environment(database_url: str, redis_url: str, directory: Path) -> dict[str, str]:
    """What our processes read. The limiter counts every request and never refuses."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DATA_DIR": str(directory / "data"),
        "SECRET_KEY": "a-secret-of-the-bench-that-nobody-else-is-served-with",
        "RATE_LIMIT_USER": "100000000/hour",
        "RATE_LIMIT_ANON": "100000000/hour",
        "ACCESS_TOKEN_SECONDS": "3600",
        "HOST": "127.0.0.1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "DJANGO_SETTINGS_MODULE": "platform_config.settings.local",
    }


def ours(database_url: str, redis_url: str, directory: Path) -> Peer:
    """Makes the institutions and says how the filled one is served and asked."""
    variables = environment(database_url, redis_url, directory)
    run_python("-m", "tests.bench.ours", environment=variables)
    return Peer(
        name="ours",
        command=web_command(),
        host=f"{SLUG}.localhost",
        token_path="/api/v1/auth/token/",
        credentials={"email": PRINCIPAL, "password": PASSWORD},
        list_path="/api/v1/school/students/?page_size=50",
        environment=variables,
    )


def web_command() -> str:
    """The command of `web` in the Procfile: the bench measures what is deployed."""
    for line in (ROOT / "Procfile").read_text().splitlines():
        process, _, command = line.partition(":")
        if process == "web":
            return command.strip()
    raise LookupError("The Procfile has no `web` process.")


def fill() -> None:
    """The principal, who may see every student, and the students, in the open institution."""
    from django.db import connection

    from shared_apps.core.permissions import Scope
    from tenant_apps.accounts.models import Role, User, UserRole
    from tenant_apps.school.models import Campus, GradeLevel, Student, StudentStatus
    from tests.bench.students import student_rows

    principal = User.objects.create_user(PRINCIPAL, PASSWORD)
    UserRole.objects.create(user=principal, role=Role.objects.get(code="principal"), scope=Scope.INSTITUTION)
    campuses = [Campus.objects.create(code=f"C{number}", name=f"Campus {number}") for number in range(2)]
    grades = [GradeLevel.objects.create(code=f"{number}", name=f"Grade {number}") for number in range(1, 13)]
    students = Student.objects.bulk_create(
        Student(campus=campuses[number % 2], grade_level=grades[number % 12], **row)
        for number, row in enumerate(student_rows())
    )
    StudentStatus.objects.bulk_create(
        StudentStatus(student=student, state=student.state, starts_on=student.joined_on) for student in students
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def main() -> None:
    """Platform, institutions, rows."""
    import django

    from shared_apps.core.actors import acting, command
    from shared_apps.core.context import institution, platform
    from shared_apps.core.registry import NewInstitution

    with platform(), acting(command("bench")):
        django.setup()
        from shared_apps.tenants.services import create_institution, migrate_platform

        migrate_platform()
        create_institution(new=NewInstitution("Importing", EMPTY_SLUG))
        tenant = create_institution(new=NewInstitution("Greenwood High", SLUG))
        with institution(tenant.context):
            fill()


if __name__ == "__main__":
    main()
