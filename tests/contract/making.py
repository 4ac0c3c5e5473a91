"""Records to write: a body for a new record of each resource, as often as one likes, and what it refers to.

A resource that is not named in NEW gets a body from its columns (`tests.examples`), with a number in each text.
"""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from django.db import models

from shared_apps.core.context import Kind
from shared_apps.core.permissions import Scope
from tenant_apps.academics.models import Section
from tenant_apps.accounts.models import Role, RoleInheritance, User, UserRole
from tenant_apps.communication.models import Notification
from tenant_apps.eventlog.models import Job
from tenant_apps.reports.models import ReportArtifact, ReportDefinition, ReportRun, ReportSchedule, SavedView
from tenant_apps.school.models import Student
from tests import cast as casting
from tests.contract.served import Resource
from tests.examples import values_of

MANY = 21  # a single one and twenty at once
Body = dict[str, Any]
Made = Callable[[casting.Cast, int], Body]


def write_ground(cast: casting.Cast) -> None:
    """What new records refer to, a row of each resource that the cast has none of, and each person's own rows.

    Runs inside the cast's institution.
    """
    people = [cast.operator] if cast.institution.kind == Kind.OPERATOR else list(cast.people)
    hashed = User.objects.values_list("password", flat=True)[0]
    User.objects.create(pk=casting.user_id("stranger"), email="stranger@lyceum.test", full_name="X", password=hashed)
    own, *roles = Role.objects.bulk_create(
        Role(pk=cast.id(f"role {n}"), code=f"zz{n:02}", name=f"Role {n}") for n in range(-1, MANY)
    )
    RoleInheritance.objects.create(role=own, parent=Role.objects.create(code="zy", name="Inherited"))
    User.objects.bulk_create(
        User(pk=cast.id(f"user {n}"), email=f"user{n}@lyceum.test", full_name="New", password=hashed)
        for n in range(MANY)
    )
    UserRole.objects.create(user_id=cast.id("user 0"), role=roles[0], scope=Scope.SELF)
    for person in people:
        Job.objects.create(kind="files.export", requested_by_id=person.user_id)
        Notification.objects.create(recipient_id=person.user_id, kind="told", title="Told")
    if cast.institution.kind == Kind.OPERATOR:
        return
    SavedView.objects.bulk_create(
        SavedView(owner_id=person.user_id, resource="school/students", name="Mine") for person in people
    )
    run = ReportRun.objects.create(definition=ReportDefinition.objects.all()[0], requested_by_id=people[0].user_id)
    ReportArtifact.objects.create(run=run, format="csv", size=1, sha256="0" * 64)
    Student.objects.bulk_create(
        Student(
            pk=cast.id(f"student {n}"),
            student_number=f"M{n}",
            given_name="New",
            family_name=f"Comer{n}",
            campus_id=cast.id("campus"),
            joined_on=casting.YEAR[0],
        )
        for n in range(MANY)
    )
    Section.objects.bulk_create(
        Section(
            pk=cast.id(f"section {n}"),
            course_id=cast.id("course maths"),
            campus_id=cast.id("campus"),
            title=f"Another {n}",
        )
        for n in range(MANY)
    )


def day(n: int) -> str:
    """A day of the cast's year, another one for each number."""
    return str(casting.YEAR[0] + timedelta(days=n))


def person(n: int) -> Body:
    return {"given_name": f"Given{n}", "family_name": f"Family{n}"}


# By address below /api/v1/: a new record's body, the n-th of its kind.
NEW: dict[str, Made] = {
    "accounts/users": lambda cast, n: {"email": f"new{n}@lyceum.test", "full_name": f"New {n}"},
    "accounts/roles": lambda cast, n: {"code": f"new-{n}", "name": f"New {n}"},
    "accounts/role-inheritances": lambda cast, n: {"role": cast.id("role -1"), "parent": cast.id(f"role {n}")},
    "accounts/role-permissions": lambda cast, n: {"role": cast.id(f"role {n}"), "code": "accounts.view_user"},
    "accounts/user-roles": lambda cast, n: {"user": cast.id(f"user {n}"), "role": cast.id("role -1"), "scope": "self"},
    "school/campuses": lambda cast, n: {"code": f"N{n}", "name": f"New {n}"},
    "school/rooms": lambda cast, n: {"campus": cast.id("campus"), "name": f"New {n}"},
    "school/grade-levels": lambda cast, n: {"code": f"N{n}", "name": f"New {n}", "position": 100 + n},
    "school/academic-years": lambda cast, n: {
        "name": f"New {n}",
        "starts_on": str(date(2100 + n, 9, 1)),
        "ends_on": str(date(2101 + n, 9, 1)),
    },
    "school/terms": lambda cast, n: {
        "academic_year": cast.id("year"),
        "kind": "grading_period",
        "name": f"New {n}",
        "starts_on": day(n),
        "ends_on": day(n + 1),
    },
    "school/students": lambda cast, n: {"student_number": f"N{n}", "campus": cast.id("campus"), **person(n)},
    "school/guardians": lambda cast, n: person(n),
    "school/student-guardians": lambda cast, n: {
        "student": cast.id(f"student {n}"),
        "guardian": cast.id("guardian of dan"),
    },
    "school/staff": lambda cast, n: {"staff_number": f"N{n}", "campus": cast.id("campus"), **person(n)},
    "academics/subjects": lambda cast, n: {"code": f"N{n}", "name": f"New {n}"},
    "academics/courses": lambda cast, n: {"subject": cast.id("subject maths"), "title": f"New {n}"},
    "academics/sections": lambda cast, n: {
        "course": cast.id("course maths"),
        "campus": cast.id("campus"),
        "title": f"New {n}",
    },
    "academics/section-terms": lambda cast, n: {"section": cast.id(f"section {n}"), "term": cast.id("autumn")},
    "academics/section-teachers": lambda cast, n: {
        "section": cast.id(f"section {n}"),
        "staff": cast.id("colleague"),
        "starts_on": day(n),
    },
    "academics/enrolments": lambda cast, n: {
        "student": cast.id(f"student {n}"),
        "section": cast.id("maths"),
        "starts_on": day(n),
    },
    "reports/schedules": lambda cast, n: {"definition": first(ReportDefinition)},
    "reports/subscriptions": lambda cast, n: {"schedule": first(ReportSchedule), "role": cast.id(f"role {n}")},
    "reports/runs": lambda cast, n: {"definition": first(ReportDefinition)},
    "reports/saved-views": lambda cast, n: {"resource": "school/students", "name": f"New {n}"},
}


def first(model: type[models.Model]) -> Any:
    return model._default_manager.values_list("pk", flat=True)[0]


def new(cast: casting.Cast, path: str, resource: Resource, number: int = 0) -> Body:
    """The body of the `number`-th new record (below MANY) of the resource at `path`. Runs inside the institution."""
    made = NEW.get(path.removeprefix("/api/v1/").strip("/"))
    if made is not None:
        return made(cast, number)
    fixed = set(resource.serializer_class.Meta.read_only_fields)
    values = {name: value for name, value in values_of(resource.queryset.model).items() if name not in fixed}
    return {name: _numbered(value, number) for name, value in values.items()}


def _numbered(value: Any, number: int) -> Any:
    if isinstance(value, models.Model):
        return value.pk
    if not isinstance(value, str):
        return value
    return f"{number}{value}" if "@" in value else f"{number}{value}"[: len(value)]


def own(path: str, resource: Resource, row: Body) -> Body:
    """The row's own writable values: a change that every resource must take, and that moves its time stamp."""
    fixed = set(resource.serializer_class.Meta.read_only_fields)
    return {name: value for name, value in row.items() if name not in fixed}


# POST {id}/<verb>/: a body that the verb takes, of a record as it is read.
VERBS: dict[str, Callable[[casting.Cast, Body], Body]] = {
    "jobs cancel": lambda cast, row: {},
    "communication/notifications read": lambda cast, row: {},
    "school/students change-state": lambda cast, row: {"to": "left", "on": day(1), "reason": "Moved away"},
    "academics/enrolments move": lambda cast, row: {"to_section": cast.id("section 0"), "on": "2050-01-01"},
}
