"""What a client chooses of an answer: columns, related records, and whether it holds it already."""

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext

from shared_apps.core.api import compiled
from shared_apps.core.api.etags import matches, row_tag
from shared_apps.core.context import InstitutionContext
from shared_apps.core.permissions import Scope
from tenant_apps.academics.models import Enrolment
from tenant_apps.school.api import StudentViewSet
from tenant_apps.school.models import Campus, Student
from tests import cast as casting
from tests.api import Asker, as_person, nobody
from tests.shared_apps.core.holders import give, take_all

STUDENTS = "/api/v1/school/students/"
ENROLMENTS = "/api/v1/academics/enrolments/"


@pytest.fixture
def cast(inside: InstitutionContext) -> casting.Cast:
    return casting.of(inside)


@pytest.fixture
def principal(cast: casting.Cast) -> Asker:
    return as_person(cast.institution, cast.principal)


def read(asker: Asker, path: str) -> Any:
    answer = asker.get(path)
    assert answer.status_code == 200, answer.content
    return answer.json()


# Columns


def test_the_asked_columns_are_shown_in_declared_order_and_the_id_always(principal: Asker, cast: casting.Cast) -> None:
    page = read(principal, f"{STUDENTS}?fields=campus,family_name,student_number")
    assert {tuple(row) for row in page["results"]} == {("id", "student_number", "family_name", "campus")}
    assert tuple(read(principal, f"{STUDENTS}{cast.id('ada')}/?fields=state")) == ("id", "state")


def test_a_page_of_few_columns_is_the_page_of_all_of_them_cut(principal: Asker) -> None:
    whole = read(principal, f"{STUDENTS}?ordering=-birth_date&page_size=3&count=true")
    cut = read(principal, f"{STUDENTS}?ordering=-birth_date&page_size=3&count=true&fields=email")
    assert cut["results"] == [{"id": row["id"], "email": row["email"]} for row in whole["results"]]
    assert cut["count"] == whole["count"]
    following = read(principal, cut["next"].partition("localhost")[2])
    assert {tuple(row) for row in following["results"]} == {("id", "email")}
    assert {row["id"] for row in following["results"]}.isdisjoint(row["id"] for row in cut["results"])
    back = read(principal, following["previous"].partition("localhost")[2])
    assert back["results"] == cut["results"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("fields=familyname", "family_name"),
        ("fields=notes", "Known"),
        ("fields=", "Known"),
        ("fields=id,id", "twice"),
        ("fields=family_name,", "Known"),
        ("include=campuss", "campus"),
        ("include=user", "Known"),
        ("include=campus,campus", "twice"),
        ("fields=email&include=campus", "fields"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_the_nearest(
    principal: Asker, cast: casting.Cast, query: str, says: str
) -> None:
    for path in (STUDENTS, f"{STUDENTS}{cast.id('ada')}/"):
        answer = principal.get(f"{path}?{query}")
        assert answer.status_code == 400
        assert answer.json()["code"] in ("bad_fields", "bad_include")
        assert says in answer.json()["detail"]


def test_the_database_encodes_the_asked_columns_alone(principal: Asker) -> None:
    read(principal, STUDENTS)
    with CaptureQueriesContext(
        connection,
    ) as seen:
        read(principal, f"{STUDENTS}?fields=email")
    (query,) = (found["sql"] for found in seen.captured_queries)
    plan = _plan(query)
    assert "birth_place" not in plan
    assert "birth_place" in _plan(query.replace('r."email" AS "email"', 'r."birth_place" AS "email"'))


def _plan(query: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (VERBOSE) {query.replace('%', '%%')}")
        return "\n".join(row[0] for row in cursor.fetchall())


def test_trying_every_set_of_columns_fills_no_memory(principal: Asker, cast: casting.Cast) -> None:
    read(principal, STUDENTS)
    read(principal, f"{STUDENTS}{cast.id('ada')}/")
    known = len(compiled._shapes)
    for name in StudentViewSet.all_fields:
        read(principal, f"{STUDENTS}?fields={name}")
        read(principal, f"{STUDENTS}{cast.id('ada')}/?fields={name}")
    assert len(compiled._shapes) == known


# Related records


def test_related_records_stand_beside_the_rows_by_relation_and_id(principal: Asker, cast: casting.Cast) -> None:
    page = read(principal, f"{ENROLMENTS}?include=student,section")
    assert {row["id"] for row in page["results"]}
    for row in page["results"]:
        assert page["included"]["student"][row["student"]] == read(principal, f"{STUDENTS}{row['student']}/")
        assert page["included"]["section"][row["section"]]["id"] == row["section"]
    alone = read(principal, f"{STUDENTS}{cast.id('ada')}/?include=campus&fields=campus")
    assert tuple(alone) == ("id", "campus", "included")
    assert alone["included"] == {
        "campus": {alone["campus"]: read(principal, f"/api/v1/school/campuses/{alone['campus']}/")}
    }


def test_a_relation_costs_one_query_however_many_rows_refer_to_it(principal: Asker) -> None:
    path = f"{ENROLMENTS}?include=student,section"
    read(principal, path)
    for size in (1, 6):
        with CaptureQueriesContext(connection) as seen:
            read(principal, f"{path}&page_size={size}")
        assert len(seen) == 3


def test_an_empty_page_includes_nothing_and_asks_nothing_more(principal: Asker) -> None:
    page = read(principal, f"{ENROLMENTS}?include=student&starts_on__lt=1990-01-01")
    assert (page["results"], page["included"]) == ([], {"student": {}})


def test_a_relation_without_a_value_is_simply_not_there(principal: Asker, cast: casting.Cast) -> None:
    Student.objects.update(grade_level=None)
    assert read(principal, f"{STUDENTS}?include=grade_level")["included"] == {"grade_level": {}}


def test_who_may_not_view_a_kind_is_shown_none_of_it(cast: casting.Cast) -> None:
    take_all(cast.teacher)
    give(cast.teacher, "academics.view_enrolment", Scope.INSTITUTION)
    asker = as_person(cast.institution, cast.teacher)
    page = read(asker, f"{ENROLMENTS}?include=student,section")
    assert page["results"]
    assert page["included"] == {"student": {}, "section": {}}
    one = read(asker, f"{ENROLMENTS}{page['results'][0]['id']}/?include=student")
    assert one["included"] == {"student": {}}


def test_an_included_record_lies_within_the_scope_of_its_own_kind(cast: casting.Cast) -> None:
    """All enrolments, but students of one campus only."""
    east = Campus.objects.create(code="EAST", name="East")
    Student.objects.filter(pk=cast.id("eva")).update(campus=east)
    take_all(cast.teacher)
    give(cast.teacher, "academics.view_enrolment", Scope.INSTITUTION)
    give(cast.teacher, "school.view_student", Scope.CAMPUS, east.pk)
    page = read(as_person(cast.institution, cast.teacher), f"{ENROLMENTS}?include=student")
    assert len(page["results"]) == Enrolment.objects.count()
    assert set(page["included"]["student"]) == {str(cast.id("eva"))}


def test_an_included_record_shows_the_columns_of_its_resource_alone(principal: Asker, cast: casting.Cast) -> None:
    Student.objects.update(notes="for the office")
    page = principal.get(f"{ENROLMENTS}?include=student")
    assert b"for the office" not in page.content
    assert tuple(next(iter(page.json()["included"]["student"].values()))) == StudentViewSet.all_fields


# Tags


def again(asker: Asker, path: str, tag: str) -> HttpResponse:
    return asker.get(path, HTTP_IF_NONE_MATCH=tag)


@pytest.mark.parametrize("query", ["", "?fields=email", "?include=campus", "?fields=campus&include=campus"])
def test_what_the_client_holds_is_not_sent_again(principal: Asker, cast: casting.Cast, query: str) -> None:
    for path in (f"{STUDENTS}{query}", f"{STUDENTS}{cast.id('ada')}/{query}"):
        first = principal.get(path)
        tag = first["ETag"]
        assert (first["Cache-Control"], first["Vary"]) == ("private, no-cache", "Authorization, Cookie")
        for held in (tag, f"W/{tag}", f'"a", {tag}', "*"):
            second = again(principal, path, held)
            assert (second.status_code, second.content, second["ETag"]) == (304, b"", tag)
            assert "Content-Type" not in second.headers
            assert second["Cache-Control"] == "private, no-cache"
            assert second["X-Request-ID"]
        Student.objects.update(email=f"{uuid4()}@greenwood.test")
        Campus.objects.update(name="Renamed", city=str(uuid4()))
        changed = again(principal, path, tag)
        assert changed.status_code == 200
        assert changed["ETag"] != tag


def test_the_tag_of_a_record_names_the_whole_row_whatever_was_asked_of_it(principal: Asker, cast: casting.Cast) -> None:
    path = f"{STUDENTS}{cast.id('ada')}/"
    whole, cut, with_campus = (principal.get(f"{path}{query}") for query in ("", "?fields=email", "?include=campus"))
    assert whole["ETag"] == row_tag(whole.content)
    assert len({whole["ETag"], cut["ETag"], with_campus["ETag"]}) == 3
    for answer in (whole, cut, with_campus):
        assert matches(answer["ETag"], whole["ETag"])
    Student.objects.filter(pk=cast.id("ada")).update(phone="1")
    now = principal.get(path)["ETag"]
    for answer in (whole, cut, with_campus):
        assert not matches(answer["ETag"], now)


def test_a_tag_over_the_shown_columns_alone_would_let_a_write_pass_unseen(principal: Asker, cast: casting.Cast) -> None:
    """Negative control."""
    path = f"{STUDENTS}{cast.id('ada')}/?fields=email"
    first = principal.get(path)
    Student.objects.filter(pk=cast.id("ada")).update(phone="1")
    second = principal.get(path)
    assert row_tag(first.content) == row_tag(second.content)
    assert not matches(first["ETag"], second["ETag"])


def test_304_tells_nothing_of_a_record_out_of_scope(principal: Asker, cast: casting.Cast) -> None:
    path = f"{STUDENTS}{cast.id('eva')}/"
    tag = principal.get(path)["ETag"]
    guardian = as_person(cast.institution, cast.guardian)
    for held in (tag, "*"):
        assert again(guardian, path, held).status_code == 404
        assert again(principal, f"{STUDENTS}{uuid4()}/", held).status_code == 404
        assert again(nobody(cast.institution), path, held).status_code == 401


def test_a_broken_if_none_match_is_400(principal: Asker) -> None:
    answer = again(principal, STUDENTS, "abc")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_etag")


def test_views_that_are_no_resource_have_tags_too(principal: Asker) -> None:
    first = principal.get("/api/v1/auth/me/")
    assert again(principal, "/api/v1/auth/me/", first["ETag"]).status_code == 304
    assert principal.get("/api/v1/auth/me/?nonsense=1").json()["code"] == "unknown_parameter"


# Addresses


def test_a_missing_slash_is_named(principal: Asker) -> None:
    answer = principal.get(STUDENTS.rstrip("/"))
    assert (answer.status_code, answer.json()["code"]) == (404, "missing_slash")
    assert STUDENTS in answer.json()["detail"]
    assert principal.get("/api/v1/school/pupils").json()["code"] == "not_found"


def test_options_names_the_methods_and_no_more(principal: Asker, cast: casting.Cast) -> None:
    ada = f"{STUDENTS}{cast.id('ada')}/"
    for path, methods in (
        (STUDENTS, {"GET", "POST"}),
        (ada, {"GET", "PUT", "PATCH", "DELETE"}),
        (f"{ada}change-state/", {"POST"}),
        ("/api/v1/auth/me/", {"GET"}),
    ):
        for asker in (principal, nobody(cast.institution)):
            answer = asker.ask("OPTIONS", path)
            assert (answer.status_code, answer.content) == (204, b"")
            allowed = set(answer["Allow"].split(", "))
            assert methods <= allowed <= methods | {"HEAD", "OPTIONS"}
