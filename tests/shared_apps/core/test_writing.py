"""Writes over HTTP: what they answer, what they refuse, and that a refused one leaves nothing behind."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, local
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.http import HttpResponse

from shared_apps.core import problems, storing
from shared_apps.core.api import ResourceViewSet
from shared_apps.core.api.reading import Sight
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.permissions import Scope
from tenant_apps.academics.models import Enrolment, Section
from tenant_apps.school.api import StudentViewSet
from tenant_apps.school.models import Campus, GradeLevel, Room, Student
from tests import cast as casting
from tests.api import Asker, as_person
from tests.shared_apps.core.holders import give, take_all

STUDENTS = "/api/v1/school/students/"
ROOMS = "/api/v1/school/rooms/"
ENROLMENTS = "/api/v1/academics/enrolments/"
SECTIONS = "/api/v1/academics/sections/"


@pytest.fixture
def cast(inside: InstitutionContext) -> casting.Cast:
    return casting.of(inside)


@pytest.fixture
def principal(cast: casting.Cast) -> Asker:
    return as_person(cast.institution, cast.principal)


def new_student(cast: casting.Cast, **more: Any) -> dict[str, Any]:
    return {
        "student_number": "N1",
        "given_name": "Noa",
        "family_name": "New",
        "campus": str(cast.id("campus")),
        **more,
    }


def refused(answer: HttpResponse, status: int, code: str | None = None) -> dict[str, str]:
    """The places that a refusal names, with their codes."""
    problem = answer.json()
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json"), problem
    assert code is None or problem["code"] == code, problem
    return {error["pointer"]: error["code"] for error in problem["errors"]}


# Answers


def test_a_new_record_is_answered_as_it_stands_with_its_address(cast: casting.Cast, principal: Asker) -> None:
    answer = principal.post(STUDENTS, new_student(cast, birth_date="2015-05-05"))
    assert answer.status_code == 201, answer.content
    row = answer.json()
    assert tuple(row) == StudentViewSet.all_fields
    assert answer["Location"] == f"{STUDENTS}{row['id']}/"
    assert principal.get(answer["Location"]).json() == row
    assert Student.objects.get(pk=row["id"]).given_name == "Noa"


def test_a_patch_writes_the_named_columns_alone(cast: casting.Cast, principal: Asker) -> None:
    url = f"{STUDENTS}{cast.id('ada')}/"
    before = principal.get(url).json()
    # Somebody else's change that this request knows nothing of.
    Student.objects.filter(pk=cast.id("ada")).update(phone="1")
    after = principal.patch(url, {"given_name": "Adah"}).json()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"given_name", "phone", "updated_at"}
    assert principal.get(url).json() == after


def test_a_patch_of_nothing_changes_nothing(cast: casting.Cast, principal: Asker) -> None:
    url = f"{STUDENTS}{cast.id('ada')}/"
    before = principal.get(url).json()
    answer = principal.patch(url, {})
    assert answer.status_code == 200
    assert answer.json() == before


def test_what_was_read_can_be_put_back(cast: casting.Cast, principal: Asker) -> None:
    url = f"{STUDENTS}{cast.id('ada')}/"
    row = principal.get(url).json()
    answer = principal.put(url, {**row, "family_name": "Lovelace"})
    assert answer.status_code == 200, answer.content
    assert answer.json()["family_name"] == "Lovelace"


def test_a_put_without_a_required_field_is_refused_at_it(cast: casting.Cast, principal: Asker) -> None:
    places = refused(principal.put(f"{STUDENTS}{cast.id('ada')}/", {"given_name": "A"}), 400)
    assert set(places) == {"/student_number", "/family_name", "/campus"}


def test_columns_that_are_only_shown_are_refused_unless_they_are_as_they_stand(
    cast: casting.Cast, principal: Asker
) -> None:
    """Left silently, a PATCH of `state` would answer 200 and change nothing."""
    url = f"{STUDENTS}{cast.id('ada')}/"
    before = principal.get(url).json()
    for name, value in {"id": str(uuid4()), "state": "left", "left_on": "2000-01-01"}.items():
        assert refused(principal.patch(url, {name: value}), 400) == {f"/{name}": "read_only"}
        assert refused(principal.post(STUDENTS, new_student(cast, **{name: value})), 400) == {f"/{name}": "read_only"}
        assert principal.patch(url, {name: before[name]}).status_code == 200
    stale = principal.patch(url, {"created_at": "2000-01-01T00:00:00Z", "updated_at": "2000-01-01T00:00:00Z"})
    assert (stale.status_code, stale.json()["created_at"]) == (200, before["created_at"])


def test_a_put_gives_what_was_left_out_its_default(cast: casting.Cast, principal: Asker) -> None:
    url = f"{STUDENTS}{cast.id('ada')}/"
    principal.patch(url, {"phone": "+1 518 555 0100", "birth_date": "2014-03-09"})
    row = principal.put(url, new_student(cast)).json()
    assert (row["phone"], row["birth_date"], row["given_name"]) == ("", None, "Noa")


@pytest.mark.parametrize("stray", ["Ada\x07", "Ada\nLovelace", "Ada\u202e", "\x9bAda", "A\u2028da"])
def test_a_name_holds_no_invisible_character(cast: casting.Cast, principal: Asker, stray: str) -> None:
    answer = principal.post(STUDENTS, new_student(cast, given_name=stray))
    assert refused(answer, 400) == {"/given_name": "control_character"}
    assert principal.post(STUDENTS, new_student(cast, given_name="Zoë-Ann O\u2019Neil")).status_code == 201


def test_a_deleted_record_is_gone(cast: casting.Cast, principal: Asker) -> None:
    key = principal.post(ROOMS, {"campus": str(cast.id("campus")), "name": "Attic"}).json()["id"]
    answer = principal.delete(f"{ROOMS}{key}/")
    assert (answer.status_code, answer.content) == (204, b"")
    assert principal.delete(f"{ROOMS}{key}/").status_code == 404


# Refusals


def test_an_unknown_field_is_refused_by_its_name(cast: casting.Cast, principal: Asker) -> None:
    for name, pointer in (
        ("nick_name", "/nick_name"),
        ("a/b~", "/a~1b~0"),
        ("notes", "/notes"),
        ("user_id", "/user_id"),
    ):
        places = refused(principal.post(STUDENTS, new_student(cast, **{name: "x"})), 400)
        assert places == {pointer: "unknown_field"}
    assert not Student.objects.filter(student_number="N1").exists()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_write_takes_no_parameters(cast: casting.Cast, principal: Asker, method: str) -> None:
    url = STUDENTS if method == "POST" else f"{STUDENTS}{cast.id('ada')}/"
    places = refused(principal.ask(method, f"{url}?dry_run=true", {}), 400, "unknown_parameter")
    assert places == {"?dry_run": "unknown_parameter"}


def test_a_reference_to_nothing_or_to_another_institution_is_refused(
    cast: casting.Cast, principal: Asker, lumiere: InstitutionContext
) -> None:
    foreign = casting.of(lumiere).id("campus")
    for key in (uuid4(), foreign, cast.id("ada")):
        places = refused(principal.post(STUDENTS, new_student(cast, campus=str(key))), 400)
        assert places == {"/campus": "does_not_exist"}
    for key in ("1", "", None, 5, [], {}):
        assert "/campus" in refused(principal.post(STUDENTS, new_student(cast, campus=key)), 400)
    with institution(lumiere):
        assert Campus.objects.filter(pk=foreign).exists()


def test_a_reference_to_a_record_that_the_writer_does_not_see_is_refused_as_not_there(
    cast: casting.Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the row itself lies within the writer's scope, so its own recheck lets it pass."""
    east = Campus.objects.create(code="EAST", name="East")
    Student.objects.filter(pk=cast.id("ben")).update(campus=east)
    codes = "academics.view_enrolment academics.add_enrolment academics.view_section school.view_student"
    give(cast.student, codes, Scope.CAMPUS, cast.id("campus"))
    office = as_person(cast.institution, cast.student)
    body = {"student": str(cast.id("ben")), "section": str(cast.id("maths")), "starts_on": str(casting.TURN)}
    assert refused(office.post(ENROLMENTS, body), 400) == {"/student": "does_not_exist"}
    assert not Enrolment.objects.filter(student=cast.id("ben"), section=cast.id("maths")).exists()
    assert office.post(ENROLMENTS, {**body, "student": str(cast.id("eva"))}).status_code == 201
    monkeypatch.setattr(
        "shared_apps.core.api.parsing.visible_each",
        lambda principal, asked: [model.objects.get(pk=key) for model, key in asked],
    )
    assert office.post(ENROLMENTS, body).status_code == 201


def test_a_duplicate_is_a_conflict_at_its_field(cast: casting.Cast, principal: Asker) -> None:
    places = refused(principal.post(STUDENTS, new_student(cast, student_number="S0")), 409)
    assert places == {"/student_number": "unique"}
    assert refused(principal.post(ROOMS, {"campus": str(cast.id("campus")), "name": "Room 1"}), 409)
    assert refused(principal.patch(f"{STUDENTS}{cast.id('ada')}/", {"student_number": "S1"}), 409)
    assert Student.objects.get(pk=cast.id("ada")).student_number == "S0"


def test_days_that_overlap_are_a_conflict(cast: casting.Cast, principal: Asker) -> None:
    body = {"student": str(cast.id("ada")), "section": str(cast.id("maths")), "starts_on": str(casting.TURN)}
    assert "enrolment_overlap" in refused(principal.post(ENROLMENTS, body), 409).values()
    assert Enrolment.objects.filter(student=cast.id("ada")).count() == 1


def test_a_rule_of_the_table_is_refused_with_its_code(cast: casting.Cast, principal: Asker) -> None:
    url = f"{ENROLMENTS}{cast.id('ada in maths')}/"
    places = refused(principal.patch(url, {"ends_on": str(casting.YEAR[0] - timedelta(days=1))}), 400)
    assert places == {"": "ends_before_start"}
    assert Enrolment.objects.get(pk=cast.id("ada in maths")).ends_on is None


def test_a_rule_of_the_model_is_refused_at_its_field(cast: casting.Cast, principal: Asker) -> None:
    elsewhere = Campus.objects.create(code="EAST", name="East")
    places = refused(principal.patch(f"{SECTIONS}{cast.id('maths')}/", {"campus": str(elsewhere.pk)}), 400)
    assert places == {"/room": "other_campus"}
    assert Section.objects.get(pk=cast.id("maths")).campus_id == cast.id("campus")


def test_what_is_still_in_use_cannot_be_deleted(cast: casting.Cast, principal: Asker) -> None:
    answer = principal.delete(f"/api/v1/school/campuses/{cast.id('campus')}/")
    refused(answer, 409, "in_use")
    # Each kind once, however many rows of it there are: the cast's campus has several students.
    assert Student.objects.filter(campus=cast.id("campus")).count() > 1
    assert answer.json()["detail"].count("students") == 1
    assert Campus.objects.filter(pk=cast.id("campus")).exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("given_name", "x" * 101),
        ("given_name", ""),
        ("given_name", "  "),
        ("given_name", None),
        ("given_name", 5),
        ("given_name", True),
        ("given_name", ["a"]),
        ("email", "no address"),
        ("email", "x" * 250 + "@a.test"),
        ("birth_date", "2015-02-30"),
        ("birth_date", "10000-01-01"),
        ("birth_date", 20150101),
        ("birth_date", "0"),
        ("sex", "unknown"),
        ("language", "not a language tag"),
        ("nationality", "Sweden"),
        ("sourced_id", "blank s"),
        ("sourced_id", "x" * 256),
        ("user", "me"),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_refused_at_it(
    cast: casting.Cast, principal: Asker, field: str, value: Any
) -> None:
    assert set(refused(principal.post(STUDENTS, new_student(cast, **{field: value})), 400)) == {f"/{field}"}
    assert not Student.objects.filter(student_number="N1").exists()


def test_a_nul_character_is_refused_however_it_is_written(cast: casting.Cast, principal: Asker) -> None:
    refused(principal.post(STUDENTS, new_student(cast, given_name="a\x00b")), 400, "nul_character")
    refused(principal.ask("POST", STUDENTS, b'{"a\\u0000": 1}'), 400, "nul_character")
    refused(principal.ask("POST", STUDENTS, b'{"a": "\x00"}'), 400, "bad_json")
    kept = principal.post(STUDENTS, new_student(cast, given_name="\\u0000 \u2400")).json()
    assert kept["given_name"] == "\\u0000 \u2400"


def test_the_place_of_bad_json_is_named(principal: Asker) -> None:
    answer = principal.ask("POST", STUDENTS, b'{\n "a": 1,\n "b": }')
    refused(answer, 400, "bad_json")
    assert "line 3, column 7" in answer.json()["detail"]


# Scopes


@pytest.fixture
def registrar(cast: casting.Cast) -> Asker:
    """The teacher, now the registrar of a campus in the east where Eva is."""
    east = Campus.objects.create(code="EAST", name="East")
    Student.objects.filter(pk=cast.id("eva")).update(campus=east)
    take_all(cast.teacher)
    codes = "school.view_student school.add_student school.change_student school.delete_student"
    give(cast.teacher, codes, Scope.CAMPUS, east.pk)
    return as_person(cast.institution, cast.teacher)


def test_a_writer_changes_what_lies_within_their_scope(cast: casting.Cast, registrar: Asker) -> None:
    east = str(Campus.objects.get(code="EAST").pk)
    assert registrar.patch(f"{STUDENTS}{cast.id('eva')}/", {"given_name": "Evi"}).json()["given_name"] == "Evi"
    assert registrar.post(STUDENTS, new_student(cast, campus=east)).status_code == 201
    for method in ("PATCH", "PUT", "DELETE"):
        assert registrar.ask(method, f"{STUDENTS}{cast.id('ada')}/", {}).status_code == 404, method


def move_out(cast: casting.Cast, registrar: Asker) -> HttpResponse:
    return registrar.patch(f"{STUDENTS}{cast.id('eva')}/", {"campus": str(cast.id("campus")), "given_name": "Evi"})


def test_a_row_cannot_be_moved_out_of_the_writers_scope(cast: casting.Cast, registrar: Asker) -> None:
    refused(move_out(cast, registrar), 403, "outside_scope")
    eva = Student.objects.get(pk=cast.id("eva"))
    assert (eva.given_name, eva.campus.code) == ("Eva", "EAST")


def test_a_row_cannot_be_made_outside_of_the_writers_scope(cast: casting.Cast, registrar: Asker) -> None:
    refused(registrar.post(STUDENTS, new_student(cast)), 403, "outside_scope")
    assert not Student.objects.filter(student_number="N1").exists()


def test_without_the_second_look_the_row_would_be_moved(
    cast: casting.Cast, registrar: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the scope is asked before the write only."""

    def answer(self: ResourceViewSet, key: Any, action: Any) -> bytes:
        return self.reader().one(Sight((), ()), key) or b""

    monkeypatch.setattr(ResourceViewSet, "_read_again", answer)
    assert move_out(cast, registrar).status_code == 200
    assert Student.objects.get(pk=cast.id("eva")).campus.code == "MAIN"


def test_each_permission_reaches_as_far_as_its_own_role(cast: casting.Cast, registrar: Asker) -> None:
    """Who may change everywhere, but see one campus, changes by the wider scope and sees by the narrower."""
    give(cast.teacher, "school.change_student", Scope.INSTITUTION)
    url = f"{STUDENTS}{cast.id('ada')}/"
    assert registrar.get(url).status_code == 404
    assert registrar.patch(url, {"given_name": "Adah"}).status_code == 200
    assert registrar.delete(url).status_code == 404


def test_who_may_only_look_is_told_so_before_the_body_is_read(cast: casting.Cast) -> None:
    asker = as_person(cast.institution, cast.guardian)
    for method, url in (("POST", STUDENTS), ("PATCH", f"{STUDENTS}{cast.id('ada')}/"), ("DELETE", f"{STUDENTS}x/")):
        refused(asker.ask(method, url, b"{"), 403)


def test_a_verb_refuses_unknown_fields_and_rows_out_of_scope(cast: casting.Cast, registrar: Asker) -> None:
    body = {"to": "left", "on": str(casting.YEAR[0]), "reason": ""}
    verb = "change-state/"
    assert registrar.post(f"{STUDENTS}{cast.id('ada')}/{verb}", body).status_code == 404
    url = f"{STUDENTS}{cast.id('eva')}/{verb}"
    assert refused(registrar.post(url, {**body, "because": "x"}), 400) == {"/because": "unknown_field"}
    assert registrar.ask("GET", url).status_code == 405
    assert registrar.post(url, body).json()["state"] == "left"


# Races


def at_once(greenwood: InstitutionContext, ask: Callable[[Asker], HttpResponse], count: int = 2) -> list[HttpResponse]:
    """The answers of several that ask at the same moment, each over a connection of its own."""
    principal = casting.of(greenwood).principal
    token = as_person(greenwood, principal).token

    def run(number: int) -> HttpResponse:
        try:
            return ask(Asker("greenwood.localhost", token=token))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def meeting(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that have judged their own row wait for each other, so neither sees the other's."""
    barrier, check, met = Barrier(2), model.clean, local()

    def check_together(self: Any) -> None:
        check(self)
        if not hasattr(met, "once"):
            met.once = True
            barrier.wait(timeout=20)

    monkeypatch.setattr(model, "clean", check_together)


def test_of_two_that_take_one_number_at_once_one_is_told_of_the_conflict(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = new_student(casting.of(greenwood))
    meeting(Student, monkeypatch)
    answers = at_once(greenwood, lambda asker: asker.post(STUDENTS, body))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    loser = max(answers, key=lambda answer: answer.status_code)
    assert "student_number" in str(loser.json()["errors"][0])
    with institution(greenwood):
        assert Student.objects.filter(student_number="N1").count() == 1


def test_of_two_enrolments_on_the_same_days_one_is_a_conflict(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast = casting.of(greenwood)
    body = {"student": str(cast.id("ada")), "section": str(cast.id("science")), "starts_on": str(casting.TURN)}
    meeting(Enrolment, monkeypatch)
    answers = at_once(greenwood, lambda asker: asker.post(ENROLMENTS, body))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    (refused,) = (answer.json() for answer in answers if answer.status_code == 409)
    assert refused["errors"][0]["code"] == "enrolment_overlap"


def test_without_the_databases_word_the_loser_would_get_a_500(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: a kit that has no words for what the database refuses."""

    def as_it_is(record: Any, refused: Exception) -> None:
        raise refused

    body = {"campus": str(casting.of(greenwood).id("campus")), "name": "Attic"}
    meeting(Room, monkeypatch)
    monkeypatch.setattr(problems, "refusal", lambda error: None)
    monkeypatch.setattr(storing, "explain", as_it_is)
    answers = at_once(greenwood, lambda asker: asker.post(ROOMS, body))
    assert sorted(answer.status_code for answer in answers) == [201, 500]


def test_two_that_delete_one_record_at_once_both_get_an_answer(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    with institution(greenwood):
        key = GradeLevel.objects.create(code="G9", name="Nine").pk
    answers = at_once(greenwood, lambda asker: asker.delete(f"/api/v1/school/grade-levels/{key}/"), 3)
    assert sorted(answer.status_code for answer in answers) == [204, 404, 404]


def test_two_that_change_one_record_at_once_lose_nothing(transactional_db: None, greenwood: InstitutionContext) -> None:
    url = f"{STUDENTS}{casting.of(greenwood).id('ada')}/"
    bodies = iter(({"given_name": "Adah"}, {"family_name": "Lovelace"}))
    answers = at_once(greenwood, lambda asker: asker.patch(url, next(bodies)))
    assert [answer.status_code for answer in answers] == [200, 200]
    with institution(greenwood):
        ada = Student.objects.get(pk=casting.of(greenwood).id("ada"))
    assert (ada.given_name, ada.family_name) == ("Adah", "Lovelace")
