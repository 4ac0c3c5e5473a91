"""Many records in one request: a result for each, all or only the good ones, and never more than the writer may."""

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from shared_apps.core.api import bulk
from shared_apps.core.context import InstitutionContext
from shared_apps.core.permissions import Scope
from tenant_apps.academics.models import Enrolment
from tenant_apps.school.models import Campus, Room, Student
from tests import cast as casting
from tests.api import Asker, as_person
from tests.shared_apps.core.holders import give, take_all

ROOMS = "/api/v1/school/rooms/"
STUDENTS = "/api/v1/school/students/"
ENROLMENTS = "/api/v1/academics/enrolments/"


@pytest.fixture
def cast(inside: InstitutionContext) -> casting.Cast:
    return casting.of(inside)


@pytest.fixture
def principal(cast: casting.Cast) -> Asker:
    return as_person(cast.institution, cast.principal)


def rooms(cast: casting.Cast, *names: str) -> list[dict[str, Any]]:
    return [{"campus": str(cast.id("campus")), "name": name} for name in names]


def test_rows_are_created_changed_and_deleted_in_one_request(cast: casting.Cast, principal: Asker) -> None:
    old, gone = (principal.post(ROOMS, row).json()["id"] for row in rooms(cast, "Old", "Gone"))
    body = {"create": rooms(cast, "A", "B"), "update": [{"id": old, "capacity": 12}], "delete": [gone]}
    answer = principal.post(f"{ROOMS}bulk/", body)
    assert answer.status_code == 200, answer.content
    found = answer.json()
    counts = {name: found[name] for name in ("created", "changed", "deleted", "refused")}
    assert counts == {"created": 2, "changed": 1, "deleted": 1, "refused": 0}
    assert [(r["operation"], r["index"], r["status"]) for r in found["results"]] == [
        ("create", 0, 201),
        ("create", 1, 201),
        ("update", 0, 200),
        ("delete", 0, 204),
    ]
    for result in found["results"][:3]:
        assert result["record"] == principal.get(f"{ROOMS}{result['id']}/").json()
    assert found["results"][2]["record"]["capacity"] == 12
    assert not Room.objects.filter(pk=gone).exists()


def test_one_bad_row_refuses_all_and_names_each_place(cast: casting.Cast, principal: Asker) -> None:
    before = Room.objects.count()
    bad = [*rooms(cast, "A"), {"name": ""}, {"campus": str(uuid4()), "name": "C"}, {"campus": "x", "nam": "D"}]
    answer = principal.post(f"{ROOMS}bulk/", {"create": bad})
    assert answer.status_code == 400
    problem = answer.json()
    assert {(error["pointer"], error["code"]) for error in problem["errors"]} == {
        ("/create/1/campus", "required"),
        ("/create/1/name", "blank"),
        ("/create/2/campus", "does_not_exist"),
        ("/create/3/campus", "invalid"),
        ("/create/3/nam", "unknown_field"),
        ("/create/3/name", "required"),
    }
    assert [(row["index"], row["status"]) for row in problem["results"]] == [(1, 400), (2, 400), (3, 400)]
    assert Room.objects.count() == before


def test_where_asked_the_good_rows_are_written_and_the_others_say_why(cast: casting.Cast, principal: Asker) -> None:
    body = {
        "create": [*rooms(cast, "A", "Room 1", "A", "B"), {"name": "no campus"}],
        "update": [{"id": str(uuid4()), "capacity": 1}],
        "delete": [str(cast.id("campus"))],
        "atomic": False,
    }
    found = principal.post(f"{ROOMS}bulk/", body).json()
    statuses = [(row["operation"], row["index"], row["status"]) for row in found["results"]]
    assert statuses == [
        ("create", 0, 201),
        ("create", 1, 409),
        ("create", 2, 409),
        ("create", 3, 201),
        ("create", 4, 400),
        ("update", 0, 404),
        ("delete", 0, 404),
    ]
    assert (found["created"], found["refused"]) == (2, 5)
    assert set(Room.objects.filter(name__in="AB").values_list("name", flat=True)) == {"A", "B"}


def test_rows_that_only_the_database_refuses_are_found_among_many(cast: casting.Cast, principal: Asker) -> None:
    """Days that overlap: no rule of the row alone says so."""
    students = Student.objects.exclude(enrolments__section=cast.id("science")).values_list("pk", flat=True)
    row = {"section": str(cast.id("science")), "starts_on": "2021-01-01", "ends_on": "2021-02-01"}
    create = [{**row, "student": str(key)} for key in students]
    create.insert(1, {**create[0], "starts_on": "2021-01-15"})
    found = principal.post(f"{ENROLMENTS}bulk/", {"create": create, "atomic": False}).json()
    refused = [row for row in found["results"] if "errors" in row]
    assert [(row["index"], row["status"], row["errors"][0]["code"]) for row in refused] == [
        (1, 409, "enrolment_overlap")
    ]
    assert Enrolment.objects.filter(starts_on="2021-01-01").count() == len(create) - 1
    assert principal.post(f"{ENROLMENTS}bulk/", {"create": create}).status_code == 409


def test_a_record_in_use_is_not_deleted_with_the_others(cast: casting.Cast, principal: Asker) -> None:
    keys = [principal.post(STUDENTS[:-9] + "campuses/", {"code": c, "name": c}).json()["id"] for c in "XY"]
    body = {"delete": [keys[0], str(cast.id("campus")), keys[1]], "atomic": False}
    found = principal.post("/api/v1/school/campuses/bulk/", body).json()
    assert [row["status"] for row in found["results"]] == [204, 409, 204]
    assert found["results"][1]["errors"][0]["code"] == "in_use"
    assert set(Campus.objects.filter(pk__in=[*keys, cast.id("campus")]).values_list("pk", flat=True)) == {
        cast.id("campus")
    }


def test_services_of_a_resource_do_their_work_for_each_row(cast: casting.Cast, principal: Asker) -> None:
    rows = [
        {"student_number": f"N{n}", "given_name": "Noa", "family_name": "New", "campus": str(cast.id("campus"))}
        for n in (1, 2, 1)
    ]
    found = principal.post(f"{STUDENTS}bulk/", {"create": rows, "atomic": False}).json()
    assert [row["status"] for row in found["results"]] == [201, 201, 409]
    for student in Student.objects.filter(student_number__in=("N1", "N2")):
        assert student.statuses.count() == 1


def test_an_old_tag_refuses_its_row(cast: casting.Cast, principal: Asker) -> None:
    created = [principal.post(ROOMS, row) for row in rooms(cast, "A", "B")]
    first, second = (answer.json()["id"] for answer in created)
    principal.patch(f"{ROOMS}{second}/", {"capacity": 1})
    update = [
        {"id": key, "capacity": 9, "if_match": answer["ETag"]}
        for key, answer in zip((first, second), created, strict=True)
    ]
    found = principal.post(f"{ROOMS}bulk/", {"update": update, "atomic": False}).json()
    assert [row["status"] for row in found["results"]] == [200, 412]
    assert principal.post(f"{ROOMS}bulk/", {"update": update[1:]}).status_code == 412


def test_nobody_writes_beyond_their_scope(cast: casting.Cast) -> None:
    east = Campus.objects.create(code="EAST", name="East")
    take_all(cast.teacher)
    codes = "school.view_student school.change_student school.delete_student school.view_campus"
    give(cast.teacher, codes, Scope.CAMPUS, east.pk)
    Student.objects.filter(pk=cast.id("eva")).update(campus=east)
    registrar = as_person(cast.institution, cast.teacher)
    away = {"id": str(cast.id("eva")), "campus": str(cast.id("campus"))}
    foreign = {"id": str(cast.id("ada")), "given_name": "Adah"}
    body = {"update": [away, foreign], "delete": [str(cast.id("ben"))], "atomic": False}
    found = registrar.post(f"{STUDENTS}bulk/", body).json()
    assert [row["status"] for row in found["results"]] == [403, 404, 404]
    assert Student.objects.get(pk=cast.id("eva")).campus_id == east.pk
    assert registrar.post(f"{STUDENTS}bulk/", {"update": [away]}).status_code == 403
    assert registrar.post(f"{STUDENTS}bulk/", {"create": [{}]}).status_code == 403


def test_without_the_reading_back_a_row_would_leave_the_scope(
    cast: casting.Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    east = Campus.objects.create(code="EAST", name="East")
    take_all(cast.teacher)
    give(cast.teacher, "school.view_student school.change_student", Scope.CAMPUS, east.pk)
    Student.objects.filter(pk=cast.id("eva")).update(campus=east)
    monkeypatch.setattr(bulk, "_read_back", lambda view, rows: None)
    away = {"id": str(cast.id("eva")), "campus": str(cast.id("campus"))}
    as_person(cast.institution, cast.teacher).post(f"{STUDENTS}bulk/", {"update": [away]})
    assert Student.objects.get(pk=cast.id("eva")).campus_id == cast.id("campus")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "nothing_to_do"),
        ({"create": []}, "nothing_to_do"),
        ({"create": {}}, "not_a_list"),
        ({"create": ["x"]}, "not_an_object"),
        ({"update": [{"capacity": 1}]}, "bad_id"),
        ({"update": [{"id": 5}]}, "bad_id"),
        ({"delete": [{"id": "x"}]}, "bad_id"),
        ({"delete": [str(uuid4())] * 2}, "repeated_id"),
        ({"creates": [{}]}, "unknown_field"),
        ({"create": [{}], "atomic": "no"}, "invalid"),
        ({"create": [{}] * 1001}, "too_many_rows"),
        ({"update": [{"id": str(uuid4()), "if_match": 5}]}, "invalid"),
        ([], "bad_body"),
    ],
)
def test_a_body_of_another_form_is_refused(principal: Asker, body: Any, code: str) -> None:
    answer = principal.post(f"{ROOMS}bulk/", body)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.content


def test_a_reading_resource_has_no_bulk(principal: Asker) -> None:
    assert principal.post("/api/v1/school/student-statuses/bulk/", {"create": [{}]}).status_code in (404, 405)
    assert principal.ask("GET", f"{ROOMS}bulk/").status_code == 405


def test_two_hundred_rows_cost_as_many_queries_as_two(cast: casting.Cast, principal: Asker) -> None:
    assert principal.token

    def cost(count: int, start: int) -> int:
        create = rooms(cast, *(f"R{start + n}" for n in range(count)))
        with CaptureQueriesContext(connection) as queries:
            made = principal.post(f"{ROOMS}bulk/", {"create": create}).json()
            update = [{"id": row["id"], "capacity": 7} for row in made["results"]]
            principal.post(f"{ROOMS}bulk/", {"update": update})
            answer = principal.post(f"{ROOMS}bulk/", {"delete": [row["id"] for row in made["results"]]})
        assert answer.json()["deleted"] == count
        return len(queries)

    cost(1, 0)
    assert cost(200, 10) <= cost(2, 300) + 1  # Django deletes by two statements where there are more than a hundred
