"""Runs over every resource that the institutions' hosts serve; a new resource is covered when it is declared."""

import uuid
from typing import Any

import pytest

from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.school.models import Student
from tests import cast as casting
from tests.api import Asker, as_person, host_of
from tests.contract.served import SERVED, Resource, every_resource, resources

ROLES = ("principal", "teacher", "guardian", "student")
BAD_QUERIES = (
    "nonsense=1", "page=0", "page=-1", "page=abc", "page=1e3", "page=99999999999", "page_size=0", "page_size=201",
    "cursor=%00", "cursor=abc", "cursor=e30", "count=maybe", "ordering=nonsense", "ordering=", "ordering=id,id",
    "page=1&page=2", "%ff=1", "page=1&cursor=W10", "page=%D9%A3",
)  # fmt: skip
BAD_KEYS = ("1", "not-a-uuid", "00000000-0000-0000-0000-00000000000g", "%00", "é" * 18, "' OR 1=1 --")
BAD_BODIES = (
    b" ", b"{", b"[]", b"null", b'"text"', b"{}", b"\xff\xfe", b'{"a": 1, "a"', b"NaN", b'{"id": "\\u0000"}',
    b'{"name": "a\\u0000b"}', b"[" * 5000, b'{"no such field": 1}',
)  # fmt: skip


@pytest.mark.parametrize("kind", ["institution", "operator"])
def test_each_list_has_a_name_of_its_own_which_its_cursors_carry(kind: str) -> None:
    names = [resource.reader().grammar.name for resource in resources(kind).values()]
    assert len(names) == len(set(names))


@pytest.fixture
def cast(db: None, greenwood: InstitutionContext) -> casting.Cast:
    return casting.of(greenwood)


@pytest.fixture
def askers(cast: casting.Cast, greenwood: InstitutionContext) -> dict[str, Asker]:
    return {role: as_person(greenwood, getattr(cast, role)) for role in ROLES}


def a_record(resource: Resource, context: InstitutionContext) -> Any:
    with institution(context):
        return resource.queryset.first()


@every_resource
def test_a_record_of_another_institution_is_404_under_the_same_id(
    path: str, resource: Resource, askers: dict[str, Asker], greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    here, there = a_record(resource, greenwood), a_record(resource, lumiere)
    if here is not None:
        assert askers["principal"].get(f"{path}{here.pk}/").status_code == 200
    with institution(greenwood):
        foreign = there is not None and not resource.queryset.filter(pk=there.pk).exists()
    if foreign:
        assert askers["principal"].get(f"{path}{there.pk}/").status_code == 404
    assert askers["principal"].get(f"{path}{uuid.uuid4()}/").status_code == 404


@every_resource
def test_a_list_shows_the_declared_columns_and_each_record_answers_alone(
    path: str, resource: Resource, askers: dict[str, Asker]
) -> None:
    answer = askers["principal"].get(f"{path}?count=true&page_size=200").json()
    assert set(answer) == {"next", "previous", "count", "results"}
    assert answer["count"] >= len(answer["results"])
    for row in answer["results"][:3]:
        assert tuple(row) == resource.all_fields
        assert askers["principal"].get(f"{path}{row['id']}/").json() == row


@every_resource
def test_a_client_chooses_columns_and_holds_what_it_has(
    path: str, resource: Resource, askers: dict[str, Asker]
) -> None:
    principal, last = askers["principal"], resource.all_fields[-1]
    whole = principal.get(path)
    rows = whole.json()["results"]
    assert principal.get(f"{path}?fields={last}").json()["results"] == [{"id": r["id"], last: r[last]} for r in rows]
    assert principal.get(f"{path}?fields=nonsense").json()["errors"][0]["pointer"] == "?fields"
    for target in (path, *(f"{path}{row['id']}/" for row in rows[:1])):
        tag = principal.get(target)["ETag"]
        assert principal.get(target, HTTP_IF_NONE_MATCH=tag).status_code == 304
        assert askers["guardian"].get(target, HTTP_IF_NONE_MATCH=tag).status_code in (200, 304, 403, 404)


@every_resource
def test_each_declared_relation_comes_along_for_one_query(
    path: str, resource: Resource, askers: dict[str, Asker], django_assert_num_queries: Any
) -> None:
    principal, names = askers["principal"], resource.includes
    if not names:
        assert principal.get(f"{path}?include=user").json()["code"] == "unknown_parameter"
        return
    url = f"{path}?include={','.join(names)}"
    page = principal.get(url).json()
    referred = {name: {row[name] for row in page["results"]} - {None} for name in names}
    assert {name: set(records) for name, records in page["included"].items()} == referred
    with django_assert_num_queries(1 + sum(bool(keys) for keys in referred.values())):
        principal.get(url)


@every_resource
def test_every_declared_filter_ordering_and_page_works(path: str, resource: Resource, askers: dict[str, Asker]) -> None:
    principal, grammar = askers["principal"], resource.reader().grammar
    sample = (principal.get(path).json()["results"] or [None])[0]
    for name in grammar.orderable:
        for sign in ("", "-"):
            assert principal.get(f"{path}?ordering={sign}{name}").status_code == 200
    for name, lookup in grammar.lookups.items():
        column = name.split("__")[0]
        value: Any = "true" if lookup.kind == "isnull" else (sample or {}).get(column)
        if value is None:
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value).replace("+", "%2B")
        answer = principal.get(f"{path}?{name}={text}")
        assert answer.status_code == 200, (name, answer.content)
        if lookup.kind in ("exact", "in", "gte", "lte", "icontains", "istartswith") and sample is not None:
            assert sample["id"] in {row["id"] for row in answer.json()["results"]}, name
    if resource.search:
        assert principal.get(f"{path}?search=a%20b").status_code == 200
    assert principal.get(f"{path}?page=1&page_size=1").status_code == 200


@every_resource
def test_a_bad_parameter_is_400_and_named(path: str, resource: Resource, askers: dict[str, Asker]) -> None:
    for query in BAD_QUERIES:
        answer = askers["principal"].get(f"{path}?{query}")
        assert answer.status_code == 400, (query, answer.content)
        problem = answer.json()
        assert problem["code"]
        assert problem["detail"]
        assert problem["request_id"] == answer["X-Request-ID"]


@every_resource
def test_a_filter_that_cannot_be_read_is_400(path: str, resource: Resource, askers: dict[str, Asker]) -> None:
    for name, lookup in resource.reader().grammar.lookups.items():
        if (
            type(lookup.field).__name__ in ("CharField", "TextField", "EmailField", "SlugField")
            and not lookup.field.choices
        ):
            continue
        answer = askers["principal"].get(f"{path}?{name}=%F0%9F%92%A9")
        assert answer.status_code == 400, (name, answer.content)
        assert answer.json()["errors"][0]["pointer"] == f"?{name}"


@every_resource
def test_an_id_that_is_no_uuid_is_400(path: str, resource: Resource, askers: dict[str, Asker]) -> None:
    for key in BAD_KEYS:
        assert askers["principal"].get(f"{path}{key}/").status_code == 400, key


@every_resource
def test_a_body_that_is_none_is_4xx_and_writes_nothing(
    path: str, resource: Resource, askers: dict[str, Asker], greenwood: InstitutionContext
) -> None:
    assert askers["principal"].token, "signing in writes: the log has an entry of it"
    with institution(greenwood):
        before = resource.queryset.count()
    for body in BAD_BODIES:
        answer = askers["principal"].ask("POST", path, body)
        assert 400 <= answer.status_code < 500, (body, answer.content)
    with institution(greenwood):
        assert resource.queryset.count() == before


@every_resource
def test_wrong_types_of_every_field_are_refused_at_their_place(
    path: str, resource: Resource, askers: dict[str, Asker]
) -> None:
    if "add" not in {str(action) for action in resource.exposed}:
        return
    fixed = set(resource.serializer_class.Meta.read_only_fields)
    for name in resource.all_fields:
        if name in fixed:
            continue
        for wrong in ({"a": 1}, [[]], "\ud7ff" * 5000, -(2**62)):
            answer = askers["principal"].post(path, {name: wrong})
            assert answer.status_code in (400, 409), (name, wrong, answer.content)


@every_resource
def test_other_methods_media_types_and_bodies_too_large_are_refused(
    path: str, resource: Resource, askers: dict[str, Asker]
) -> None:
    principal = askers["principal"]
    assert principal.ask("PUT", path, {}).status_code == 405
    assert principal.ask("DELETE", path).status_code == 405
    assert principal.ask("TRACE", path).status_code == 405
    if "add" not in {str(action) for action in resource.exposed}:
        assert principal.post(path, {}).status_code == 405
        return
    assert principal.ask("POST", path, b"<a/>", CONTENT_TYPE="application/xml").status_code == 415
    assert principal.ask("POST", path, b'{"a":"' + b"x" * 3_000_000 + b'"}').status_code == 413
    assert principal.get(path, HTTP_ACCEPT="text/csv").status_code in (200, 406)


def test_the_cursor_walks_every_row_once_forwards_and_backwards(
    askers: dict[str, Asker], greenwood: InstitutionContext
) -> None:
    """Rows without a value (half of the birth dates here) come last, whichever way the list runs."""
    principal = askers["principal"]
    whole = principal.get("/api/v1/school/students/?page_size=200").json()["results"]
    orderings = ("family_name", "-family_name", "given_name,-family_name", "-created_at", "birth_date", "-birth_date")
    with institution(greenwood):
        Student.objects.filter(student_number__in=("S1", "S3", "S4")).update(birth_date=None)
    for ordering in orderings:
        path = f"/api/v1/school/students/?page_size=2&ordering={ordering}"
        seen, pages = [], []
        url: str | None = path
        while url:
            page = principal.get(url.partition("localhost")[2] or url).json()
            seen += [row["id"] for row in page["results"]]
            pages.append(page)
            url = page["next"]
        assert len(seen) == len(set(seen)) == len(whole)
        for page, before in zip(pages[1:], pages, strict=False):
            back = principal.get(page["previous"].partition("localhost")[2]).json()
            assert [row["id"] for row in back["results"]] == [row["id"] for row in before["results"]], ordering
        if "birth_date" in ordering:
            dates = [principal.get(f"/api/v1/school/students/{key}/").json()["birth_date"] for key in seen]
            assert dates[3:] == [None, None, None]
            assert dates[:3] == sorted(dates[:3], reverse=ordering.startswith("-"))


def test_a_host_without_the_token_of_its_institution_gives_nothing(
    askers: dict[str, Asker], lumiere: InstitutionContext
) -> None:
    """The cast has the same user ids in both institutions."""
    foreign = Asker(host_of(lumiere), token=askers["principal"].token)
    for path in SERVED:
        assert foreign.get(path).status_code == 401
