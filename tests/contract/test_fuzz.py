"""Whatever fits the OpenAPI document, and whatever does not, no request makes a 500."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import pytest
import schemathesis
from django.conf import settings as django_settings
from django.db import transaction
from django.http import HttpResponse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shared_apps.core.api import querystring
from shared_apps.core.api.docs import schema_of
from shared_apps.core.context import InstitutionContext, platform
from tests import cast as casting
from tests.api import Asker, as_person
from tests.contract.served import SERVED

DOCUMENT = json.loads(schema_of(django_settings.URLCONF_BY_KIND["institution"]))
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [
    operation
    for operation in (found.ok() for found in SCHEMA.get_all_operations())
    if operation.method != "get" or operation.path.partition("{")[0] not in SERVED  # those have tests of their own
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


def undone(asker: Asker, method: str, url: str, body: bytes | None = None) -> HttpResponse:
    """The answer to a request whose effects are taken back."""
    with platform(), transaction.atomic():
        answer = asker.ask(method, url, body)
        transaction.set_rollback(True)
    return answer


def demand_no_defect(answer: HttpResponse, asked: Any) -> None:
    assert answer.status_code < 500, (asked, answer.content[:500])
    if answer.status_code >= 400:
        problem = json.loads(answer.content)
        assert problem["status"] == answer.status_code, asked
        assert problem["code"], asked
        assert problem["detail"], asked


def demand_documented(answer: HttpResponse, operation: dict[str, Any], asked: Any) -> None:
    """The document names this status, and this media type for it."""
    documented = operation["responses"].get(str(answer.status_code))
    assert documented is not None, (answer.status_code, asked, answer.content[:300] if not answer.streaming else "")
    if content := documented.get("content"):
        assert answer["Content-Type"].partition(";")[0] in content, (answer.status_code, asked)


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
BODIES = [(method, path, body) for method, path, found in DOCUMENTED if (body := body_of(found)) is not None]


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
        demand_documented(answer, DOCUMENT["paths"][operation.path][operation.method], case)

    ask()


@pytest.mark.parametrize(("method", "path", "example"), BODIES, ids=[f"{m.upper()} {p}" for m, p, _ in BODIES])
def test_no_value_in_a_body_makes_a_500(
    principal: Asker, key_of: Callable[[str], str], method: str, path: str, example: dict[str, Any]
) -> None:
    url = named(path, key_of(path))

    @bounded(5)
    @given(st.dictionaries(st.sampled_from(sorted(example)) | NASTY, VALUES, min_size=1, max_size=3))
    def ask(odd: dict[str, Any]) -> None:
        for body in ({**example, **odd}, odd):
            demand_no_defect(undone(principal, method.upper(), url, json.dumps(body).encode()), body)

    ask()


@pytest.mark.parametrize("path", SERVED)
def test_no_parameter_makes_a_500(principal: Asker, path: str) -> None:
    known = sorted(SERVED[path].reader().grammar.known)

    @bounded(15)
    @given(st.lists(st.tuples(st.sampled_from(known) | NASTY, NASTY), max_size=3), st.binary(max_size=6))
    def ask(pairs: list[tuple[str, str]], raw: bytes) -> None:
        demand_no_defect(undone(principal, "GET", f"{path}?{urlencode(pairs, errors='replace')}"), pairs)
        unquoted = raw.decode("latin-1").replace("#", "")
        demand_no_defect(undone(principal, "GET", f"{path}?{unquoted}"), raw)

    ask()


@pytest.mark.parametrize("path", SERVED)
def test_no_key_makes_a_500(principal: Asker, path: str) -> None:
    @bounded(8)
    @given(NASTY | st.text("0123456789abcdef-_{}", min_size=36, max_size=36))
    def ask(key: str) -> None:
        for method in ("GET", "PATCH", "DELETE"):
            url = f"{path}{quote(key, safe='', errors='replace')}/"
            demand_no_defect(undone(principal, method, url, b"{}"), (method, key))

    ask()


def test_no_bytes_in_a_body_make_a_500(principal: Asker) -> None:
    @bounded(60)
    @given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), st.sampled_from(list(SERVED)))
    def ask(raw: bytes, path: str) -> None:
        demand_no_defect(undone(principal, "POST", path, raw), (path, raw))

    ask()


OPERATORS_DOCUMENT = json.loads(schema_of(django_settings.URLCONF_BY_KIND["operator"]))
OPERATORS_OPERATIONS = [
    found.ok()
    for found in schemathesis.openapi.from_dict(OPERATORS_DOCUMENT).get_all_operations()
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
        demand_documented(answer, OPERATORS_DOCUMENT["paths"][operation.path][operation.method], case)

    ask()


def test_an_answer_that_no_document_names_would_be_found(principal: Asker) -> None:
    """Negative control."""
    operation = DOCUMENT["paths"]["/api/v1/school/students/"]["post"]
    answer = undone(principal, "POST", "/api/v1/school/students/", b"{}")
    demand_documented(answer, operation, None)
    silent = {**operation, "responses": {key: found for key, found in operation["responses"].items() if key != "400"}}
    with pytest.raises(AssertionError):
        demand_documented(answer, silent, None)


def test_a_view_that_breaks_would_be_found(principal: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    monkeypatch.setattr(querystring, "MOST_TEXT", None)
    with pytest.raises(AssertionError, match="internal_error"):
        demand_no_defect(undone(principal, "GET", "/api/v1/school/students/?family_name=a"), None)
