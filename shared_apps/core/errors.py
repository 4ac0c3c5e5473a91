"""One error type, raised where the rule lives and rendered in one place as application/problem+json (RFC 9457)."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import orjson
import structlog
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig
from django.core.exceptions import ValidationError as DjangoValidationError
from django.http import Http404, HttpResponse
from rest_framework import exceptions as drf

log = structlog.get_logger(__name__)
TYPE = "/problems/{code}"


class Problem(Exception):
    """A refusal: what, where and how to mend it.

    `errors` lists places as {"pointer", "detail", "code"}; a pointer is a JSON pointer into the body (RFC 6901) or
    `?name` for a query parameter.
    """

    status: ClassVar[int] = 500
    code: str = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        errors: Sequence[dict[str, str]] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.code = code or type(self).code
        self.errors = list(errors)
        self.headers = headers or {}

    @classmethod
    def at(cls, pointer: str, detail: str, *, code: str = "invalid") -> Self:
        """A refusal of one place of the request."""
        return cls(detail, code=code, errors=[{"pointer": pointer, "detail": detail, "code": code}])

    def body(self, request_id: str) -> dict[str, Any]:
        return {
            "type": TYPE.format(code=self.code),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            "errors": self.errors,
        }


class Invalid(Problem):
    status, code, title = 400, "invalid", "Bad request"


class Unauthenticated(Problem):
    status, code, title = 401, "unauthenticated", "Sign in first"

    def __init__(self, detail: str = "", **more: Any) -> None:
        super().__init__(detail, **more)
        self.headers.setdefault("WWW-Authenticate", 'Bearer realm="lyceum"')


class Forbidden(Problem):
    status, code, title = 403, "forbidden", "Not allowed"


class NotFound(Problem):
    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(Problem):
    status, code, title = 405, "method_not_allowed", "Method not allowed"


class NotAcceptable(Problem):
    status, code, title = 406, "not_acceptable", "Not acceptable"


class Conflict(Problem):
    status, code, title = 409, "conflict", "Conflict"


class Gone(Problem):
    status, code, title = 410, "gone", "Gone"


class TooLarge(Problem):
    status, code, title = 413, "too_large", "Too large"


class Unsupported(Problem):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class TooMany(Problem):
    status, code, title = 429, "rate_limited", "Too many requests"


class Unavailable(Problem):
    status, code, title = 503, "unavailable", "Unavailable for the moment"


class InternalError(Problem):
    """What a user sees of a defect; the traceback goes to the log under the same request id."""


BY_STATUS: dict[int, type[Problem]] = {
    kind.status: kind
    for kind in (
        Invalid,
        Unauthenticated,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        NotAcceptable,
        Conflict,
        TooLarge,
        Unsupported,
        TooMany,
    )
}


def field_errors(detail: Any, pointer: str = "") -> list[dict[str, str]]:
    """DRF's nested error detail as a flat list of {"pointer", "detail", "code"}."""
    if isinstance(detail, dict):
        found: list[dict[str, str]] = []
        for name, inner in detail.items():
            place = pointer if name == "non_field_errors" else f"{pointer}/{name}"
            found += field_errors(inner, place)
        return found
    if isinstance(detail, list):
        found = []
        for index, inner in enumerate(detail):
            nested = isinstance(inner, dict | list)
            found += field_errors(inner, f"{pointer}/{index}" if nested else pointer)
        return found
    return [{"pointer": pointer or "/", "detail": str(detail), "code": getattr(detail, "code", "invalid")}]


def as_problem(error: BaseException) -> Problem | None:
    """The problem that an expected exception stands for, None for a defect."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, drf.ValidationError):
        errors = field_errors(error.detail)
        return Invalid(errors[0]["detail"] if len(errors) == 1 else "Some values are refused.", errors=errors)
    if isinstance(error, drf.APIException):
        kind = BY_STATUS.get(error.status_code)
        if kind is None:
            return None
        problem = kind(str(error.detail))
        if isinstance(error, drf.MethodNotAllowed | drf.ParseError | drf.UnsupportedMediaType):
            problem.code = kind.code
        return problem
    if isinstance(error, DjangoValidationError):
        if hasattr(error, "error_dict"):
            errors = [
                {
                    "pointer": "/" if name == "__all__" else f"/{name}",
                    "detail": message,
                    "code": item.code or "invalid",
                }
                for name, items in error.error_dict.items()
                for item in items
                for message in item.messages
            ]
        else:
            errors = [{"pointer": "/", "detail": message, "code": "invalid"} for message in error.messages]
        return Invalid(errors[0]["detail"] if len(errors) == 1 else "Some values are refused.", errors=errors)
    if isinstance(error, Http404):
        return NotFound()
    if isinstance(error, PermissionDenied):
        return Forbidden()
    if isinstance(error, RequestDataTooBig):
        return TooLarge("The body is larger than this address accepts.")
    if isinstance(error, BadRequest):
        return Invalid(str(error))
    return None


def problem_response(problem: Problem, request_id: str) -> HttpResponse:
    """The answer for a problem."""
    body = orjson.dumps(problem.body(request_id))
    return HttpResponse(
        body, status=problem.status, content_type="application/problem+json", headers=problem.headers or None
    )


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """REST framework's hook; what is no problem goes on to the request middleware, which logs it."""
    problem = as_problem(error)
    if problem is None:
        return None
    return problem_response(problem, getattr(context["request"], "request_id", ""))
