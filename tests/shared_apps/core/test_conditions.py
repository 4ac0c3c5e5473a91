"""If-Match: a writer who holds an old record is told so, and nobody's write is lost."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connections

from shared_apps.core.api.writes import Writes
from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.school.models import Student
from tests import cast as casting
from tests.api import Asker, as_person

STUDENTS = "/api/v1/school/students/"


@pytest.fixture
def principal(db: None, greenwood: InstitutionContext) -> Asker:
    return as_person(greenwood, casting.of(greenwood).principal)


@pytest.fixture
def ada(greenwood: InstitutionContext) -> str:
    return f"{STUDENTS}{casting.of(greenwood).id('ada')}/"


def test_a_write_with_the_tag_that_was_read_goes_through_and_answers_the_next_tag(principal: Asker, ada: str) -> None:
    tag = principal.get(ada)["ETag"]
    answer = principal.patch(ada, {"given_name": "Adah"}, HTTP_IF_MATCH=tag)
    assert answer.status_code == 200
    assert answer["ETag"] == principal.get(ada)["ETag"] != tag
    assert principal.patch(ada, {"given_name": "Ada"}, HTTP_IF_MATCH=f'"x", {answer["ETag"]}').status_code == 200
    assert principal.patch(ada, {"given_name": "Adah"}, HTTP_IF_MATCH="*").status_code == 200


@pytest.mark.parametrize("read", ["", "?fields=given_name", "?include=campus"])
def test_a_tag_of_any_shape_stands_for_the_whole_row(principal: Asker, ada: str, read: str) -> None:
    tag = principal.get(f"{ada}{read}")["ETag"]
    principal.patch(ada, {"phone": "1"})
    assert principal.patch(ada, {"given_name": "Adah"}, HTTP_IF_MATCH=tag).status_code == 412
    tag = principal.get(f"{ada}{read}")["ETag"]
    assert principal.patch(ada, {"given_name": "Adah"}, HTTP_IF_MATCH=tag).status_code == 200


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE", "POST"])
def test_an_old_tag_is_412_with_what_stands_and_changes_nothing(principal: Asker, ada: str, method: str) -> None:
    before = principal.get(ada)
    url = f"{ada}change-state/" if method == "POST" else ada
    body = {"to": "left", "on": str(casting.YEAR[0])} if method == "POST" else {"given_name": "Adah"}
    answer = principal.ask(method, url, body, HTTP_IF_MATCH='"0123456789abcdef"')
    assert answer.status_code == 412
    problem = answer.json()
    assert (problem["code"], problem["current"]) == ("precondition_failed", before.json())
    assert answer["ETag"] == before["ETag"]
    assert principal.get(ada).json() == before.json()


@pytest.mark.parametrize("header", ["abc", '"abc', '"a" "b"', "W/", ""])
def test_a_header_that_is_no_tag_is_400(principal: Asker, ada: str, header: str) -> None:
    assert principal.patch(ada, {"given_name": "Adah"}, HTTP_IF_MATCH=header).status_code == 400


def test_a_weak_tag_never_matches(principal: Asker, ada: str) -> None:
    tag = principal.get(ada)["ETag"]
    assert principal.patch(ada, {"given_name": "Adah"}, HTTP_IF_MATCH=f"W/{tag}").status_code == 412


def two_at_once(greenwood: InstitutionContext, url: str) -> list[int]:
    """Two that have read the same record write at the same moment; the statuses of their answers."""
    reader = as_person(greenwood, casting.of(greenwood).principal)
    tag, start = reader.get(url)["ETag"], Barrier(2)

    def write(name: str) -> int:
        try:
            start.wait(timeout=10)
            asker = Asker("greenwood.localhost", token=reader.token)
            return asker.patch(url, {"given_name": name}, HTTP_IF_MATCH=tag).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        return sorted(pool.map(write, ("Adah", "Adele")))


def test_of_two_writers_with_one_tag_exactly_one_goes_through(
    transactional_db: None, greenwood: InstitutionContext, ada: str
) -> None:
    for _ in range(5):
        assert two_at_once(greenwood, ada) == [200, 412]


def test_without_the_comparison_one_write_is_lost(
    transactional_db: None, greenwood: InstitutionContext, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr(Writes, "_demand_match", lambda self, record, action: None)
    assert two_at_once(greenwood, ada) == [200, 200]
    with institution(greenwood):
        names: Any = Student.objects.filter(given_name__in=("Adah", "Adele"))
        assert names.count() == 1
