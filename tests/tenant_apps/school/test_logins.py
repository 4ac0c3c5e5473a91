"""Which login a person has decides whose children and sections that login's roles reach."""

from typing import Any

import pytest

from shared_apps.core.context import InstitutionContext
from shared_apps.core.permissions import Scope
from tenant_apps.accounts.models import Role, RolePermission, UserRole
from tests import cast
from tests.api import Asker, as_person

SCHOOL = "/api/v1/school/"


def give(context: InstitutionContext, scope: Scope, *codes: str) -> None:
    """The teacher also works in the office, and may do this there."""
    role, _ = Role.objects.get_or_create(code="office", name="Office")
    rows = {row.code: row.permission_id for row in RolePermission.objects.filter(role__code="principal")}
    RolePermission.objects.bulk_create(RolePermission(role=role, code=code, permission_id=rows[code]) for code in codes)
    campus = cast.of(context).id("campus") if scope is Scope.CAMPUS else None
    user_id = cast.of(context).teacher.user_id
    UserRole.objects.get_or_create(user_id=user_id, role=role, scope=scope, scope_id=campus)


@pytest.fixture
def office(inside: InstitutionContext) -> Asker:
    people = ("student", "guardian", "staff")
    give(
        inside,
        Scope.CAMPUS,
        *(f"school.{action}_{person}" for action in ("view", "add", "change") for person in people),
    )
    return as_person(inside, cast.of(inside).teacher)


@pytest.fixture
def own(inside: InstitutionContext) -> str:
    return str(cast.of(inside).teacher.user_id)


@pytest.mark.parametrize(("path", "name"), [("staff", "colleague"), ("guardians", "guardian"), ("students", "ada")])
def test_an_office_does_not_give_itself_what_another_login_sees(
    office: Asker, own: str, inside: InstitutionContext, path: str, name: str
) -> None:
    record = f"{SCHOOL}{path}/{cast.of(inside).id(name)}/"
    answer = office.patch(record, {"user": own})
    assert (answer.status_code, answer.json()["code"]) == (403, "not_held"), answer.content
    # Negative control: the rest of the row is the office's.
    assert office.patch(record, {"phone": "555-0100"}).status_code == 200
    same = office.get(record).json()["user"]
    assert office.patch(record, {"user": same, "phone": "555-0101"}).status_code == 200


def test_a_new_person_is_not_born_with_a_login_either(office: Asker, own: str, inside: InstitutionContext) -> None:
    body: dict[str, Any] = {"given_name": "New", "family_name": "Person", "staff_number": "N-1"}
    body["campus"] = str(cast.of(inside).id("campus"))
    assert office.post(SCHOOL + "staff/", body | {"user": own}).json()["code"] == "not_held"
    assert office.post(SCHOOL + "staff/", body).status_code == 201


def test_who_gives_roles_everywhere_links_logins(inside: InstitutionContext) -> None:
    principal = as_person(inside, cast.of(inside).principal)
    colleague = f"{SCHOOL}staff/{cast.of(inside).id('colleague')}/"
    student = str(cast.of(inside).student.user_id)
    assert principal.patch(colleague, {"user": student}).json()["user"] == student
    assert principal.patch(colleague, {"user": None}).json()["user"] is None


def test_a_new_link_holds_at_the_next_request(inside: InstitutionContext) -> None:
    """No remembered right stands in the way: scopes are read with the rows."""
    principal, teacher = (as_person(inside, who) for who in (cast.of(inside).principal, cast.of(inside).teacher))
    ben = f"{SCHOOL}students/{cast.of(inside).id('ben')}/"
    assert teacher.get(ben).status_code == 404
    colleague = f"{SCHOOL}staff/{cast.of(inside).id('colleague')}/"
    assert principal.patch(colleague, {"user": str(cast.of(inside).teacher.user_id)}).status_code == 200
    assert teacher.get(ben).status_code == 200
