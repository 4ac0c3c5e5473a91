"""Operators make and suspend institutions over the API; nobody else can."""

import pytest

from shared_apps.core.context import InstitutionContext
from tests import cast as casting
from tests.api import Asker, as_person, host_of

PATH = "/api/v1/platform/institutions/"
NEW = {
    "name": "Rheintal",
    "slug": "rheintal",
    "admin_email": "head@rheintal.test",
    "plan": "standard",
    "time_zone": "Europe/Berlin",
}


@pytest.fixture
def operator(console: InstitutionContext) -> Asker:
    return as_person(console, casting.of(console).operator)


def test_an_operator_makes_an_institution_that_answers_at_once(transactional_db: None, operator: Asker) -> None:
    made = operator.post(PATH, NEW)
    assert made.status_code == 201, made.content
    assert made.json()["state"] == "active"
    assert made.json()["plan"] == "standard"
    assert made["Location"] == f"{PATH}{made.json()['id']}/"
    assert operator.get(made["Location"]).json() == made.json()
    assert Asker("rheintal.localhost").get("/").status_code == 200
    again = operator.post(PATH, NEW)
    assert (again.status_code, again.json()["code"]) == (409, "slug_taken")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"slug": "www"}, "/slug"),
        ({"slug": "no good"}, "/slug"),
        ({"name": ""}, "/name"),
        ({"admin_email": "nobody"}, "/admin_email"),
        ({"currency": "euro"}, "/currency"),
        ({"currency": "ZZZ"}, "/currency"),
        ({"time_zone": "Mars/Olympus"}, "/time_zone"),
        ({"language": "xx"}, "/language"),
        ({"plan_of_mine": 1}, "/plan_of_mine"),
    ],
)
def test_what_is_wrong_is_named_and_leaves_nothing_behind(
    transactional_db: None, operator: Asker, change: dict[str, object], pointer: str
) -> None:
    refused = operator.post(PATH, {**NEW, **change})
    assert refused.status_code == 400, refused.content
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert {row["slug"] for row in operator.get(PATH).json()["results"]} == {"console", "greenwood", "lumiere"}
    assert Asker("rheintal.localhost").get("/").status_code == 404


def test_suspending_stops_an_institution_at_once_and_resuming_brings_it_back(
    transactional_db: None, operator: Asker, greenwood: InstitutionContext
) -> None:
    school = Asker(host_of(greenwood))
    assert school.get("/").status_code == 200
    assert operator.post(f"{PATH}{greenwood.id}/suspend/", {"reason": "unpaid"}).json()["state"] == "suspended"
    assert school.get("/").status_code == 403
    assert operator.post(f"{PATH}{greenwood.id}/resume/").json()["state"] == "active"
    assert school.get("/").status_code == 200
    assert operator.post(f"{PATH}{greenwood.id}/suspend/", {"reason": "late", "read_only": True}).status_code == 200
    assert school.get("/").status_code == 200


def test_a_state_that_holds_already_keeps_its_date(
    transactional_db: None, operator: Asker, greenwood: InstitutionContext
) -> None:
    place = f"{PATH}{greenwood.id}/"
    before = operator.get(place).json()
    assert operator.post(f"{place}resume/").json() == before
    first = operator.post(f"{place}suspend/", {"reason": "unpaid"}).json()
    assert first["state_changed_at"] > before["state_changed_at"], "negative control: a change has a date of its own"
    again = operator.post(f"{place}suspend/", {"reason": "unpaid since May"}).json()
    assert again == first | {"state_reason": "unpaid since May"}


def test_no_institution_serves_the_platform_api_and_no_principal_enters_the_console(
    db: None, greenwood: InstitutionContext, console: InstitutionContext
) -> None:
    principal = as_person(greenwood, casting.of(greenwood).principal)
    assert principal.get(PATH).status_code == 404
    assert Asker(host_of(console), token=principal.token).get(PATH).status_code == 401
    assert Asker(host_of(console)).get(PATH).status_code == 401


def test_the_list_is_paged_and_strict(db: None, operator: Asker) -> None:
    first = operator.get(f"{PATH}?page_size=2").json()
    assert len(first["results"]) == 2
    second = operator.get(first["next"].partition("localhost")[2]).json()
    assert len(second["results"]) == 1
    assert second["next"] is None
    for query in ("page=0", "page=x", "nonsense=1", "page_size=1000", "state=asleep", "search=%00"):
        assert operator.get(f"{PATH}?{query}").status_code == 400


def test_institutions_are_found_by_state_and_by_name_or_host(
    db: None, operator: Asker, greenwood: InstitutionContext
) -> None:
    def slugs(query: str) -> list[str]:
        return [row["slug"] for row in operator.get(f"{PATH}?{query}").json()["results"]]

    operator.post(f"{PATH}{greenwood.id}/suspend/", {"reason": "unpaid"})
    assert slugs("state=suspended") == ["greenwood"]
    assert slugs("search=GREEN") == ["greenwood"]
    assert slugs("search=lumiere.local") == ["lumiere"], "by its host"
    assert slugs("search=lumiere&state=suspended") == []
    assert slugs("search=%25") == [], "no pattern"
    more = operator.get(f"{PATH}?state=active&page_size=1").json()["next"]
    assert "state=active" in more, "the next page is one of the same"
