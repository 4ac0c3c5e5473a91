"""Search finds people however their names are written, the best first, and nothing by a stray wildcard."""

from urllib.parse import urlencode

import pytest
from django.db import connection
from django.db.models import Q

from shared_apps.core.context import InstitutionContext
from shared_apps.core.search import Reach, stored_columns, words_of
from tenant_apps.school.api import GuardianViewSet, StaffViewSet, StudentViewSet
from tenant_apps.school.models import Campus, Student
from tests import cast as casting
from tests.api import Asker, as_person
from tests.shared_apps.core.holders import give, take_all

STUDENTS = "/api/v1/school/students/"
NAMES = (
    "Anna|Müller", "Bruno|Mueller", "Carla|Muller", "Dora|O’Neill", "Emil|O'Neill", "Fay|ONeill", "Jean-Pierre|Lefèvre",
    "Michael|Johnson", "Zoë|Ångström", "Max|Groß", "Лев|Иванов", "伟|张", "محمد|العربي", "Ines|100%_\\", "Joanna|Smith",
)  # fmt: skip


@pytest.fixture
def cast(inside: InstitutionContext) -> casting.Cast:
    cast = casting.of(inside)
    for number, name in enumerate(NAMES):
        given, _, family = name.partition("|")
        Student.objects.create(
            student_number=f"N-{number:04}", given_name=given, family_name=family, campus_id=cast.id("campus")
        )
    return cast


@pytest.fixture
def principal(cast: casting.Cast) -> Asker:
    return as_person(cast.institution, cast.principal)


def found(asker: Asker, search: str, **more: str) -> list[str]:
    answer = asker.ask("GET", STUDENTS, QUERY_STRING=_query(search=search, page_size="200", **more))
    assert answer.status_code == 200, answer.content
    return [f"{row['given_name']} {row['family_name']}" for row in answer.json()["results"]]


def _query(**parameters: str) -> str:
    return urlencode(parameters)


def plainly(search: str) -> set[str]:
    """What `icontains` finds: the naive way."""
    rows = Student.objects.all()
    for word in search.split():
        rows = rows.filter(Q(given_name__icontains=word) | Q(family_name__icontains=word))
    return {f"{row.given_name} {row.family_name}" for row in rows}


MULLERS = {"Anna Müller", "Bruno Mueller", "Carla Muller"}
NEILLS = {"Dora O’Neill", "Emil O'Neill", "Fay ONeill"}


@pytest.mark.parametrize(
    ("search", "wanted"),
    [
        ("muller", MULLERS),
        ("Mueller", MULLERS),
        ("MÜLLER", MULLERS),
        ("Mu\u0308ller", MULLERS),
        ("mülle", MULLERS),
        ("o'neil", NEILLS),
        ("O’Neill", NEILLS),
        ("oneill", NEILLS),
        ("jean\u2011pierre", {"Jean-Pierre Lefèvre"}),
        ("jean‐pierre lefevre", {"Jean-Pierre Lefèvre"}),
        ("jeanpierre", {"Jean-Pierre Lefèvre"}),
        ("Jonhson", {"Michael Johnson"}),
        ("micheal", {"Michael Johnson"}),
        ("jonhson micheal", {"Michael Johnson"}),
        ("zoe angstrom", {"Zoë Ångström"}),
        ("Gross", {"Max Groß"}),
        ("смит иванов лев", set()),
        ("n-0007", {"Michael Johnson"}),
        ("n0007", {"Michael Johnson"}),
    ],
)
def test_a_name_is_found_however_it_is_written(principal: Asker, search: str, wanted: set[str]) -> None:
    names = {f"{given} {family}" for given, _, family in (name.partition("|") for name in NAMES)}
    assert set(found(principal, search)) & names == wanted
    if wanted:
        assert plainly(search) != wanted, "negative control: the naive way would do"


@pytest.mark.parametrize(
    ("search", "wanted"), [("иван", "Лев Иванов"), ("张", "伟 张"), ("伟 张", "伟 张"), ("حمد", "محمد العربي")]
)
def test_names_in_other_scripts_are_found_by_a_part(principal: Asker, search: str, wanted: str) -> None:
    assert found(principal, search) == [wanted]


@pytest.mark.parametrize(
    ("search", "wanted"),
    [
        ("100%_\\", ["Ines 100%_\\"]),
        ("0%", ["Ines 100%_\\"]),
        ("0%_", ["Ines 100%_\\"]),
        ("00%", ["Ines 100%_\\"]),
        ("1%0", []),
        ("1_0", []),
        ("%%%", []),
        ("___", []),
        ("0％＿", ["Ines 100%_\\"]),
        ("1％0", []),
        ("\\\\", []),
        ("%s %(a)s {0}", []),
        ("x' OR 1=1", []),
        ("a'); DROP TABLE school_student; --", []),
    ],
)
def test_nothing_that_is_typed_is_a_wildcard_or_sql(principal: Asker, search: str, wanted: list[str]) -> None:
    assert found(principal, search) == wanted


def test_the_best_matches_come_first(principal: Asker) -> None:
    assert found(principal, "anna")[:2] == ["Anna Müller", "Joanna Smith"]
    assert found(principal, "joanna")[0] == "Joanna Smith"
    assert found(principal, "joanna", ordering="family_name")[0] != "Joanna Smith", "negative control: by name"
    assert found(principal, "anna", ordering="-given_name")[0] == "Joanna Smith"


def test_cursors_walk_the_ranked_list_once_forwards_and_backwards(principal: Asker) -> None:
    whole = found(principal, "n-00")
    assert len(whole) == len(NAMES)
    for search, size in (("n-00", 4), ("muller", 1), ("mülle n", 1)):
        everything, seen, pages = found(principal, search), [], []
        url: str | None = f"{STUDENTS}?{_query(search=search, page_size=str(size), count='true')}"
        while url:
            page = principal.get(url.partition("localhost")[2] or url).json()
            assert page["count"] == len(everything)
            seen += [f"{row['given_name']} {row['family_name']}" for row in page["results"]]
            pages.append(page)
            url = page["next"]
        assert seen == everything
        for page, before in zip(pages[1:], pages, strict=False):
            back = principal.get(page["previous"].partition("localhost")[2]).json()
            assert back["results"] == before["results"]


def test_a_cursor_of_one_question_does_not_fit_another(principal: Asker) -> None:
    cursor = principal.get(f"{STUDENTS}?search=muller&page_size=1").json()["next"].rpartition("cursor=")[2]
    for query in ("search=anna", "ordering=family_name", "search=muller&ordering=family_name"):
        answer = principal.get(f"{STUDENTS}?{query}&cursor={cursor}")
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


def test_the_resemblance_is_not_shown_and_columns_can_be_chosen(principal: Asker) -> None:
    rows = principal.get(f"{STUDENTS}?search=muller").json()["results"]
    assert tuple(rows[0]) == StudentViewSet.all_fields
    assert tuple(principal.get(f"{STUDENTS}?search=muller&fields=email").json()["results"][0]) == ("id", "email")


def test_search_stays_within_scope(cast: casting.Cast) -> None:
    east = Campus.objects.create(code="EAST", name="East")
    Student.objects.filter(given_name="Carla").update(campus=east)
    take_all(cast.teacher)
    give(cast.teacher, "school.view_student", casting.Scope.CAMPUS, east.pk)
    assert found(as_person(cast.institution, cast.teacher), "mueller") == ["Carla Muller"]


def test_a_kind_without_stored_text_is_searched_the_same_way(principal: Asker) -> None:
    Campus.objects.create(code="Z", name="Zürich-Örlikon")
    for search in ("zuerich", "Zürihc", "oerlikon", "zurichorlikon"):
        rows = principal.get(f"/api/v1/school/campuses/?{_query(search=search)}").json()["results"]
        assert [row["name"] for row in rows] == ["Zürich-Örlikon"], search
    assert stored_columns(Campus) == set()


@pytest.mark.parametrize("resource", [StudentViewSet, GuardianViewSet, StaffViewSet])
def test_the_stored_text_holds_the_searched_columns_and_no_other(resource: type[StudentViewSet]) -> None:
    """A text of more columns would tell, by what is found, what the resource does not show."""
    assert stored_columns(resource.queryset.model) == set(resource.search)
    assert set(resource.search) <= set(resource.all_fields)
    assert "search_text" not in resource.all_fields


def test_a_word_reaches_as_far_as_it_is_long() -> None:
    words = {word.text: word.reach for word in words_of("an Li anna o'neil S-0012 a@b.test 张 ян")}
    assert words == {
        "an": Reach.BEGINNING, "Li": Reach.BEGINNING, "ян": Reach.BEGINNING, "张": Reach.WITHIN,
        "anna": Reach.FUZZY, "o'neil": Reach.FUZZY, "S-0012": Reach.WITHIN, "a@b.test": Reach.WITHIN,
    }  # fmt: skip


def test_one_or_two_letters_stand_for_the_beginning_of_a_word(principal: Asker) -> None:
    assert "Joanna Smith" in found(principal, "sm")
    assert "Joanna Smith" not in found(principal, "mi")
    assert found(principal, "zo") == ["Zoë Ångström"]


def test_the_index_answers_words_beginnings_and_resemblance(cast: casting.Cast) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for condition in ("LIKE '%%muller%%'", "LIKE '%% mu%%'", "OPERATOR(public.%%>) 'muller'"):
            cursor.execute(f"EXPLAIN SELECT id FROM school_student WHERE search_text {condition}", ())
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "school_student_by_text" in plan, condition


def test_the_function_says_what_it_is_and_qualifies_what_it_calls(cast: casting.Cast) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT provolatile, proparallel, proisstrict FROM pg_proc"
            " WHERE proname = 'lyceum_fold' AND pronamespace = 'public'::regnamespace"
        )
        assert cursor.fetchall() == [("i", "s", True)]
        cursor.execute("SET LOCAL search_path = pg_temp")
        cursor.execute("SELECT public.lyceum_fold('Æther–Œuvre ﬁn')")
        assert cursor.fetchone() == ("atherouvre fin",)
        cursor.execute("SHOW pg_trgm.word_similarity_threshold")
        assert cursor.fetchone() == ("0.33",)
