"""Saved views: a list under a name, checked when it is saved, one's own or shared."""

from typing import Any

import pytest

from shared_apps.core.context import InstitutionContext
from tests import cast as casting
from tests.api import Asker, as_person

VIEWS = "/api/v1/reports/saved-views/"


@pytest.fixture
def cast(db: None, greenwood: InstitutionContext) -> casting.Cast:
    return casting.of(greenwood)


@pytest.fixture
def principal(cast: casting.Cast) -> Asker:
    return as_person(cast.institution, cast.principal)


def view(**more: Any) -> dict[str, Any]:
    return {"resource": "school/students", "name": "By name", "query": "ordering=-family_name&page_size=2", **more}


def test_a_saved_view_leads_to_its_list(principal: Asker) -> None:
    saved = principal.post(VIEWS, view()).json()
    rows = principal.get(saved["url"]).json()["results"]
    assert len(rows) == 2
    assert rows == principal.get("/api/v1/school/students/?ordering=-family_name&page_size=2").json()["results"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"query": "nonsense=1"}, "/query"),
        ({"query": "page_size=0"}, "/query"),
        ({"query": "page=2"}, "/query"),
        ({"query": "cursor=abc"}, "/query"),
        ({"resource": "school/nothing"}, "/resource"),
        ({"resource": "../auth/token"}, "/resource"),
        ({"name": ""}, "/name"),
    ],
)
def test_a_view_that_leads_nowhere_is_refused_at_its_place(principal: Asker, change: Any, pointer: str) -> None:
    answer = principal.post(VIEWS, view(**change))
    assert answer.status_code == 400, answer.content
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_nobody_saves_a_list_that_they_may_not_view(cast: casting.Cast) -> None:
    student = as_person(cast.institution, cast.student)
    assert student.post(VIEWS, view(resource="accounts/users", query="")).status_code == 400


def test_names_are_each_person_s_own(cast: casting.Cast, principal: Asker) -> None:
    assert principal.post(VIEWS, view()).status_code == 201
    assert principal.post(VIEWS, view()).status_code == 409
    assert as_person(cast.institution, cast.teacher).post(VIEWS, view()).status_code == 201


def test_a_shared_view_is_seen_by_all_and_changed_by_its_owner_alone(cast: casting.Cast, principal: Asker) -> None:
    teacher = as_person(cast.institution, cast.teacher)
    own = principal.post(VIEWS, view(name="Mine")).json()["id"]
    shared = principal.post(VIEWS, view(name="Ours", shared=True)).json()["id"]
    listed = {row["id"] for row in teacher.get(VIEWS).json()["results"]}
    assert shared in listed
    assert own not in listed
    assert teacher.get(f"{VIEWS}{own}/").status_code == 404
    assert teacher.patch(f"{VIEWS}{shared}/", {"name": "Theirs"}).status_code == 403
    assert teacher.delete(f"{VIEWS}{shared}/").status_code == 403
    assert principal.patch(f"{VIEWS}{shared}/", {"query": "ordering=nonsense"}).status_code == 400
    assert principal.patch(f"{VIEWS}{shared}/", {"shared": False}).json()["shared"] is False
    assert teacher.get(f"{VIEWS}{shared}/").status_code == 404
