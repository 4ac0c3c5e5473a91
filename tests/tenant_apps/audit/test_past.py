"""What a record's history, the deleted records and the way back show, to whom, and what they refuse."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.errors import Conflict
from shared_apps.core.permissions import Scope
from tenant_apps.accounts.models import Role, RolePermission, User, UserRole
from tenant_apps.audit import past
from tenant_apps.school.models import Guardian, StudentGuardian
from tests import cast as casting
from tests.api import Asker, as_person
from tests.shared_apps.core.holders import give

CAMPUSES = "/api/v1/school/campuses/"
STUDENTS = "/api/v1/school/students/"
GUARDIANS = "/api/v1/school/guardians/"
ENTRIES = "/api/v1/audit/entries/"


@pytest.fixture
def cast(db: None, greenwood: InstitutionContext) -> casting.Cast:
    return casting.of(greenwood)


@pytest.fixture
def principal(cast: casting.Cast, greenwood: InstitutionContext) -> Asker:
    return as_person(greenwood, cast.principal)


def added(principal: Asker, code: str = "N", name: str = "North") -> str:
    answer = principal.post(CAMPUSES, {"code": code, "name": name})
    assert answer.status_code == 201, answer.content
    return answer.json()["id"]


def test_a_history_says_who_changed_what_by_which_request_newest_first(
    principal: Asker, cast: casting.Cast, greenwood: InstitutionContext
) -> None:
    key = added(principal)
    changed = principal.patch(f"{CAMPUSES}{key}/", {"name": "South"})
    assert changed.status_code == 200
    assert principal.delete(f"{CAMPUSES}{key}/").status_code == 204
    gone, change, made = principal.get(f"{CAMPUSES}{key}/history/").json()["results"]
    assert [one["operation"] for one in (made, change, gone)] == ["create", "change", "delete"]
    assert change["actor"] == {"kind": "person", "id": str(cast.principal.user_id), "name": cast.principal.email}
    assert change["request_id"] == changed["X-Request-ID"]
    by_field = {one["field"]: one for one in change["changes"]}
    assert set(by_field) == {"name", "updated_at"}
    assert by_field["name"] == {"field": "name", "label": "name", "before": "North", "after": "South"}
    assert {one["field"] for one in made["changes"]} == {
        "id", "code", "name", "address", "created_at", "updated_at", *(c["field"] for c in gone["changes"])
    } - {"address"} | ({"address"} & {c["field"] for c in made["changes"]})  # fmt: skip


def test_a_history_is_paged_to_its_end(principal: Asker) -> None:
    key = added(principal)
    for number in range(5):
        principal.patch(f"{CAMPUSES}{key}/", {"name": f"Name {number}"})
    seen, url = [], f"{CAMPUSES}{key}/history/?page_size=2"
    while url:
        answer = principal.get(url.partition("localhost")[2] or url)
        assert answer.status_code == 200, (url, answer.content)
        page = answer.json()
        assert len(page["results"]) <= 2
        seen += [one["id"] for one in page["results"]]
        url = page["next"]
    assert len(seen) == len(set(seen)) == 6
    assert seen == sorted(seen, reverse=True)
    for query in ("page_size=0", "page_size=201", "page_size=x", "cursor=x", "nonsense=1", "cursor=%00"):
        assert principal.get(f"{CAMPUSES}{key}/history/?{query}").status_code == 400, query


def test_a_history_follows_the_scope_of_its_record_and_needs_both_permissions(
    cast: casting.Cast, greenwood: InstitutionContext
) -> None:
    ada, ben = f"{STUDENTS}{cast.id('ada')}/history/", f"{STUDENTS}{cast.id('ben')}/history/"
    assert as_person(greenwood, cast.teacher).get(ada).status_code == 403
    with institution(greenwood):
        give(cast.teacher, "audit.view_entry", Scope.SELF)
        give(cast.guardian, "audit.view_entry", Scope.SELF)
    teacher = as_person(greenwood, cast.teacher)
    assert teacher.get(ada).status_code == 200
    assert teacher.get(ben).status_code == 404
    assert as_person(greenwood, cast.guardian).get(ben).status_code == 200
    assert as_person(greenwood, cast.guardian).get(f"{STUDENTS}{cast.id('dan')}/history/").status_code == 404
    with institution(greenwood):
        zoe = Guardian.objects.create(given_name="Zoe", family_name="Reed")
        key = zoe.pk
        zoe.delete()
    assert teacher.get(f"{GUARDIANS}{key}/history/").status_code == 404
    assert as_person(greenwood, cast.principal).get(f"{GUARDIANS}{key}/history/").status_code == 200
    assert as_person(greenwood, cast.principal).get(f"{STUDENTS}{uuid4()}/history/").status_code == 404
    assert teacher.get(f"{GUARDIANS.replace('guardians', 'staff')}{uuid4()}/history/").status_code == 404


def test_a_history_shows_the_declared_columns_alone(principal: Asker, cast: casting.Cast) -> None:
    users = "/api/v1/accounts/users/"
    key = str(cast.teacher.user_id)
    assert principal.patch(f"{users}{key}/", {"full_name": "Changed"}).status_code == 200
    text = principal.get(f"{users}{key}/history/").content.decode()
    assert "Changed" in text
    assert "password" not in text
    assert "argon2" not in principal.get(f"{ENTRIES}?table_name=accounts_user").content.decode()


def test_the_log_is_listed_by_table_row_request_and_time(
    principal: Asker, cast: casting.Cast, greenwood: InstitutionContext
) -> None:
    key = added(principal)
    changed = principal.patch(f"{CAMPUSES}{key}/", {"name": "South"})
    (row,) = principal.get(f"{ENTRIES}?request_id={changed['X-Request-ID']}").json()["results"]
    assert (row["table_name"], row["row_key"], row["operation"]) == ("school_campus", key, "change")
    assert (row["before"]["name"], row["after"]["name"], row["address"]) == ("North", "South", "127.0.0.1")
    found = principal.get(f"{ENTRIES}?row_key={key}&at__gte=2020-01-01T00:00:00Z&operation=create").json()["results"]
    assert [one["row_key"] for one in found] == [key]
    assert principal.ask("DELETE", f"{ENTRIES}{row['id']}/").status_code == 405
    with institution(greenwood):
        give(cast.teacher, "audit.view_entry", Scope.SECTION)
    assert as_person(greenwood, cast.teacher).get(ENTRIES).json()["results"] == []


def test_a_deleted_record_is_listed_and_comes_back_as_it_was(principal: Asker) -> None:
    key = added(principal)
    before = principal.get(f"{CAMPUSES}{key}/").json()
    principal.delete(f"{CAMPUSES}{key}/")
    (listed,) = principal.get(f"{CAMPUSES}deleted/").json()["results"]
    assert (listed["id"], listed["deleted_by"]["kind"]) == (key, "person")
    restored = principal.post(f"{CAMPUSES}{key}/restore/")
    assert restored.status_code == 200, restored.content
    assert restored.json() == before == principal.get(f"{CAMPUSES}{key}/").json()
    assert principal.get(f"{CAMPUSES}deleted/").json()["results"] == []
    operations = [one["operation"] for one in principal.get(f"{CAMPUSES}{key}/history/").json()["results"]]
    assert operations == ["create", "delete", "create"]
    again = principal.post(f"{CAMPUSES}{key}/restore/")
    assert (again.status_code, again.json()["code"]) == (409, "not_deleted")
    assert principal.post(f"{CAMPUSES}{uuid4()}/restore/").status_code == 404


def test_what_went_with_it_comes_back_with_it_and_nothing_else(
    principal: Asker, cast: casting.Cast, greenwood: InstitutionContext
) -> None:
    """Two roles deleted in one transaction: each comes back with its own permissions."""
    with institution(greenwood):
        first = give(cast.teacher, "school.view_campus school.view_room", Scope.SELF).role
        second = give(cast.teacher, "school.view_campus", Scope.SELF).role
        held = set(RolePermission.objects.filter(role=first).values_list("pk", flat=True))
        assert len(held) == 2
        UserRole.objects.filter(role__in=(first, second)).delete()
        Role.objects.filter(pk__in=(first.pk, second.pk)).delete()
    roles = "/api/v1/accounts/roles/"
    assert len(principal.get(f"{roles}deleted/").json()["results"]) == 2
    answer = principal.post(f"{roles}{first.pk}/restore/")
    assert answer.status_code == 200, answer.content
    with institution(greenwood):
        assert set(RolePermission.objects.filter(role=first).values_list("pk", flat=True)) == held
        assert not Role.objects.filter(pk=second.pk).exists()


def test_something_in_the_way_is_named(principal: Asker, cast: casting.Cast, greenwood: InstitutionContext) -> None:
    key = added(principal)
    principal.delete(f"{CAMPUSES}{key}/")
    added(principal)  # the same code
    refused = principal.post(f"{CAMPUSES}{key}/restore/")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_the_way")
    with institution(greenwood):
        link = StudentGuardian.objects.get(guardian=cast.id("guardian of dan"))
        link_key = link.pk
        link.delete()
        Guardian.objects.filter(pk=cast.id("guardian of dan")).delete()
    refused = principal.post(f"/api/v1/school/student-guardians/{link_key}/restore/")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_the_way"), refused.content
    with institution(greenwood):
        assert not StudentGuardian.objects.filter(pk=link_key).exists()


@pytest.mark.usefixtures("inside")
def test_rows_whose_secrets_the_log_does_not_hold_are_not_restored() -> None:
    user = User.objects.create_user("short@greenwood.test", "a long enough password")
    key = user.pk
    user.delete()
    with pytest.raises(Conflict) as refused, transaction.atomic():
        past.restore(User, key)
    assert refused.value.code == "not_restorable"
    assert not User.objects.filter(pk=key).exists()


def test_deleted_records_are_for_roles_that_reach_everything_and_may_delete_and_add(
    cast: casting.Cast, greenwood: InstitutionContext
) -> None:
    key = uuid4()
    for person in (cast.teacher, cast.guardian, cast.student):
        asker = as_person(greenwood, person)
        assert asker.get(f"{STUDENTS}deleted/").status_code == 403
        assert asker.post(f"{STUDENTS}{key}/restore/").status_code == 403
    with institution(greenwood):
        give(cast.teacher, "school.delete_student", Scope.SECTION)
        give(cast.guardian, "school.delete_student", Scope.INSTITUTION)
    partly = as_person(greenwood, cast.teacher)
    assert partly.get(f"{STUDENTS}deleted/").json()["code"] == "outside_scope"
    assert partly.post(f"{STUDENTS}{key}/restore/").json()["code"] == "outside_scope"
    deleting = as_person(greenwood, cast.guardian)
    assert deleting.get(f"{STUDENTS}deleted/").status_code == 200
    assert deleting.post(f"{STUDENTS}{key}/restore/").json()["code"] == "permission_missing"


@pytest.mark.usefixtures("inside")
def test_a_column_newer_than_the_entry_gets_its_default() -> None:
    """`is_system` and `updated_at` came with a later release."""
    role = Role(code="old", name="Old")
    text = json.dumps({"id": str(role.pk), "code": "old", "name": "Old", "created_at": "2020-01-01T00:00:00+00:00"})
    with pytest.raises(IntegrityError), transaction.atomic():
        past._put_back(past.Gone(Role, str(role.pk), text))
    text = text.replace("created_at", "updated_at")
    with_stamp = json.dumps({**json.loads(text), "created_at": "2020-01-01T00:00:00+00:00"})
    past._put_back(past.Gone(Role, str(role.pk), with_stamp))
    assert Role.objects.get(pk=role.pk).is_system is False


def test_every_write_of_the_api_leaves_one_entry_of_its_request(principal: Asker) -> None:
    """Over the kit; what is true of one resource is true of each, since triggers know none."""
    made = principal.post(CAMPUSES, {"code": "N", "name": "North"})
    key = made.json()["id"]
    answers: list[tuple[str, Any]] = [("create", made), ("change", principal.patch(f"{CAMPUSES}{key}/", {"name": "S"}))]
    answers.append(("delete", principal.delete(f"{CAMPUSES}{key}/")))
    for operation, answer in answers:
        found = principal.get(f"{ENTRIES}?request_id={answer['X-Request-ID']}").json()["results"]
        assert [(one["operation"], one["row_key"]) for one in found] == [(operation, key)]
