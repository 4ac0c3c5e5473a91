"""The OpenAPI documents: valid, complete, true to the answers, and each host's own."""

import json
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from django.test import Client
from openapi_spec_validator import OpenAPIV31SpecValidator

from shared_apps.core.api.permissions import ANYONE
from shared_apps.core.api.schema import EXAMPLE_ID, REFUSALS
from shared_apps.core.api.views import PlatformView
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.permissions import Action
from tests import cast as casting
from tests.api import Asker, as_person, host_of
from tests.contract import making
from tests.contract.documented import complaints, document
from tests.contract.served import SERVED, patterns

KINDS = ("institution", "operator", "public")
METHODS = ("get", "post", "put", "patch", "delete")
ROOMS = (
    "Academics", "Accounts", "Audit", "Auth", "Communication", "Eventlog", "Files", "Interop", "Platform", "Reports",
    "School",
)  # fmt: skip
every_kind = pytest.mark.parametrize("kind", KINDS)


def operations(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document(kind)["paths"].items():
        for method in METHODS:
            if method in methods:
                yield f"{method.upper()} {path}", methods[method]


def examples(content: dict[str, Any]) -> list[Any]:
    found = [entry["value"] for entry in content.get("examples", {}).values()]
    return [*found, content["example"]] if "example" in content else found


@every_kind
def test_the_document_is_valid_openapi_3_1(kind: str) -> None:
    found = document(kind)
    assert found["openapi"].startswith("3.1")
    assert [str(error) for error in OpenAPIV31SpecValidator(found).iter_errors()] == []


def test_a_document_with_a_dangling_reference_would_not_be() -> None:
    """Negative control."""
    found = deepcopy(document("operator"))
    del found["components"]["schemas"]["Problem"]
    with pytest.raises(Exception, match="Problem"):
        list(OpenAPIV31SpecValidator(found).iter_errors())


@every_kind
def test_every_operation_says_what_it_is(kind: str) -> None:
    names = Counter(operation["operationId"] for _, operation in operations(kind))
    assert [name for name, count in names.items() if count > 1] == []
    for called, operation in operations(kind):
        assert operation["tags"], called
        assert operation["summary"].strip(), called
        assert operation["operationId"].replace("_", "").isalnum(), called


@every_kind
def test_every_answer_has_an_example_that_its_own_schema_accepts(kind: str) -> None:
    for called, operation in operations(kind):
        good = {status: answer for status, answer in operation["responses"].items() if status[0] == "2"}
        assert good, called
        for status, answer in good.items():
            assert ("content" in answer) == (status != "204"), called
            for content in answer.get("content", {}).values():
                assert examples(content), called
                for value in examples(content):
                    assert complaints(kind, content["schema"], value) == [], called


@every_kind
def test_every_body_has_an_example_that_its_own_schema_accepts(kind: str) -> None:
    for called, operation in operations(kind):
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            if media != "application/json":
                continue
            assert examples(content), called
            for value in examples(content):
                assert complaints(kind, content["schema"], value) == [], called


@every_kind
def test_every_operation_says_how_it_refuses(kind: str) -> None:
    for called, operation in operations(kind):
        refusals = {status: a for status, a in operation["responses"].items() if status[0] in "45"}
        assert {"400", "429"} <= set(refusals), called
        assert "404" in refusals or "{" not in called, called
        for status, answer in refusals.items():
            content = answer["content"]["application/problem+json"]
            for value in examples(content):
                assert value["status"] == int(status), called
                assert complaints(kind, content["schema"], value) == [], called
    assert set(REFUSALS) >= {"400", "401", "403", "404", "409", "429"}


@every_kind
def test_component_names_carry_their_room(kind: str) -> None:
    names = document(kind)["components"]["schemas"]
    homeless = [name for name in names if not name.removeprefix("Patched").startswith(ROOMS) and name != "Problem"]
    assert homeless == []


def test_each_kind_of_host_describes_its_own_paths_alone() -> None:
    school, console = document("institution"), document("operator")
    assert not [path for path in school["paths"] if path.startswith("/api/v1/platform/")]
    assert not [path for path in console["paths"] if path.startswith(("/api/v1/school/", "/api/v1/academics/"))]
    assert [path for path in school["paths"] if path.startswith("/api/v1/school/students/")]
    assert [path for path in console["paths"] if path.startswith("/api/v1/platform/institutions/")]
    words = json.dumps(console["components"]["schemas"])
    assert "Student" not in words
    assert "PlatformInstitution" not in json.dumps(school["components"]["schemas"])
    assert all(path.startswith("/api/v1/sign-ups/") for path in document("public")["paths"])


def test_each_host_serves_its_document_to_anyone(
    db: None, greenwood: InstitutionContext, console: InstitutionContext
) -> None:
    for context, kind in ((greenwood, "institution"), (console, "operator")):
        answer = Asker(host_of(context)).get("/api/schema/?format=json")
        assert answer.status_code == 200
        assert answer.json() == document(kind)
    bare = Client(raise_request_exception=False).get("/api/schema/", headers={"host": "localhost"})
    assert bare.json() == document("public")
    for query in ("format=yaml", "format=", "lang=de"):
        assert Asker(host_of(greenwood)).get(f"/api/schema/?{query}").status_code == 400


def test_every_documented_path_is_served_and_every_served_resource_documented() -> None:
    documented = set(document("institution")["paths"])
    for path, resource in SERVED.items():
        assert path in documented
        assert f"{path}{{id}}/" in documented
        for verb in resource.verbs.values():
            assert f"{path}{{id}}/{verb.path}/" in documented


@pytest.mark.parametrize("path", SERVED)
def test_the_documented_parameters_are_those_that_are_understood(path: str) -> None:
    grammar = SERVED[path].reader().grammar
    for target, known in ((path, grammar.known), (f"{path}{{id}}/", grammar.known_of_record)):
        listed = document("institution")["paths"][target]["get"]["parameters"]
        assert {p["name"] for p in listed if p["in"] == "query"} == set(known)
        assert {p["name"] for p in listed if p["in"] == "header"} == {"If-None-Match"}
        for parameter in listed:
            assert parameter["description"]


@every_kind
def test_every_parameter_that_a_view_takes_is_documented_and_no_other(kind: str) -> None:
    views = [(path, view) for path, pattern in patterns(kind) if (view := getattr(pattern.callback, "cls", None))]
    checked = [path for path, view in views if issubclass(view, PlatformView) and undocumented(kind, path, view) == []]
    wanted = [path for path, view in views if issubclass(view, PlatformView) and path in document(kind)["paths"]]
    assert [path for path in wanted if path not in checked] == []


def undocumented(kind: str, path: str, view: type[PlatformView]) -> list[str]:
    """What a GET takes and the document does not name, the other way round, and what has no text."""
    found = document(kind)["paths"].get(path, {}).get("get", {"parameters": []})
    listed = [parameter for parameter in found.get("parameters", ()) if parameter["in"] == "query"]
    silent = [parameter["name"] for parameter in listed if not parameter.get("description")]
    return sorted({parameter["name"] for parameter in listed} ^ set(view.parameters)) + silent


def test_a_parameter_that_is_not_documented_would_be_found() -> None:
    """Negative control."""

    class Taking(PlatformView):
        permission = ANYONE
        parameters = ("page", "page_size", "state", "search", "colour")

    assert undocumented("operator", "/api/v1/platform/institutions/", Taking) == ["colour"]


def example_of_a_new(path: str) -> dict[str, Any]:
    content = document("institution")["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    (value,) = examples(content)
    return dict(value)


@pytest.mark.parametrize("path", [path for path, resource in SERVED.items() if Action.ADD in resource.exposed])
def test_the_example_of_a_new_record_is_taken_as_it_is(
    principal: Asker, greenwood: InstitutionContext, path: str
) -> None:
    """But for the records that it must refer to, whose ids nobody can know."""
    cast = casting.of(greenwood)
    with institution(greenwood):
        making.write_ground(cast)
        real = making.new(cast, path, SERVED[path])
    example = example_of_a_new(path)
    given = {name: real[name] if value == EXAMPLE_ID else value for name, value in example.items()}
    answer = principal.post(path, given)
    assert answer.status_code == 201, (given, answer.content)


@pytest.fixture
def principal(db: None, greenwood: InstitutionContext) -> Asker:
    return as_person(greenwood, casting.of(greenwood).principal)


@pytest.mark.parametrize("path", SERVED)
def test_real_answers_are_as_documented(principal: Asker, greenwood: InstitutionContext, path: str) -> None:
    found = document("institution")["paths"]
    for query in ("?page_size=3", "?count=true&page=1"):
        answer = principal.get(f"{path}{query}").json()
        schema = found[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert complaints("institution", schema, answer) == []
    for row in answer["results"][:3]:
        schema = found[f"{path}{{id}}/"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        record = principal.get(f"{path}{row['id']}/").json()
        assert complaints("institution", schema, record) == []
        assert complaints("institution", schema, {**record, "id": None})
    with institution(greenwood):
        assert bool(answer["results"]) == (answer["count"] > 0)


@pytest.mark.parametrize("path", SERVED)
def test_real_refusals_are_as_documented(principal: Asker, path: str) -> None:
    schema = {"$ref": "#/components/schemas/Problem"}
    for answer in (
        principal.get(f"{path}?nonsense=1"),
        principal.get(f"{path}00000000-0000-7000-8000-000000000000/"),
        principal.ask("TRACE", path),
        principal.ask("POST", path, b"{"),
    ):
        assert answer.status_code >= 400
        assert complaints("institution", schema, answer.json()) == []


def test_what_the_principal_is_shown_of_the_api_needs_no_other_host(db: None, greenwood: InstitutionContext) -> None:
    for url in ("/api/docs/", "/api/redoc/"):
        page = Asker(host_of(greenwood)).get(url)
        assert page.status_code == 200
        assert not [word for word in (b"https://", b"http://", b'"//') if word in page.content], url
