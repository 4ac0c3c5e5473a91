"""The outermost layer of every HTTP request: its id, its log line, its security headers, its refusals."""

import re
import sys
import time
from collections.abc import Callable

import structlog
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.urls import is_valid_path

from shared_apps.core import health
from shared_apps.core.actors import acting, visitor
from shared_apps.core.api.admission import client_address, is_trusted_proxy, rate_headers
from shared_apps.core.context import InstitutionContext
from shared_apps.core.errors import InternalError, Invalid, NotFound, TookTooLong, Unavailable, problem_response
from shared_apps.core.ids import random_hex
from shared_apps.core.problems import as_problem

log = structlog.get_logger("lyceum.request")
REQUEST_ID = re.compile(r"\A[A-Za-z0-9._-]{8,64}\Z")
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
MOST_PATH = 300
HSTS_SECONDS = 365 * 86400
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
)


def request_id(asked: str) -> str:
    """The id that the caller gave the request, or a new one where they gave none that may stand in a log."""
    return asked if REQUEST_ID.match(asked) else random_hex(12)


class RequestMiddleware:
    """Health answers before any host lookup; everything else goes on with a request id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        request.request_id = request_id(request.META.get("HTTP_X_REQUEST_ID", ""))
        path = request.META.get("PATH_INFO", "/")
        if request.META.get("HTTP_X_FORWARDED_PROTO") == "https" and is_trusted_proxy(request.META["REMOTE_ADDR"]):
            request.META["wsgi.url_scheme"] = request.environ["wsgi.url_scheme"] = "https"
        if path.startswith("/health/"):
            response = health.answer(path)
        elif "\x00" in path:
            response = problem_response(Invalid("The address holds a NUL character."), request.request_id)
        else:
            whom = f"{request.method} {path}"
            with acting(visitor(name=whom, request_id=request.request_id, address=client_address(request))):
                response = self.get_response(request)
        headers = response.headers
        for name, value in HEADERS:
            if name not in headers:
                headers[name] = value
        if request.is_secure():
            headers["Strict-Transport-Security"] = f"max-age={HSTS_SECONDS}"
        headers["X-Request-ID"] = request.request_id
        admission = getattr(request, "admission", None)
        if admission is not None:
            for name, value in rate_headers(admission).items():
                headers[name] = value
        if "Cache-Control" not in headers:
            headers["Cache-Control"] = "no-store"
        # An answer without a body says nothing of its length: 304 would name that of another (RFC 9110, 8.6).
        if not response.streaming and "Content-Length" not in headers and response.status_code not in (204, 304):
            headers["Content-Length"] = str(len(response.content))
        place = getattr(request, "institution", None)
        log.info(
            "request",
            method=request.method,
            path=path,
            status=response.status_code,
            ms=round((time.perf_counter() - began) * 1000, 1),
            request_id=request.request_id,
            institution=place.slug if isinstance(place, InstitutionContext) else None,
            user=getattr(request, "user_id", None),
        )
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse:
        """What a view raised."""
        return _answer_to(error, request)


def _answer_to(error: BaseException | None, request: HttpRequest) -> HttpResponse:
    """A refusal as it is. A defect, and a database that is away: the user sees a request id, the log what it was."""
    request_id = getattr(request, "request_id", "")
    problem = as_problem(error) if error is not None else None
    if problem is None:
        log.error("defect", request_id=request_id, path=request.path, exc_info=error)
        problem = InternalError("Something went wrong on our side; quote the request id to support.")
    elif isinstance(problem, TookTooLong):
        log.error("statement_took_too_long", request_id=request_id, path=request.path)
    elif isinstance(error, DatabaseError | InterfaceError) and problem.status == Unavailable.status:
        log.error("database_unavailable", request_id=request_id, path=request.path, error=str(error))
    return problem_response(problem, request_id)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404 of every urlconf. A missing slash is named, not redirected: a POST would lose its body."""
    problem = NotFound("There is nothing at this address.")
    if not request.path_info.endswith("/") and is_valid_path(
        f"{request.path_info}/", getattr(request, "urlconf", None)
    ):
        problem = NotFound(f"The address ends with a slash: {request.path[:MOST_PATH]}/", code="missing_slash")
    return problem_response(problem, getattr(request, "request_id", ""))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400 of every urlconf."""
    return problem_response(Invalid("The request could not be read."), getattr(request, "request_id", ""))


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500 of every urlconf: what was raised outside of any view, such as by the lookup of the host."""
    return _answer_to(sys.exception(), request)
