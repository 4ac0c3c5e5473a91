"""What an exception means to the caller: the one place where refusals of every layer become problems."""

from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, ValidationError
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404, HttpResponse
from rest_framework import exceptions as drf

from shared_apps.core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    Problem,
    TookTooLong,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    Unsupported,
    problem_response,
)

QUERY_CANCELED = "57014"  # of PostgreSQL
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
            place = pointer if name == "non_field_errors" else f"{pointer}/{escaped(name)}"
            found += field_errors(inner, place)
        return found
    if isinstance(detail, list):
        found = []
        for index, inner in enumerate(detail):
            nested = isinstance(inner, dict | list)
            found += field_errors(inner, f"{pointer}/{index}" if nested else pointer)
        return found
    return [{"pointer": pointer, "detail": str(detail), "code": getattr(detail, "code", "invalid")}]


def escaped(name: Any) -> str:
    """A member's name within a JSON pointer (RFC 6901, section 3)."""
    return str(name).replace("~", "~0").replace("/", "~1")


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
        if isinstance(error, drf.UnsupportedMediaType):
            problem.detail = f"{problem.detail} Send application/json; multipart/form-data only with a file."
        return problem
    if isinstance(error, ValidationError):
        if hasattr(error, "error_dict"):
            errors = [
                {
                    "pointer": "" if name == "__all__" else f"/{name}",
                    "detail": message,
                    "code": item.code or "invalid",
                }
                for name, items in error.error_dict.items()
                for item in items
                for message in item.messages
            ]
        else:
            errors = [{"pointer": "", "detail": message, "code": "invalid"} for message in error.messages]
        kind = Conflict if conflicting(error) else Invalid
        return kind(errors[0]["detail"] if len(errors) == 1 else "Some values are refused.", errors=errors)
    if isinstance(error, Http404):
        return NotFound()
    if isinstance(error, PermissionDenied):
        return Forbidden()
    if isinstance(error, RequestDataTooBig):
        return TooLarge("The body is larger than this address accepts.")
    if isinstance(error, BadRequest):
        return Invalid(str(error))
    return refusal(error)


def constraint_name(error: BaseException) -> str:
    """The violated constraint, from the diagnostics, without the shard number that Citus appends."""
    cause = error.__cause__ or error
    name = getattr(getattr(cause, "diag", None), "constraint_name", None) or ""
    head, _, tail = name.rpartition("_")
    return head if head and len(tail) >= 6 and tail.isdigit() else name


def was_cancelled(error: BaseException) -> bool:
    """Whether the server stopped the statement: its time was up, or somebody there ended it."""
    return getattr(error.__cause__ or error, "sqlstate", None) == QUERY_CANCELED


def refusal(error: BaseException) -> Problem | None:
    """What a refusal of the database means to the caller; None when it is a defect of ours."""
    if isinstance(error, ProtectedError | RestrictedError):
        kept = error.protected_objects if isinstance(error, ProtectedError) else error.restricted_objects
        names = sorted({str(item._meta.verbose_name_plural) for item in kept})
        return Conflict(f"Still in use by {', '.join(names)}; remove or move those first.", code="in_use")
    if isinstance(error, IntegrityError):
        name = constraint_name(error)
        kind = type(error.__cause__).__name__
        if kind in {"UniqueViolation", "ExclusionViolation"}:
            # Found by the database in a race; the model's own check finds the same and answers the same way.
            detail = "Another record already holds these values."
            return Conflict(detail, errors=[{"pointer": "", "detail": detail, "code": name or "unique"}])
        if kind == "ForeignKeyViolation":
            return Conflict("A record that this one refers to is gone, or is still in use.", code="in_use")
        if kind in {"CheckViolation", "NotNullViolation"}:
            return Invalid("The record breaks a rule of the institution's data.", code=name or "missing_value")
        return None
    if isinstance(error, DataError):
        return Invalid("A value does not fit its column.", code="bad_value")
    if was_cancelled(error):
        return TookTooLong(
            "The database stopped this because it took too long; ask for less: a filter, a smaller page."
        )
    if isinstance(error, OperationalError | InterfaceError):
        return Unavailable("The database does not answer; try again.", headers={"Retry-After": "5"})
    return None


CONFLICTS = frozenset({"unique", "unique_together", "duplicate"})


def conflicting(error: ValidationError) -> bool:
    """Whether a model's refusal says that another row is in the way: then 409, not 400."""
    groups = error.error_dict.values() if hasattr(error, "error_dict") else [error.error_list]
    codes = {item.code for group in groups for outer in group for item in outer.error_list}
    return bool(codes) and all(code in CONFLICTS or str(code).endswith("_overlap") for code in codes)


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """REST framework's hook; what is no refusal of ours goes on to the request middleware, which logs it."""
    problem = as_problem(error)
    if problem is None or (problem.status >= 500 and problem is not error):
        return None
    return problem_response(problem, getattr(context["request"], "request_id", ""))
