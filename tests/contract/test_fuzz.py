"""Whatever fits the OpenAPI document, and whatever does not, no request makes a 500, and no answer is undocumented."""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import pytest
import schemathesis
from django.db import transaction
from django.http import HttpResponse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shared_apps.core.api import querystring
from shared_apps.core.context import InstitutionContext, platform
from tests import cast as casting
from tests.api import Asker, as_person
from tests.contract.documented import difference, document
from tests.contract.served import SERVED

DOCUMENT = document("institution")
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
# The kit's addresses that take no body are the same code for every resource: one resource stands for all.
STANDS_FOR_ALL = "/api/v1/school/rooms/"


def worth_asking(method: str, path: str) -> bool:
    """Whether a test of its own says more: lists and records are read by others, PUT takes what POST takes."""
    if not path.startswith(tuple(SERVED)):
        return True
    if method == "get" and path.partition("{")[0] in SERVED and path.endswith(("{id}/", *SERVED)):
        return False
    if path.startswith(STANDS_FOR_ALL):
        return True
    return method in ("post", "patch") and not path.endswith(("/restore/", "/import/"))


OPERATIONS = [
    operation
    for operation in (found.ok() for found in SCHEMA.get_all_operations())
    if worth_asking(operation.method, operation.path)
]
NASTY = st.sampled_from(
    ["", "\x00", "%", "%s", "' OR 1=1 --", "\\", "\ud7ff", "\U0001f600", "null", "-1", "9" * 400, "1e400", "true", "[]",
     "{}", "0001-01-01", "9999-12-31", "10000-01-01", "2026-02-30", "24:00", "٣", "a,b,,c", "../..", "<x>", "x" * 5000]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NASTY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=5,
)


def bounded(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture
def principal(db: None, greenwood: InstitutionContext) -> Asker:
    asker = as_person(greenwood, casting.of(greenwood).principal)
    assert asker.token
    return asker


def undone(asker: Asker, method: str, url: str, body: bytes | None = None, **headers: str) -> HttpResponse:
    """The answer to a request whose effects are taken back."""
    with platform(), transaction.atomic():
        answer = asker.ask(method, url, body, **headers)
        transaction.set_rollback(True)
    return answer


def demand_no_defect(answer: HttpResponse, asked: Any) -> None:
    assert answer.status_code < 500, (asked, answer.content[:500])
    if answer.status_code >= 400:
        problem = json.loads(answer.content)
        assert problem["status"] == answer.status_code, asked
        assert problem["code"], asked
        assert problem["detail"], asked


def demand_documented(answer: HttpResponse, kind: str, method: str, path: str) -> None:
    """The document names this status, this media type for it, and the form of this body. Another method is none."""
    if method.lower() in document(kind)["paths"][path]:
        assert difference(kind, method.upper(), path, answer) is None
    else:
        assert answer.status_code in (404, 405)


def body_of(found: dict[str, Any]) -> dict[str, Any] | None:
    """The documented example of an operation's JSON body."""
    content = found.get("requestBody", {}).get("content", {}).get("application/json", {})
    return next((dict(example["value"]) for example in content.get("examples", {}).values()), None)


DOCUMENTED = [
    (method, path, found)
    for path, methods in DOCUMENT["paths"].items()
    for method, found in methods.items()
    if isinstance(found, dict) and "responses" in found
]
BODIES = [
    (method, path, body)
    for method, path, found in DOCUMENTED
    if (body := body_of(found)) is not None and worth_asking(method, path)
]


def named(path: str, key: str) -> str:
    return path.replace("{id}", key)


@pytest.fixture
def key_of(principal: Asker) -> Callable[[str], str]:
    """The key of a record that stands at a documented path."""

    def key_of(path: str) -> str:
        rows = principal.get(path.partition("{id}")[0]).json().get("results") if "{id}" in path else None
        return rows[0]["id"] if rows else str(UUID(int=7))

    return key_of


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda found: f"{found.method.upper()} {found.path}")
def test_no_request_after_the_document_makes_a_500(
    principal: Asker, key_of: Callable[[str], str], operation: Any
) -> None:
    key = key_of(operation.path)

    @bounded(2)
    @given(operation.as_strategy())
    def ask(case: Any) -> None:
        query = f"?{urlencode(case.query or {}, doseq=True, errors='replace')}"
        body = json.dumps(case.body).encode() if isinstance(case.body, dict | list) else None
        answer = undone(principal, case.method, named(operation.path, key) + query, body)
        demand_no_defect(answer, case)
        demand_documented(answer, "institution", operation.method, operation.path)

    ask()


@pytest.mark.parametrize(("method", "path", "example"), BODIES, ids=[f"{m.upper()} {p}" for m, p, _ in BODIES])
def test_no_value_in_a_body_makes_a_500(
    principal: Asker, key_of: Callable[[str], str], method: str, path: str, example: dict[str, Any]
) -> None:
    url = named(path, key_of(path))

    @bounded(4)
    @given(st.dictionaries(st.sampled_from(sorted(example)) | NASTY, VALUES, min_size=1, max_size=3))
    def ask(odd: dict[str, Any]) -> None:
        for body in ({**example, **odd}, odd):
            answer = undone(principal, method.upper(), url, json.dumps(body).encode())
            demand_no_defect(answer, body)
            demand_documented(answer, "institution", method, path)

    ask()


@pytest.mark.parametrize("path", SERVED)
def test_no_parameter_makes_a_500(principal: Asker, path: str) -> None:
    known = sorted(SERVED[path].reader().grammar.known)

    @bounded(15)
    @given(st.lists(st.tuples(st.sampled_from(known) | NASTY, NASTY), max_size=3), st.binary(max_size=6))
    def ask(pairs: list[tuple[str, str]], raw: bytes) -> None:
        for query in (urlencode(pairs, errors="replace"), raw.decode("latin-1").replace("#", "")):
            answer = undone(principal, "GET", f"{path}?{query}")
            demand_no_defect(answer, query)
            demand_documented(answer, "institution", "get", path)

    ask()


@pytest.mark.parametrize("path", SERVED)
def test_no_key_makes_a_500(principal: Asker, path: str) -> None:
    @bounded(8)
    @given(NASTY | st.text("0123456789abcdef-_{}", min_size=36, max_size=36))
    def ask(key: str) -> None:
        for method in ("GET", "PATCH", "DELETE"):
            url = f"{path}{quote(key, safe='', errors='replace')}/"
            answer = undone(principal, method, url, b"{}")
            demand_no_defect(answer, (method, key))
            demand_documented(answer, "institution", method, f"{path}{{id}}/")

    ask()


def test_no_bytes_in_a_body_make_a_500(principal: Asker) -> None:
    @bounded(60)
    @given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), st.sampled_from(list(SERVED)))
    def ask(raw: bytes, path: str) -> None:
        answer = undone(principal, "POST", path, raw)
        demand_no_defect(answer, (path, raw))
        demand_documented(answer, "institution", "post", path)

    ask()


OPERATORS_OPERATIONS = [
    found.ok()
    for found in schemathesis.openapi.from_dict(document("operator")).get_all_operations()
    if found.ok().path.startswith("/api/v1/platform/")  # the rest is what institutions serve too
]


@pytest.mark.parametrize("operation", OPERATORS_OPERATIONS, ids=lambda found: f"{found.method.upper()} {found.path}")
def test_operators_are_answered_as_their_document_says(db: None, console: InstitutionContext, operation: Any) -> None:
    asker = as_person(console, casting.of(console).operator)
    keys = [row["id"] for row in asker.get("/api/v1/platform/institutions/").json()["results"]] + [str(UUID(int=7))]

    @bounded(4)
    @given(operation.as_strategy(), st.sampled_from(keys))
    def ask(case: Any, key: str) -> None:
        query = f"?{urlencode(case.query or {}, doseq=True, errors='replace')}"
        # An institution that is really made commits: what is asked of the list is never a whole form.
        body = case.body if isinstance(case.body, dict) else {}
        if operation.path == "/api/v1/platform/institutions/":
            body = {**body, "slug": "-"}
        answer = undone(asker, case.method, named(operation.path, key) + query, json.dumps(body).encode())
        demand_no_defect(answer, case)
        demand_documented(answer, "operator", operation.method, operation.path)

    ask()


ODD_HEADERS: tuple[dict[str, str], ...] = tuple(
    {name: value}
    for name, values in (
        ("HTTP_IDEMPOTENCY_KEY", ("", " ", '""', "a b", "\u00fc", "x" * 300, "\x00")),
        ("HTTP_IF_MATCH", ("", "*", "nonsense", '"', 'W/"a"', '"a", "b"', '"00000000000000000000000000000000"')),
        (
            "CONTENT_TYPE",
            ("", "text/plain", "application/xml", "application/json; charset=utf-7", "multipart/form-data"),
        ),
        ("HTTP_ACCEPT", ("text/html", "nonsense", "application/json;q=0")),
    )
    for value in values
)
MISSING = UUID(int=7)


def odd_answers(asker: Asker, kind: str, key_of: Callable[[str], str]) -> Iterator[str]:
    """How the answers to each write of the document differ from it, with odd headers, odd bodies and a key used twice.

    Every operation gets each sixth of the oddities, the next one the next: the kit reads them alike for all.
    """
    writes = [
        (path, method)
        for path, methods in document(kind)["paths"].items()
        for method in ("post", "put", "patch", "delete")
        if method in methods and path not in UNSAFE
    ]
    for number, (path, method) in enumerate(writes):
        url = re.sub(r"{\w+}", str(MISSING), named(path, key_of(path)))
        asks: list[tuple[bytes, dict[str, str]]] = [(body, {}) for body in ODD_BODIES[number % 6 :: 6]]
        asks += [(b"{}", headers) for headers in ODD_HEADERS[number % 6 :: 6]]
        # The key is kept with the first answer, if that was a good one; the second body is another.
        asks += [(body, {"HTTP_IDEMPOTENCY_KEY": "used"}) for body in (b"{}", b'{"a": 1}')]
        with platform(), transaction.atomic():
            answers = [asker.ask(method.upper(), url, body, **headers) for body, headers in asks]
            transaction.set_rollback(True)
        for answer in answers:
            demand_no_defect(answer, (method, path))
            if how := difference(kind, method.upper(), path, answer):
                yield how


# Ends the asker's own session, so that what follows would be 401.
UNSAFE = ("/api/v1/auth/logout/",)
ODD_BODIES = (b"", b"[]", b"null", b'"text"', b"{", b"\xff", b'{"no such field": 1}', b"[" * 2000)


@pytest.mark.parametrize("kind", ["institution", "operator"])
def test_odd_headers_and_bodies_are_answered_as_the_document_says(
    db: None, greenwood: InstitutionContext, console: InstitutionContext, kind: str
) -> None:
    place = greenwood if kind == "institution" else console
    cast = casting.of(place)
    asker = as_person(place, cast.principal if kind == "institution" else cast.operator)
    assert asker.token

    @cache
    def rows(path: str) -> list[dict[str, Any]]:
        return asker.get(path).json().get("results", []) if "get" in document(kind)["paths"].get(path, {}) else []

    def key_of(path: str) -> str:
        found = rows(path.partition("{id}")[0]) if "{id}" in path else []
        return found[-1]["id"] if found else str(MISSING)

    assert list(odd_answers(asker, kind, key_of)) == []


def test_an_answer_that_no_document_names_would_be_found(principal: Asker) -> None:
    """Negative control: a status, a media type and a member of the body that are not in the document."""
    path = "/api/v1/school/students/"
    operation = DOCUMENT["paths"][path]["post"]
    answer = undone(principal, "POST", path, b"{}")
    assert difference("institution", "POST", path, answer) is None
    silent = {**operation, "responses": {key: found for key, found in operation["responses"].items() if key != "400"}}
    assert "does not document 400" in str(difference("institution", "POST", path, answer, silent))
    answer["Content-Type"] = "text/html"
    assert "does not document text/html" in str(difference("institution", "POST", path, answer))
    page = principal.get(path)
    assert difference("institution", "GET", path, page) is None
    page.content = page.content.replace(b'"family_name":"', b'"family_name":7,"x":"', 1)
    assert "7 is not of type 'string'" in str(difference("institution", "GET", path, page))


def test_a_view_that_breaks_would_be_found(principal: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    monkeypatch.setattr(querystring, "MOST_TEXT", None)
    with pytest.raises(AssertionError, match="internal_error"):
        demand_no_defect(undone(principal, "GET", "/api/v1/school/students/?family_name=a"), None)
