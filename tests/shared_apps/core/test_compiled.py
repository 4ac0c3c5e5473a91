"""The remembered query answers exactly what the ORM would: same SQL, same values, same rows in the same order."""

from collections.abc import Callable, Hashable, Sequence
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
import pytest
from django.db.models import BooleanField, CharField, F, Q, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.db.models.lookups import Exact
from django.test import RequestFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared_apps.core import search as searching
from shared_apps.core.api import ResourceViewSet, compiled, reading
from shared_apps.core.api.compiled import Compiled, compile_query
from shared_apps.core.api.reading import Sight
from shared_apps.core.clock import local_date
from shared_apps.core.context import InstitutionContext
from shared_apps.core.permissions import Principal, Reach, Scope
from tenant_apps.academics.api import EnrolmentViewSet
from tenant_apps.academics.models import Enrolment, SectionTeacher
from tenant_apps.school.api import StudentViewSet, TermViewSet
from tenant_apps.school.models import Campus, Student, StudentGuardian, Term
from tests import cast as casting

NASTY = (
    "O'Brien", '"', "100%", "a_b", "back\\slash", "\\", "%", "_", "%s", "%(name)s", "%%", "{}", "{0}", "é", "Ångström",
    "日本", "😀", "ß", "İ", "ı", "a", "A", "zq", "$1", "--", ";", "x0", "NULL", "", " ", "a b",
)  # fmt: skip
SENTINEL_TEXT = compiled._placeholder("", 0)
SENTINEL_DATE = compiled._placeholder(date.today(), 1)
SENTINEL_ID = compiled._placeholder(UUID(int=0), 2)
DAYS = (date.min, SENTINEL_DATE, date(1801, 1, 1), date(2014, 1, 2), date(2014, 1, 4), casting.TURN, date.max)
texts = st.sampled_from((*NASTY, SENTINEL_TEXT))
days = st.sampled_from(DAYS)
Query = dict[str, Any]


@pytest.fixture
def school(inside: InstitutionContext) -> casting.Cast:
    """The cast, and sixty students whose names ask for trouble."""
    cast = casting.of(inside)
    other = Campus.objects.create(code="EAST", name="East")
    Student.objects.bulk_create(
        Student(
            student_number=f"N{number}",
            given_name=NASTY[number % len(NASTY)],
            family_name=NASTY[(number * 7 + number // 31) % len(NASTY)],
            email="" if number % 3 else f"a_b{number}%@x.test",
            birth_date=None if number % 4 == 0 else DAYS[number % len(DAYS)],
            campus=other if number % 2 else Campus(pk=cast.id("campus")),
            state="left" if number % 5 == 0 else "enrolled",
        )
        for number in range(60)
    )
    students = Student.objects.filter(campus=other)
    Enrolment.objects.bulk_create(
        Enrolment(
            student=student,
            section_id=cast.id("maths" if number % 2 else "science"),
            starts_on=casting.YEAR[0] if number % 3 else casting.TURN,
            ends_on=None if number % 5 else casting.YEAR[1],
        )
        for number, student in enumerate(students)
    )
    return cast


def sight_of(resource: type[ResourceViewSet], cast: casting.Cast, role: str, *reaches: Reach) -> Sight:
    person = cast.principal if role == "principal" else getattr(cast, role)
    principal = somebody(person.user_id)
    return reading.sight(principal, reaches, resource.scopes)


def somebody(user_id: UUID) -> Principal:
    return Principal(user_id, user_id, "", (), datetime.max.replace(tzinfo=UTC))


def ask(resource: type[ResourceViewSet], seen: Sight, query: Query) -> dict[str, Any]:
    reader = resource.reader()
    text = urlencode({name: _text(value) for name, value in query.items()})
    request = RequestFactory(SERVER_NAME="greenwood.localhost").get("/list/")
    return orjson.loads(reader.many(seen, reader.grammar.read(text), request))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def walk(resource: type[ResourceViewSet], seen: Sight, query: Query) -> list[str]:
    """Every row's id, by following `next`; then back by `previous`, which must show the same pages."""
    ids, pages = [], [ask(resource, seen, query)]
    while True:
        ids += [row["id"] for row in pages[-1]["results"]]
        if pages[-1]["next"] is None:
            break
        pages.append(ask(resource, seen, {**query, "cursor": pages[-1]["next"].rpartition("cursor=")[2]}))
        assert len(pages) < 200
    for earlier, later in zip(reversed(pages[:-1]), reversed(pages[1:]), strict=True):
        back = ask(resource, seen, {**query, "cursor": later["previous"].rpartition("cursor=")[2]})
        assert back["results"] == earlier["results"]
    return ids


# What each role sees, written here a second time and without joins.


def taught(cast: casting.Cast) -> set[UUID]:
    today = local_date()
    mine = SectionTeacher.objects.filter(staff_id=cast.id("teacher")).values_list("section_id", flat=True)
    held = Enrolment.objects.filter(section_id__in=list(mine), starts_on__lte=today)
    return {row.student_id for row in held if row.ends_on is None or row.ends_on > today}


def students_seen(cast: casting.Cast) -> dict[str, tuple[tuple[Reach, ...], str, Callable[[], set[UUID]]]]:
    campus = Campus.objects.get(code="EAST").pk
    everybody = set(Student.objects.values_list("pk", flat=True))
    eastern = set(Student.objects.filter(campus=campus).values_list("pk", flat=True))
    children = {link.student_id for link in StudentGuardian.objects.filter(guardian_id=cast.id("guardian"))}
    return {
        "all": ((Reach(Scope.INSTITUTION),), "principal", lambda: everybody),
        "teacher": ((Reach(Scope.SECTION),), "teacher", lambda: taught(cast)),
        "registrar": ((Reach(Scope.CAMPUS, campus),), "principal", lambda: eastern),
        "guardian": ((Reach(Scope.OWN_CHILDREN),), "guardian", lambda: children),
        "student": ((Reach(Scope.SELF),), "student", lambda: {cast.id("cleo")}),
        "both": ((Reach(Scope.SECTION), Reach(Scope.CAMPUS, campus)), "teacher", lambda: taught(cast) | eastern),
        "section": ((Reach(Scope.SECTION, cast.id("science")),), "student", lambda: in_science(cast)),
        "nowhere": ((Reach(Scope.DEPARTMENT, campus),), "teacher", set),
    }


def in_science(cast: casting.Cast) -> set[UUID]:
    today = local_date()
    held = Enrolment.objects.filter(section_id=cast.id("science"), starts_on__lte=today)
    return {row.student_id for row in held if row.ends_on is None or row.ends_on > today}


@pytest.fixture
def same_sql(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Each query from memory is compared with one compiled afresh; tells whether each came from memory."""
    from_memory: list[bool] = []

    def compare(shape: Hashable, build: Any, values: Sequence[Any]) -> Any:
        from_memory.append(isinstance(compiled._shapes.get(shape), Compiled))
        found = compile_query(shape, build, values)
        if found is not None:
            sql, parameters = build(values).query.sql_with_params()
            assert found[0] == sql
            assert found[1] == list(parameters)
            assert [type(p) for p in found[1]] == [type(p) for p in parameters]
        return found

    monkeypatch.setattr(reading, "compile_query", compare)
    return from_memory


@st.composite
def orderings(draw: st.DrawFn, columns: tuple[str, ...]) -> str:
    chosen = draw(st.permutations(columns))[: draw(st.integers(1, 3))]
    return ",".join(draw(st.sampled_from(("", "-"))) + column for column in chosen)


def queries(filters: dict[str, st.SearchStrategy[Any]], columns: tuple[str, ...]) -> st.SearchStrategy[Query]:
    more = {
        "ordering": orderings(columns),
        "page_size": st.sampled_from((1, 3, 7, 50, 200)),
        "count": st.sampled_from((True, False)),
    }
    one_filter = st.sampled_from(sorted(filters)).flatmap(lambda name: st.fixed_dictionaries({name: filters[name]}))
    chosen = st.lists(one_filter, max_size=3).map(lambda found: {k: v for each in found for k, v in each.items()})
    return st.builds(lambda f, m: {**f, **m}, chosen, st.fixed_dictionaries({}, optional=more))


def text_of(search: tuple[str, ...]) -> str:
    return "public.lyceum_fold(' ' || " + " || ' ' || ".join(search) + ")"


def found_plainly(search: tuple[str, ...], word: searching.Word) -> tuple[str, list[str]]:
    """Whether a word is found, by another way than LIKE and the index: SQL and its parameters."""
    text, start = text_of(search), "' ' || " if word.reach is searching.Reach.BEGINNING else ""
    found = f"strpos({text}, {start}public.lyceum_fold(%s)) > 0"
    if word.reach is not searching.Reach.FUZZY:
        return f"({found})", [word.text]
    least = f"CASE WHEN length(public.lyceum_fold(%s)) < 6 THEN 0.45 ELSE {searching.SIMILAR_ENOUGH} END::float4"
    alike = f"public.word_similarity(public.lyceum_fold(%s), {text}) >= {least}"
    return f"({found} OR {alike})", [word.text] * 3


def plainly(rows: QuerySet, query: Query, search: tuple[str, ...], default: tuple[str, ...]) -> list[str]:
    """The same list by the plain ORM, and plain SQL for what is searched."""
    near: list[str] = []
    for name, value in query.items():
        if name in ("ordering", "page_size", "count", "page"):
            continue
        if name == "search":
            for word in searching.words_of(value):
                sql, words = found_plainly(search, word)
                rows = rows.filter(RawSQL(sql, words, BooleanField()))  # noqa: S611
                near.append(word.text)
        else:
            rows = rows.filter(**{name: value})
    wanted = tuple(query["ordering"].split(",")) if "ordering" in query else default
    # Whatever the tie-breaker's direction, it only orders rows that are equal in all else.
    falling = "ordering" in query and all(name.startswith("-") for name in wanted)
    if "id" not in {name.lstrip("-") for name in wanted}:
        wanted = (*wanted, "-id" if falling else "id")
    order = [F(n[1:]).desc(nulls_last=True) if n.startswith("-") else F(n).asc(nulls_last=True) for n in wanted]
    if near and "ordering" not in query:
        text = text_of(search)
        like = f"public.word_similarity(public.lyceum_fold(%s), {text}) + sign(strpos({text}, public.lyceum_fold(%s)))"
        words = [word for word in near for _ in range(2)]
        order = [RawSQL(f"(-1000 * ({' + '.join([like] * len(near))}))::int", words), *order]  # noqa: S611
    return [str(row.pk) for row in rows.order_by(*order)]


keys = st.sampled_from((SENTINEL_ID, UUID(int=0), UUID(int=2**128 - 1)))
STUDENT_FILTERS: dict[str, st.SearchStrategy[Any]] = {
    "family_name": texts,
    "family_name__icontains": texts,
    "given_name__istartswith": texts,
    "given_name__icontains": texts,
    "email__in": st.lists(st.sampled_from(("", "a_b3%@x.test", "a_b6%@x.test")), min_size=1, max_size=3, unique=True),
    "state": st.sampled_from(("left", "enrolled")),
    "state__in": st.lists(st.sampled_from(("left", "enrolled", "applied")), min_size=1, max_size=3, unique=True),
    "birth_date": days,
    "birth_date__gte": days,
    "birth_date__lt": days,
    "birth_date__isnull": st.booleans(),
    "left_on__isnull": st.booleans(),
    "user__isnull": st.booleans(),
    "user__in": st.lists(keys, min_size=1, max_size=3, unique=True),
    "campus": keys,
    "search": st.lists(texts, max_size=3).map(" ".join),
}
examples = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_a_list_of_students_is_what_the_plain_orm_returns(school: casting.Cast, same_sql: list[bool]) -> None:
    roles = {name: (who, reaches, rows()) for name, (reaches, who, rows) in students_seen(school).items()}
    campuses = st.sampled_from([*Campus.objects.values_list("pk", flat=True)])
    filters = {**STUDENT_FILTERS, "campus": campuses | keys}
    several: list[bool] = []

    @examples
    @given(st.sampled_from(sorted(roles)), queries(filters, StudentViewSet.orderable))
    def check(role: str, query: Query) -> None:
        who, reaches, visible = roles[role]
        seen = sight_of(StudentViewSet, school, who, *reaches)
        rows = Student.objects.filter(pk__in=visible)
        wanted = plainly(rows, query, StudentViewSet.search, StudentViewSet.ordering)
        several.append(len(wanted) > 1)
        first = ask(StudentViewSet, seen, query)
        assert walk(StudentViewSet, seen, {"page_size": 20, **query}) == wanted
        if query.get("count"):
            assert first["count"] == len(wanted)
        size = query.get("page_size", 50)
        assert [r["id"] for r in ask(StudentViewSet, seen, {**query, "page": 2})["results"]] == wanted[size : 2 * size]

    check()
    assert sum(several) > 30, "most answers should have rows to put in order"
    assert sum(same_sql) > len(same_sql) / 2, "most queries should come from memory"


def test_lists_of_enrolments_and_terms_are_what_the_plain_orm_returns(
    school: casting.Cast, same_sql: list[bool]
) -> None:
    sections = st.sampled_from([school.id("maths"), school.id("science"), SENTINEL_ID])
    campus = Campus.objects.get(code="MAIN").pk
    enrolment_filters = {
        "section": sections,
        "section__in": st.lists(sections, min_size=1, max_size=3, unique=True),
        "starts_on__lte": days,
        "ends_on__gt": days,
        "ends_on__isnull": st.booleans(),
        "sourced_id__isnull": st.booleans(),
        "sourced_id": st.just("'"),
    }
    term_filters = {
        "kind": st.sampled_from(Term.Kind.values),
        "kind__in": st.lists(st.sampled_from(Term.Kind.values), min_size=1, unique=True),
        "starts_on": days,
        "ends_on__gte": days,
        "parent__isnull": st.booleans(),
        "academic_year__in": st.lists(st.sampled_from((school.id("year"), SENTINEL_ID)), min_size=1, unique=True),
        "search": texts,
    }
    children = [school.id("ada"), school.id("ben")]
    visible = {
        "principal": (Reach(Scope.CAMPUS, campus), Q(section__campus=campus)),
        "guardian": (Reach(Scope.OWN_CHILDREN), Q(student__in=children)),
        "student": (Reach(Scope.SELF), Q(student=school.id("cleo"))),
        "teacher": (Reach(Scope.SECTION), Q(section=school.id("maths"))),
    }

    @examples
    @given(
        st.sampled_from(sorted(visible)),
        queries(enrolment_filters, EnrolmentViewSet.orderable),
        queries(term_filters, TermViewSet.orderable),
    )
    def check(who: str, enrolments: Query, terms: Query) -> None:
        reach, narrowing = visible[who]
        seen = sight_of(EnrolmentViewSet, school, who, reach)
        wanted = plainly(Enrolment.objects.filter(narrowing), enrolments, (), EnrolmentViewSet.ordering)
        assert walk(EnrolmentViewSet, seen, {"page_size": 20, **enrolments}) == wanted
        wanted = plainly(Term.objects.all(), terms, TermViewSet.search, TermViewSet.ordering)
        assert walk(TermViewSet, sight_of(TermViewSet, school, who, reach), {"page_size": 20, **terms}) == wanted

    check()


EVERYTHING = Sight((), ())


def forgetful_key(shape: Any) -> Any:
    """What a careless cache would use: without the literals and the number of values."""
    if isinstance(shape, tuple):
        return tuple(forgetful_key(part) for part in shape)
    return None if isinstance(shape, int) else shape


def test_an_isnull_learned_with_one_answer_gives_the_other_rightly(school: casting.Cast) -> None:
    born = {
        b["id"] for b in ask(StudentViewSet, EVERYTHING, {"birth_date__isnull": False, "page_size": 200})["results"]
    }
    unborn = {
        b["id"] for b in ask(StudentViewSet, EVERYTHING, {"birth_date__isnull": True, "page_size": 200})["results"]
    }
    assert len(born) + len(unborn) == Student.objects.count()
    assert not born & unborn


def test_a_cache_without_literals_and_counts_in_its_key_would_answer_wrongly(
    school: casting.Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above, and of every `__in`."""
    monkeypatch.setattr(compiled, "_shapes", {})
    monkeypatch.setattr(reading, "compile_query", lambda shape, *rest: compile_query(forgetful_key(shape), *rest))
    born = ask(StudentViewSet, EVERYTHING, {"birth_date__isnull": False})["results"]
    assert ask(StudentViewSet, EVERYTHING, {"birth_date__isnull": True})["results"] == born
    ask(StudentViewSet, EVERYTHING, {"state__in": ["left"], "page_size": 200})
    wrong = ask(StudentViewSet, EVERYTHING, {"state__in": ["enrolled", "left"], "page_size": 200})["results"]
    assert len(wrong) < Student.objects.count()


def test_no_two_shapes_share_one_query(school: casting.Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_shapes", {})
    lists: list[Query] = [{}, {"ordering": "-family_name,-given_name"}, {"ordering": "given_name"}, {"page": 1}]
    lists += [{name: value} for name in ("left_on__isnull", "birth_date__isnull") for value in (True, False)]
    lists += [{"state": "left"}, {"state__in": ["left"]}, {"state__in": ["left", "enrolled"]}]
    lists += [{"birth_date": DAYS[0]}, {"birth_date__lt": DAYS[0]}, {"birth_date__lte": DAYS[0]}]
    lists += [{"search": "a"}, {"search": "a b"}, {"family_name": "a"}, {"family_name__icontains": "a"}]
    reaches = [reaches for reaches, _, _ in students_seen(school).values()]
    for query in lists:
        for reach in reaches:
            ask(StudentViewSet, sight_of(StudentViewSet, school, "teacher", *reach), query)
    remembered = [shape for shape, known in compiled._shapes.items() if isinstance(known, Compiled)]
    queries_of = {(known.sql, known.parameters) for known in compiled._shapes.values() if isinstance(known, Compiled)}
    by_number = sum(1 for shape in remembered if "OFFSET" in str(shape))  # differ in what follows the ORM's query
    assert len(remembered) >= len(lists) * 5
    assert len(queries_of) == len(remembered) - by_number


def test_wildcards_of_like_are_letters(school: casting.Cast) -> None:
    for name in ("%", "_", "\\", "100%", "a_b", "%s"):
        wanted = {s.pk for s in Student.objects.all() if name.upper() in s.family_name.upper()}
        found = ask(StudentViewSet, EVERYTHING, {"family_name__icontains": name, "page_size": 200})["results"]
        assert {UUID(row["id"]) for row in found} == wanted
        assert 0 < len(wanted) < Student.objects.count()


def test_wildcards_would_match_everything_without_the_escape(
    school: casting.Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: a hole that is filled as it is."""

    def naive(self: Compiled, values: Sequence[Any]) -> list[Any]:
        return [
            f"{p.pattern[0]}{values[p.index]}{p.pattern[1]}" if isinstance(p, compiled.Hole) and p.pattern else p
            for p in self.parameters
        ]

    monkeypatch.setattr(Compiled, "fill", naive)
    found = ask(StudentViewSet, EVERYTHING, {"family_name__icontains": "%", "page_size": 200})["results"]
    assert len(found) == Student.objects.count()


def rows_by(build: Callable[[Sequence[Any]], QuerySet], *values: Any) -> list[list[Any]]:
    """Parameters of one shape asked with several values."""
    key = ("test", id(build))
    try:
        found = [compile_query(key, build, [value]) for value in values]
        return [list(query[1]) for query in found if query is not None]
    finally:
        compiled._shapes.pop(key, None)


class Computing(CharField):
    """A column that changes its values on their way to the database."""

    compute: Callable[[str], str] = str

    def get_prep_value(self, value: Any) -> Any:
        return self.compute(value)


@pytest.mark.parametrize(
    "compute", [str.lower, str.upper, str.strip, str.casefold, lambda text: text[:3]], ids=lambda f: f.__name__
)
def test_a_lookup_that_computes_with_its_text_is_never_remembered(
    inside: InstitutionContext, compute: Callable[[str], str]
) -> None:
    column = Computing()
    column.compute = compute  # type: ignore[method-assign]

    def build(values: Sequence[Any]) -> QuerySet:
        prepared = Value(column.get_prep_value(values[0]))
        return Student.objects.filter(Exact(F("family_name"), prepared)).order_by().values_list("pk")

    given = (" First Name ", "sECOND ", "Ünder")
    assert rows_by(build, *given) == [[compute(text)] for text in given]


@pytest.mark.parametrize(
    "compute",
    [lambda d: d.year, lambda d: d.month, lambda d: d.day, lambda d: d.isoweekday(), lambda d: d.replace(day=1)],
)
def test_a_scope_that_computes_with_the_date_is_never_remembered(
    inside: InstitutionContext, compute: Callable[[date], Any]
) -> None:
    def build(values: Sequence[Any]) -> QuerySet:
        lookup = "birth_date" if isinstance(compute(values[0]), date) else "birth_date__day"
        return Student.objects.filter(**{lookup: compute(values[0])}).order_by().values_list("pk")

    days = (date(2026, 11, 21), date(2027, 2, 3))
    assert rows_by(build, *days) == [[compute(day)] for day in days]


def test_an_instant_that_is_cut_to_its_day_is_never_remembered(inside: InstitutionContext) -> None:
    def build(values: Sequence[Any]) -> QuerySet:
        return Student.objects.filter(birth_date=values[0].date()).order_by().values_list("pk")

    instants = (datetime(2026, 11, 21, tzinfo=UTC), datetime(2027, 2, 3, tzinfo=UTC))
    assert rows_by(build, *instants) == [[instant.date()] for instant in instants]


def test_a_literal_that_looks_like_a_placeholder_stays_itself(inside: InstitutionContext) -> None:
    literal = compiled._placeholder(0, 0)

    def build(values: Sequence[Any]) -> QuerySet:
        return Student.objects.filter(birth_date__day=values[0]).exclude(birth_date__month=literal)

    assert [p for p in rows_by(build, 4, 5)[1] if p in (4, 5, literal)].count(literal) == 1


@pytest.mark.parametrize("reach", [Reach(Scope.SELF), Reach(Scope.OWN_CHILDREN), Reach(Scope.SECTION)])
def test_the_shape_of_every_scope_is_remembered_also_where_it_needs_no_date(
    school: casting.Cast, same_sql: list[bool], reach: Reach
) -> None:
    seen = sight_of(StudentViewSet, school, "student", reach)
    ask(StudentViewSet, seen, {})
    same_sql.clear()
    ask(StudentViewSet, seen, {})
    assert same_sql == [True]


def test_a_value_that_is_named_twice_counts_once(school: casting.Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ask(StudentViewSet, EVERYTHING, {"state__in": ["left", "applied"]})["results"]
    assert wanted
    assert ask(StudentViewSet, EVERYTHING, {"state__in": ["left", "left"]})["results"] == wanted


def test_memory_is_bounded(school: casting.Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MOST_SHAPES", 5)
    monkeypatch.setattr(compiled, "_shapes", {})
    for size in range(1, 20):
        ask(StudentViewSet, EVERYTHING, {"state__in": ["left"] * size})
        assert len(compiled._shapes) <= 5
