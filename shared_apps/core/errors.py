"""One error type, raised where the rule lives and rendered in one place as application/problem+json (RFC 9457)."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import orjson
from django.http import HttpResponse

TYPE = "/problems/{code}"


class Problem(Exception):
    """A refusal: what, where and how to mend it.

    `errors` lists places as {"pointer", "detail", "code"}; a pointer is a JSON pointer into the body (RFC 6901) or
    `?name` for a query parameter. `more` holds further members of the body (RFC 9457, section 3.2).
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
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.code = code or type(self).code
        self.errors = list(errors)
        self.headers = headers or {}
        self.more = more or {}

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
            **self.more,
        }


class Invalid(Problem):
    status, code, title = 400, "invalid", "Bad request"


class Unauthenticated(Problem):
    status, code, title = 401, "unauthenticated", "Sign in first"

    def __init__(self, detail: str = "", **more: Any) -> None:
        super().__init__(detail, **more)
        self.headers.setdefault("WWW-Authenticate", 'Bearer realm="lyceum"')


class PaymentRequired(Problem):
    """What the institution's plan does not cover; `limit`, `allowed` and `used` in the body say what."""

    status, code, title = 402, "quota_exceeded", "Limit of the plan reached"


class Forbidden(Problem):
    status, code, title = 403, "forbidden", "Not allowed"


class NotFound(Problem):
    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(Problem):
    status, code, title = 405, "method_not_allowed", "Method not allowed"


class NotAcceptable(Problem):
    status, code, title = 406, "not_acceptable", "Not acceptable"


class TimedOut(Problem):
    status, code, title = 408, "request_timeout", "Request timeout"


class Conflict(Problem):
    status, code, title = 409, "conflict", "Conflict"


class Gone(Problem):
    status, code, title = 410, "gone", "Gone"


class PreconditionFailed(Problem):
    """What the writer held is no longer what stands; `current` in the body is."""

    status, code, title = 412, "precondition_failed", "Precondition failed"


class Unprocessable(Problem):
    status, code, title = 422, "unprocessable", "Cannot be processed"


class TooLarge(Problem):
    status, code, title = 413, "too_large", "Too large"


class Unsupported(Problem):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class TooMany(Problem):
    status, code, title = 429, "rate_limited", "Too many requests"


class Unavailable(Problem):
    status, code, title = 503, "unavailable", "Unavailable for the moment"


class TookTooLong(Problem):
    """The database gave up on a statement that took longer than the institution's may."""

    status, code, title = 504, "took_too_long", "Took too long"


class InternalError(Problem):
    """What a user sees of a defect; the traceback goes to the log under the same request id."""


def problem_response(problem: Problem, request_id: str) -> HttpResponse:
    """The answer for a problem."""
    body = orjson.dumps(problem.body(request_id))
    return HttpResponse(
        body, status=problem.status, content_type="application/problem+json", headers=problem.headers or None
    )
