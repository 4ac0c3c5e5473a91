"""Query parameters are read strictly: what cannot be understood is refused and named, never ignored."""

import base64
from datetime import date
from typing import Any
from urllib.parse import parse_qsl, quote
from uuid import UUID

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_apps.core.api.querystring import Cursor, ListGrammar, decode_cursor, pairs
from shared_apps.core.errors import Invalid
from shared_apps.core.search import words_of
from tenant_apps.eventlog.api import JobViewSet
from tenant_apps.school.api import GradeLevelViewSet, StudentGuardianViewSet, StudentViewSet
from tenant_apps.school.models import GradeLevel, Student

KEY = UUID("019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f")
NAMES = ("family_name", "given_name", "id")
PLACE = ",".join(NAMES)
NAME_FIELDS = [Student._meta.get_field(name) for name in NAMES]


def grammar_of(resource: Any) -> ListGrammar:
    return ListGrammar(
        resource.queryset.model,
        filters=resource.filters,
        searchable=bool(resource.search),
        ordering=resource.ordering,
        orderable=resource.orderable,
    )


STUDENTS = grammar_of(StudentViewSet)


def refused(query: str, grammar: ListGrammar = STUDENTS) -> Invalid:
    with pytest.raises(Invalid) as caught:
        grammar.read(query)
    return caught.value


def as_wsgi(query: str) -> str:
    """What a server makes of bytes that a client did not quote (PEP 3333)."""
    return query.encode().decode("latin-1")


def test_text_that_a_client_did_not_quote_is_read_as_utf_8() -> None:
    for text in ("Ångström", "日本", "😀", "é"):
        quoted = STUDENTS.read(f"family_name={quote(text)}")
        assert STUDENTS.read(as_wsgi(f"family_name={text}")) == quoted
        assert quoted.filters[0][1] == text


def test_the_servers_own_decoding_would_search_for_other_letters() -> None:
    """Negative control."""
    assert parse_qsl(as_wsgi("family_name=é"))[0][1] != "é"


@pytest.mark.parametrize("query", ["family_name=%ff", "%ff=1", "a=\xff", "family_name=%ED%A0%80", "a=1&" * 200 + "b=1"])
def test_what_is_no_utf_8_or_too_much_is_refused(query: str) -> None:
    assert refused(query).code == "bad_query"


def test_an_unknown_parameter_is_refused_with_the_nearest_known_one() -> None:
    problem = refused("famly_name=Reed")
    assert problem.code == "unknown_parameter"
    assert "family_name" in problem.detail
    assert problem.errors[0]["pointer"] == "?famly_name"
    assert "Known:" in refused("zzzzzzzz=1").detail
    assert refused("state=left&state=enrolled").code == "repeated_parameter"
    assert refused("family_name=a%00b").code == "nul_character"
    assert refused("%00=1").code == "nul_character"


def test_search_is_unknown_where_nothing_is_searched() -> None:
    assert refused("search=a", grammar_of(StudentGuardianViewSet)).code == "unknown_parameter"


@pytest.mark.parametrize(
    "query",
    [
        "birth_date=2014-13-01",
        "birth_date=yesterday",
        "birth_date__gte=",
        "birth_date__lt=10000-01-01",
        "birth_date__isnull=maybe",
        "campus=1",
        "campus=",
        "campus__in=019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f,",
        "state=gone",
        "state__in=left,gone",
        "state=",
        "family_name=" + "x" * 301,
        "campus__in=" + ",".join([str(KEY)] * 201),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_refused_at_its_name(query: str) -> None:
    problem = refused(query)
    assert problem.code == "bad_filter"
    assert problem.errors[0]["pointer"] == "?" + query.partition("=")[0]


@pytest.mark.parametrize("value", ["-1", "32768", "9" * 30, "9" * 5000, "1e3", "0x1", "1.5", "", "true"])
def test_a_number_beyond_its_column_is_refused(value: str) -> None:
    from tenant_apps.school.api import RoomViewSet

    assert refused(f"capacity={value}", grammar_of(RoomViewSet)).code == "bad_filter"


def test_values_are_typed_as_their_columns_are() -> None:
    read = STUDENTS.read(
        f"birth_date__gte=0001-01-01&campus__in={KEY},{KEY}&state=left&left_on__isnull=TRUE&page_size=7"
    )
    found = {lookup.name: value for lookup, value in read.filters}
    assert found == {
        "birth_date__gte": date.min,
        "campus__in": (KEY, KEY),
        "state": "left",
        "left_on__isnull": True,
    }
    assert read.page_size == 7


def test_searches_of_many_or_endless_words_are_refused() -> None:
    assert STUDENTS.read("search=%20a%20%20b%20").search == words_of("a b")
    assert STUDENTS.read("search=").search == ()
    for search, told in (("a%20" * 9, "8 words"), ("a" * 5000, "300 characters"), ("a%20" * 151, "300 characters")):
        problem = refused(f"search={search}")
        assert (problem.code, told in problem.detail) == ("bad_search", True)


def test_an_ordering_ends_with_the_id_and_it_falls_where_all_falls() -> None:
    """Then one index answers, and the cursor is one comparison of rows."""
    assert STUDENTS.read("").ordering == ("family_name", "given_name", "id")
    assert STUDENTS.read("ordering=-family_name,-given_name").ordering == ("-family_name", "-given_name", "-id")
    assert STUDENTS.read("ordering=-family_name,given_name").ordering == ("-family_name", "given_name", "id")
    assert STUDENTS.read("ordering=-id").ordering == ("-id",)
    assert grammar_of(JobViewSet).read("").ordering == ("-created_at", "-id")


@pytest.mark.parametrize("ordering", ["", ",", "nonsense", "--family_name", "+family_name", "family_name,", "id,-id"])
def test_an_ordering_that_cannot_be_followed_is_refused(ordering: str) -> None:
    assert refused(f"ordering={quote(ordering)}").code == "bad_ordering"


@settings(deadline=None, database=None, derandomize=True, max_examples=40)
@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), st.text(max_size=9), st.uuids())
def test_a_cursor_comes_back_as_it_was(family: str, given_name: str, key: UUID) -> None:
    given_name = given_name.encode(errors="replace").decode().replace("\x00", "")
    cursor = Cursor(True, (family, given_name, key))
    assert decode_cursor(cursor.encode(PLACE), PLACE, NAME_FIELDS) == cursor


def forged(*values: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(values[0] if len(values) == 1 else list(values))).decode().rstrip("=")


HERE = ",".join(NAMES)
GOOD = (HERE, 0, "Reed", "Ada", str(KEY))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "é",
        "=" * 5,
        "A" * 5000,
        forged({}),
        forged([]),
        forged("text"),
        forged(5),
        forged(*GOOD[:-1]),
        forged(*GOOD, "more"),
        forged("given_name,id", 0, "Ada", str(KEY)),
        forged(f"-{HERE}", *GOOD[1:]),
        forged(HERE, 2, *GOOD[2:]),
        forged(HERE, [], *GOOD[2:]),
        forged(HERE, 0, None, "Ada", str(KEY)),
        forged(HERE, 0, 5, "Ada", str(KEY)),
        forged(HERE, 0, ["Reed"], "Ada", str(KEY)),
        forged(HERE, 0, {"a": 1}, "Ada", str(KEY)),
        forged(HERE, 0, True, "Ada", str(KEY)),
        forged(HERE, 0, "a\x00b", "Ada", str(KEY)),
        forged(HERE, 0, "Reed", "Ada", "no id"),
        forged(HERE, 0, "Reed", "Ada", 5),
        forged(HERE, 0, "Reed", "Ada", None),
        forged(HERE, 0, "Reed", "Ada", []),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
        base64.urlsafe_b64encode(b'["family_name,given_name,id",0,"\xff","Ada","x"]').decode(),
    ],
)
def test_a_forged_cursor_is_refused(text: str) -> None:
    assert decode_cursor(forged(*GOOD), PLACE, NAME_FIELDS).values == ("Reed", "Ada", KEY)
    with pytest.raises(Invalid) as caught:
        decode_cursor(text, PLACE, NAME_FIELDS)
    assert caught.value.code == "bad_cursor"


@pytest.mark.parametrize("position", [10**6, -(10**6), 1e30, 1.5, "1", True, 2**63 - 1])
def test_a_cursor_with_a_number_beyond_its_column_is_refused(position: Any) -> None:
    fields = [GradeLevel._meta.get_field(name) for name in ("position", "id")]
    with pytest.raises(Invalid):
        decode_cursor(forged("position,id", 0, position, str(KEY)), "position,id", fields)


@pytest.mark.parametrize("number", ["0", "-1", "+1", "1.0", "1e1", "٣", "", " 1", "10001", "9" * 500])
def test_a_page_that_is_no_page_is_refused(number: str) -> None:
    assert refused(f"page={quote(number)}").code == "bad_page"


def test_a_page_and_a_cursor_exclude_each_other() -> None:
    assert refused(f"page=1&cursor={forged(*GOOD)}").code == "bad_page"


def test_an_empty_query_string_costs_nothing() -> None:
    assert pairs("") == []
    assert grammar_of(GradeLevelViewSet).read("").page_size == 50
