"""Lists and records over HTTP: who sees what, and pages that stay right while the table changes."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import models
from django.utils import timezone

from shared_apps.core.api import querystring, reading
from shared_apps.core.api.reading import Reader, Sight
from shared_apps.core.context import InstitutionContext
from shared_apps.core.permissions import Scope
from tenant_apps.academics.models import Enrolment
from tenant_apps.school.api import GradeLevelViewSet, StaffViewSet, StudentViewSet
from tenant_apps.school.models import Campus, GradeLevel, Guardian, Student, StudentGuardian
from tests import cast as casting
from tests.api import Asker, as_person
from tests.shared_apps.core.holders import give, take_all

STUDENTS = "/api/v1/school/students/"
VIEW = "school.view_student"


@pytest.fixture
def cast(inside: InstitutionContext) -> casting.Cast:
    return casting.of(inside)


@pytest.fixture
def principal(cast: casting.Cast) -> Asker:
    return as_person(cast.institution, cast.principal)


def seen_by(cast: casting.Cast, person: casting.Person, path: str = STUDENTS) -> list[str]:
    """Ids of a person's list, in its order; each of them answers alone too."""
    asker = as_person(cast.institution, person)
    answer = asker.get(f"{path}?page_size=200&count=true")
    assert answer.status_code == 200, answer.content
    ids = [row["id"] for row in answer.json()["results"]]
    assert answer.json()["count"] == len(ids) == len(set(ids))
    hidden = Student.objects.exclude(pk__in=ids).values_list("pk", flat=True) if path == STUDENTS else ()
    assert {asker.get(f"{path}{key}/").status_code for key in ids} <= {200}
    assert {asker.get(f"{path}{key}/").status_code for key in hidden} <= {404}
    return ids


def named(cast: casting.Cast, *names: str) -> set[str]:
    return {str(key) for key in cast.ids(*names)}


# Scopes


def test_a_registrar_of_one_campus_sees_its_students_alone(cast: casting.Cast) -> None:
    other = Campus.objects.create(code="EAST", name="East")
    Student.objects.filter(pk=cast.id("eva")).update(campus=other)
    take_all(cast.teacher)
    give(cast.teacher, VIEW, Scope.CAMPUS, other.pk)
    assert set(seen_by(cast, cast.teacher)) == named(cast, "eva")


def test_who_holds_two_roles_sees_the_union_and_nobody_twice(cast: casting.Cast) -> None:
    """The teacher of Ada, Cleo and Dan is the guardian of Ada and Ben too."""
    Guardian.objects.filter(pk=cast.id("guardian")).update(user=cast.teacher.user_id)
    give(cast.teacher, VIEW, Scope.OWN_CHILDREN)
    assert set(seen_by(cast, cast.teacher)) == named(cast, "ada", "ben", "cleo", "dan")


def test_a_join_instead_of_a_subquery_would_show_some_twice(cast: casting.Cast) -> None:
    """Negative control: two of Ada's guardians are the same person."""
    Guardian.objects.filter(pk__in=cast.ids("guardian", "guardian of dan")).update(user=cast.guardian.user_id)
    StudentGuardian.objects.create(student_id=cast.id("ada"), guardian_id=cast.id("guardian of dan"))
    naive = Student.objects.filter(guardian_links__guardian__user=cast.guardian.user_id)
    assert naive.count() > naive.distinct().count()
    assert set(seen_by(cast, cast.guardian)) == named(cast, "ada", "ben", "dan")


def test_the_same_role_for_two_campuses_reaches_both(cast: casting.Cast) -> None:
    east, west = (Campus.objects.create(code=code, name=code) for code in ("EAST", "WEST"))
    for name, campus in (("eva", east), ("finn", west)):
        Student.objects.filter(pk=cast.id(name)).update(campus=campus)
    take_all(cast.teacher)
    give(cast.teacher, VIEW, Scope.CAMPUS, east.pk)
    give(cast.teacher, VIEW, Scope.CAMPUS, west.pk)
    assert set(seen_by(cast, cast.teacher)) == named(cast, "eva", "finn")


def test_a_named_section_is_seen_by_whoever_holds_a_role_over_it(cast: casting.Cast) -> None:
    take_all(cast.student)
    give(cast.student, VIEW, Scope.SECTION, cast.id("science"))
    assert set(seen_by(cast, cast.student)) == named(cast, "ben", "eva", "finn")


def test_the_widest_scope_wins(cast: casting.Cast) -> None:
    give(cast.student, VIEW, Scope.INSTITUTION)
    assert set(seen_by(cast, cast.student)) == named(cast, *casting.STUDENTS)


def test_a_scope_that_a_resource_does_not_declare_shows_nothing_of_it(cast: casting.Cast) -> None:
    take_all(cast.teacher)
    give(cast.teacher, f"{VIEW} school.view_studentguardian", Scope.DEPARTMENT, cast.id("campus"))
    assert seen_by(cast, cast.teacher) == []
    assert seen_by(cast, cast.teacher, "/api/v1/school/student-guardians/") == []


def test_the_permission_of_one_role_does_not_borrow_the_reach_of_another(cast: casting.Cast) -> None:
    """The whole institution for grade levels is not the whole institution for students."""
    give(cast.teacher, "school.view_gradelevel", Scope.INSTITUTION)
    assert set(seen_by(cast, cast.teacher)) == named(cast, *casting.IN_MATHS)


@pytest.mark.parametrize(
    ("begins", "ends", "status"), [(None, -1, 403), (1, None, 403), (-1, 1, 200), (None, None, 200)]
)
def test_a_role_holds_from_its_first_instant_until_before_its_last(
    cast: casting.Cast, begins: int | None, ends: int | None, status: int
) -> None:
    now, hours = timezone.now(), timedelta(hours=1)
    take_all(cast.teacher)
    give(
        cast.teacher,
        VIEW,
        Scope.INSTITUTION,
        valid_from=None if begins is None else now + begins * hours,
        valid_until=None if ends is None else now + ends * hours,
    )
    assert as_person(cast.institution, cast.teacher).get(STUDENTS).status_code == status


def test_a_student_who_has_left_the_section_is_seen_no_longer(cast: casting.Cast) -> None:
    Enrolment.objects.filter(pk=cast.id("ada in maths")).update(ends_on=timezone.now().date() - timedelta(days=1))
    assert set(seen_by(cast, cast.teacher)) == named(cast, "cleo", "dan")


# Pages


def page(asker: Asker, url: str) -> dict[str, Any]:
    answer = asker.get(url.partition("localhost")[2] or url)
    assert answer.status_code == 200, answer.content
    return answer.json()


def given_names(found: dict[str, Any]) -> list[str]:
    return [row["given_name"] for row in found["results"]]


def gone(key: Any) -> None:
    Enrolment.objects.filter(student=key).delete()
    Student.objects.filter(pk=key).delete()


@pytest.mark.parametrize("ordering", ["family_name", "-family_name", "family_name,-given_name"])
def test_rows_that_come_and_go_between_pages_shift_nobody(cast: casting.Cast, principal: Asker, ordering: str) -> None:
    """A page by number would show a row twice after an insertion, and skip one after a deletion."""
    order = given_names(page(principal, f"{STUDENTS}?ordering={ordering}"))
    first = page(principal, f"{STUDENTS}?ordering={ordering}&page_size=2")
    assert given_names(first) == order[:2]
    before = Student.objects.get(given_name=order[0])
    Student.objects.create(
        student_number="N1", given_name="New", family_name=before.family_name, campus_id=cast.id("campus")
    )
    gone(cast.id(order[1].lower()))
    assert given_names(page(principal, first["next"])) == order[2:4]


def test_pages_by_number_shift(cast: casting.Cast, principal: Asker) -> None:
    """Negative control."""
    first = page(principal, f"{STUDENTS}?page=1&page_size=2")
    Student.objects.create(student_number="N1", given_name="New", family_name="A", campus_id=cast.id("campus"))
    assert given_names(page(principal, first["next"]))[0] == given_names(first)[1]


def test_the_row_that_a_cursor_stands_on_may_be_deleted(cast: casting.Cast, principal: Asker) -> None:
    first = page(principal, f"{STUDENTS}?page_size=3")
    second = page(principal, first["next"])
    for row in (first["results"][2], second["results"][0]):
        gone(row["id"])
    assert given_names(page(principal, first["next"])) == given_names(second)[1:]
    assert given_names(page(principal, second["previous"])) == given_names(first)[:2]


def test_rows_that_are_equal_in_all_but_their_key_are_each_shown_once(cast: casting.Cast, principal: Asker) -> None:
    Student.objects.update(family_name="Same", given_name="Same")
    for ordering in ("family_name", "-family_name,given_name", "-family_name"):
        url: str | None = f"{STUDENTS}?page_size=1&ordering={ordering}"
        ids: list[str] = []
        while url:
            found = page(principal, url)
            ids += [row["id"] for row in found["results"]]
            url = found["next"]
        assert len(ids) == len(set(ids)) == 6


def test_links_keep_what_was_asked(principal: Asker) -> None:
    asked = {"page_size": ["1"], "state": ["enrolled"], "search": ["reed éq"], "count": ["true"]}
    found = page(principal, f"{STUDENTS}?page_size=1&state=enrolled&search=reed%20%C3%A9q&count=true")
    assert found == {"next": None, "previous": None, "count": 0, "results": []}
    found = page(principal, f"{STUDENTS}?page_size=1&state=enrolled&search=reed&count=true")
    link = urlsplit(found["next"])
    assert (link.scheme, link.netloc, link.path) == ("http", "greenwood.localhost", STUDENTS)
    kept = parse_qs(link.query)
    assert kept.pop("cursor")
    assert kept == {**asked, "search": ["reed"]}


def test_a_page_beyond_the_end_is_empty_and_leads_back(principal: Asker) -> None:
    found = page(principal, f"{STUDENTS}?page=7&page_size=2")
    assert (found["results"], found["next"]) == ([], None)
    assert given_names(page(principal, f"{STUDENTS}?page=3&page_size=2")) == ["Eva", "Finn"]
    assert page(principal, f"{STUDENTS}?page=3&page_size=2")["next"] is None
    assert "page=2" in page(principal, f"{STUDENTS}?page=3&page_size=2")["previous"]


def test_no_link_leads_to_a_page_that_would_be_refused(principal: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (querystring, reading):
        monkeypatch.setattr(module, "MOST_PAGES", 2)
    assert page(principal, f"{STUDENTS}?page=1&page_size=2")["next"] is not None
    assert page(principal, f"{STUDENTS}?page=2&page_size=2")["next"] is None
    assert principal.get(f"{STUDENTS}?page=3&page_size=2").status_code == 400


def test_the_first_page_has_no_previous_and_the_last_no_next(principal: Asker) -> None:
    first = page(principal, f"{STUDENTS}?page_size=3")
    last = page(principal, first["next"])
    assert first["previous"] is None
    assert last["next"] is None
    back = page(principal, last["previous"])
    assert back["results"] == first["results"]
    assert back["previous"] is None
    assert page(principal, back["next"])["results"] == last["results"]


def test_a_cursor_of_one_ordering_does_not_fit_another(principal: Asker) -> None:
    cursor = page(principal, f"{STUDENTS}?page_size=1")["next"].rpartition("cursor=")[2]
    answer = principal.get(f"{STUDENTS}?page_size=1&ordering=-family_name&cursor={cursor}")
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_cursor"


def test_a_cursor_of_one_list_does_not_fit_another(principal: Asker) -> None:
    """Both are ordered by the same columns, so that the second list would begin in its middle."""
    cursor = page(principal, f"{STUDENTS}?page_size=1")["next"].rpartition("cursor=")[2]
    students, staff = (resource.reader().grammar for resource in (StudentViewSet, StaffViewSet))
    assert students.default_ordering == staff.default_ordering
    answer = principal.get(f"/api/v1/school/staff/?cursor={cursor}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


def test_a_cursor_shows_nothing_outside_of_the_scope(cast: casting.Cast, principal: Asker) -> None:
    """It names a place in the order, not rows: the principal's serves the teacher as well."""
    first = page(principal, f"{STUDENTS}?page_size=1")
    teacher = as_person(cast.institution, cast.teacher)
    assert given_names(page(teacher, first["next"])) == ["Cleo"]


def test_rows_without_a_value_come_last_either_way(cast: casting.Cast, principal: Asker) -> None:
    Student.objects.filter(pk__in=cast.ids("ben", "cleo")).update(birth_date=None)
    for ordering in ("birth_date", "-birth_date"):
        url: str | None = f"{STUDENTS}?page_size=1&ordering={ordering}"
        names: list[str] = []
        while url:
            found = page(principal, url)
            names += given_names(found)
            url = found["next"]
        assert set(names[-2:]) == {"Ben", "Cleo"}
        assert len(names) == 6


# Rows


def test_a_row_is_written_as_its_columns_are(cast: casting.Cast, principal: Asker) -> None:
    text = 'O\'Brien "q" \\ \n\t \u2028 é 日本 😀 </script> %s'
    Student.objects.filter(pk=cast.id("ada")).update(given_name=text, left_on=None, email="")
    row = principal.get(f"{STUDENTS}{cast.id('ada')}/").json()
    assert row["given_name"] == text
    assert row["left_on"] is None
    assert row["birth_date"] == "2014-01-01"
    assert row["campus"] == str(cast.id("campus"))
    assert row["created_at"].endswith("+00:00")
    level = principal.get(f"/api/v1/school/grade-levels/{cast.id('grade 5')}/").json()
    assert level["position"] == 5


def test_a_record_takes_no_parameters_of_a_list(cast: casting.Cast, principal: Asker) -> None:
    answer = principal.get(f"{STUDENTS}{cast.id('ada')}/?page=1")
    assert answer.status_code == 400
    assert answer.json()["code"] == "unknown_parameter"


def test_a_decimal_is_text_so_that_no_client_reads_it_as_a_float(
    cast: casting.Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room has a decimal yet: the position of a grade level is declared to be one."""
    plain = GradeLevelViewSet.reader()
    declared = {field.name: field for field in plain.columns} | {"position": models.DecimalField("position")}
    declared["position"].set_attributes_from_name("position")
    with monkeypatch.context() as patched:
        patched.setattr(GradeLevel._meta, "get_field", declared.__getitem__)
        reader = Reader(
            name="decimals",
            queryset=GradeLevel.objects.all(),
            fields=tuple(field.name for field in plain.columns),
            scopes=plain.scopes,
            grammar=plain.grammar,
            search=(),
        )
    bodies = [shown.one(Sight((), ()), cast.id("grade 5")) or b"" for shown in (reader, plain)]
    assert b'"position":"5"' in bodies[0]
    assert b'"position":5' in bodies[1]


def test_a_list_that_is_ordered_by_a_reference_shows_every_row_once(cast: casting.Cast) -> None:
    """Django orders by a foreign key as the other model is ordered; the cursor compares the key itself."""
    principal = as_person(cast.institution, cast.principal)
    url, seen = "/api/v1/accounts/role-permissions/?page_size=20", []
    while url:
        page = principal.get(url).json()
        seen += [row["id"] for row in page["results"]]
        url = (page["next"] or "").partition("localhost")[2]
    count = principal.get("/api/v1/accounts/role-permissions/?count=true&page_size=1").json()["count"]
    assert len(seen) == len(set(seen)) == count > 40
