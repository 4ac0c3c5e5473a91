"""Every layer's refusal becomes one kind of problem (RFC 9457); a defect becomes none."""

from typing import Any

import orjson
import pytest
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, ValidationError
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError, transaction
from django.db.models import ProtectedError
from django.http import Http404
from rest_framework import exceptions as drf
from rest_framework import serializers

from shared_apps.core import errors
from shared_apps.core.context import InstitutionContext
from shared_apps.core.errors import Conflict, Invalid, Problem, Unauthenticated, problem_response
from shared_apps.core.problems import as_problem, constraint_name, exception_handler, field_errors
from tenant_apps.academics.models import Enrolment
from tenant_apps.school.models import Campus, Room, Student
from tests import cast as casting

MEMBERS = {"type", "title", "status", "detail", "code", "request_id", "errors"}
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Problem)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_problem_is_rendered_with_all_its_members(kind: type[Problem]) -> None:
    answer = problem_response(kind("What and where.", headers={"X-More": "1"}), "of-the-request")
    body = orjson.loads(answer.content)
    assert set(body) == MEMBERS
    assert answer.status_code == body["status"] == kind.status
    assert answer["Content-Type"] == "application/problem+json"
    assert body["type"] == f"/problems/{body['code']}"
    assert (body["detail"], body["request_id"]) == ("What and where.", "of-the-request")
    assert answer["X-More"] == "1"


def test_no_two_statuses_share_a_code() -> None:
    assert len({kind.code for kind in KINDS}) == len({kind.status for kind in KINDS})


def test_a_refusal_without_a_word_says_its_title() -> None:
    assert Conflict().detail == "Conflict"
    assert str(Invalid("Said.")) == "Said."


def test_sign_in_is_asked_for_as_http_wants_it() -> None:
    assert Unauthenticated().headers["WWW-Authenticate"].startswith("Bearer")


EXPECTED: list[tuple[BaseException, int, str]] = [
    (Invalid("x", code="own_code"), 400, "own_code"),
    (drf.ParseError(), 400, "invalid"),
    (drf.NotAuthenticated(), 401, "unauthenticated"),
    (drf.AuthenticationFailed(), 401, "unauthenticated"),
    (drf.PermissionDenied(), 403, "forbidden"),
    (drf.NotFound(), 404, "not_found"),
    (drf.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
    (drf.NotAcceptable(), 406, "not_acceptable"),
    (drf.UnsupportedMediaType("a/b"), 415, "unsupported_media_type"),
    (drf.Throttled(), 429, "rate_limited"),
    (Http404(), 404, "not_found"),
    (PermissionDenied(), 403, "forbidden"),
    (RequestDataTooBig(), 413, "too_large"),
    (BadRequest("no"), 400, "invalid"),
    (DataError("out of range"), 400, "bad_value"),
    (OperationalError("gone"), 503, "unavailable"),
    (InterfaceError("closed"), 503, "unavailable"),
    (ValidationError("wrong"), 400, "invalid"),
    (ValidationError({"name": ValidationError("twice", "unique")}), 409, "conflict"),
    (ValidationError({"starts_on": ValidationError("both", "term_overlap")}), 409, "conflict"),
    (ValidationError({"a": ValidationError("twice", "unique"), "b": ValidationError("bad", "bad")}), 400, "invalid"),
]


@pytest.mark.parametrize(("error", "status", "code"), EXPECTED, ids=lambda v: type(v).__name__ if v != 400 else "")
def test_an_expected_exception_becomes_its_problem(error: BaseException, status: int, code: str) -> None:
    problem = as_problem(error)
    assert problem is not None
    assert (problem.status, problem.code) == (status, code)
    orjson.dumps(problem.body("x"))


@pytest.mark.parametrize(
    "error", [RuntimeError(), KeyError("x"), ProgrammingError("no column"), drf.APIException(), AssertionError()]
)
def test_a_defect_becomes_none(error: BaseException) -> None:
    assert as_problem(error) is None


def test_rest_framework_hands_on_what_the_log_must_see() -> None:
    context: dict[str, Any] = {"request": None}
    assert exception_handler(RuntimeError(), context) is None
    assert exception_handler(OperationalError("gone"), context) is None
    answer = exception_handler(errors.Unavailable("Said by us."), context)
    assert answer is not None
    assert answer.status_code == 503


class Line(serializers.Serializer):
    amount = serializers.IntegerField()


class Order(serializers.Serializer):
    lines = Line(many=True)
    tags = serializers.ListField(child=serializers.CharField(max_length=3))


def test_a_place_is_a_json_pointer_into_the_body() -> None:
    found = field_errors(
        {
            "lines": [{}, {"amount": [drf.ErrorDetail("no", "invalid")]}],
            "non_field_errors": [drf.ErrorDetail("whole", "whole")],
            "a/b~c": [drf.ErrorDetail("odd", "unknown_field")],
        }
    )
    assert found == [
        {"pointer": "/lines/1/amount", "detail": "no", "code": "invalid"},
        {"pointer": "", "detail": "whole", "code": "whole"},
        {"pointer": "/a~1b~0c", "detail": "odd", "code": "unknown_field"},
    ]


def test_nested_bodies_name_the_deepest_place() -> None:
    order = Order(data={"lines": [{"amount": 1}, {"amount": "x"}], "tags": ["a", "long"]})
    with pytest.raises(drf.ValidationError) as caught:
        order.is_valid(raise_exception=True)
    problem = as_problem(caught.value)
    assert problem is not None
    assert [(e["pointer"], e["code"]) for e in problem.errors] == [
        ("/lines/1/amount", "invalid"),
        ("/tags/1", "max_length"),
    ]


# What the database says


def raised(action: Any) -> BaseException:
    with pytest.raises((IntegrityError, DataError)) as caught, transaction.atomic():
        action()
    return caught.value


@pytest.fixture
def cast(inside: InstitutionContext) -> casting.Cast:
    return casting.of(inside)


def test_a_duplicate_is_a_conflict_named_by_its_constraint(cast: casting.Cast) -> None:
    error = raised(lambda: Room.objects.create(campus_id=cast.id("campus"), name="Room 1"))
    problem = as_problem(error)
    assert isinstance(problem, Conflict)
    assert problem.code == "conflict"
    assert problem.errors[0]["code"] == constraint_name(error) == "school_room_name_in_campus"
    assert "Room 1" not in problem.detail


def test_an_exclusion_is_a_conflict(cast: casting.Cast) -> None:
    there = {"student_id": cast.id("ada"), "section_id": cast.id("maths")}
    error = raised(lambda: Enrolment.objects.create(**there, starts_on=casting.TURN))
    problem = as_problem(error)
    assert isinstance(problem, Conflict)
    assert problem.errors[0]["code"] == "academics_enrolment_no_overlap"


def test_a_broken_rule_of_the_table_is_a_bad_request_named_by_its_constraint(cast: casting.Cast) -> None:
    days = {"starts_on": casting.TURN, "ends_on": casting.YEAR[0]}
    there = {"student_id": cast.id("ada"), "section_id": cast.id("science")}
    problem = as_problem(raised(lambda: Enrolment.objects.create(**there, **days)))
    assert isinstance(problem, Invalid)
    assert problem.code in ("academics_enrolment_ends_after_start", "bad_value")


def test_a_reference_that_is_gone_or_still_used_is_in_use(cast: casting.Cast) -> None:
    error = raised(lambda: Room.objects.create(campus_id=cast.id("ada"), name="Nowhere"))
    problem = as_problem(error)
    assert isinstance(problem, Conflict)
    assert problem.code == "in_use"


def test_a_protected_deletion_names_what_is_in_the_way(cast: casting.Cast) -> None:
    with pytest.raises(ProtectedError) as caught:
        Campus.objects.get(pk=cast.id("campus")).delete()
    problem = as_problem(caught.value)
    assert isinstance(problem, Conflict)
    assert problem.code == "in_use"
    assert "students" in problem.detail
    assert "Ada" not in problem.detail


def test_a_text_too_long_for_its_column_is_a_bad_request(cast: casting.Cast) -> None:
    problem = as_problem(raised(lambda: Student.objects.filter(pk=cast.id("ada")).update(given_name="x" * 101)))
    assert isinstance(problem, Invalid)
    assert problem.code == "bad_value"


@pytest.mark.parametrize(
    ("said", "name"),
    [("school_room_name_in_campus", "school_room_name_in_campus"), ("academics_x_102008", "academics_x"), ("", "")],
)
def test_the_number_of_a_shard_is_no_part_of_a_constraints_name(said: str, name: str) -> None:
    class Diagnostics:
        constraint_name = said or None

    error = IntegrityError("no")
    error.__cause__ = ValueError()
    error.__cause__.diag = Diagnostics()  # type: ignore[attr-defined]
    assert constraint_name(error) == name
