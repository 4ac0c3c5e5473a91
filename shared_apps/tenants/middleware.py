"""Host -> institution, the lifecycle gate, and the urlconf of its kind."""

from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import set_urlconf

from shared_apps.core.api.admission import turned_away
from shared_apps.core.context import PLATFORM, InstitutionContext, State, institution, platform
from shared_apps.core.errors import Forbidden, Gone, Invalid, NotFound, Problem, Unavailable, problem_response
from shared_apps.tenants import hosts

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def gate(context: InstitutionContext, *, writes: bool) -> Problem | None:
    """Why an institution in its present state is not served, None when it is. HTTP, sockets and tasks all ask here."""
    match context.state:
        case State.ACTIVE:
            return None
        case State.READ_ONLY:
            if not writes:
                return None
            return Forbidden("This institution is read-only for now; nothing was changed.", code="read_only")
        case State.SUSPENDED:
            return Forbidden("This institution is suspended; ask its administration.", code="suspended")
        case State.PROVISIONING:
            return Unavailable("This institution is being set up.", code="provisioning", headers={"Retry-After": "10"})
        case _:
            return Gone("This institution is no longer served here.", code="archived")


class HostMiddleware:
    """Enters the institution of the request's host for the time of the request.

    An unknown host is 404 without touching any institution. X-Forwarded-Host is never read.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        host = hosts.normalise(request.META.get("HTTP_HOST", ""))
        if host is None:
            return self._refuse(request, Invalid("The Host header is not a host name.", code="bad_host"))
        request.host = host
        if hosts.is_bare(host):
            request.institution = PLATFORM
            request.urlconf = settings.URLCONF_BY_KIND["public"]
            set_urlconf(request.urlconf)
            with platform():
                return _kept_within(self.get_response(request))
        context = hosts.find(host)
        if context is None:
            return self._refuse(request, NotFound("No institution lives at this address.", code="unknown_host"))
        request.institution = context
        refusal = gate(context, writes=request.method not in SAFE)
        if refusal is not None and not _may_sign_in(request, context):
            return self._refuse(request, refusal)
        request.urlconf = settings.URLCONF_BY_KIND[context.kind]
        set_urlconf(request.urlconf)
        with institution(context):
            refusal = turned_away()
            if refusal is not None:
                return self._refuse(request, refusal)
            return _kept_within(self.get_response(request))

    def _refuse(self, request: HttpRequest, problem: Problem) -> HttpResponse:
        return problem_response(problem, request.request_id)


def _kept_within(response: Any) -> HttpResponse:
    """A streaming body is made while the server sends it, when this middleware has long left the institution; so each
    part of it is made in a copy of the context of now."""
    if response.streaming and not response.is_async and getattr(response, "file_to_stream", None) is None:
        run = copy_context().run
        response.streaming_content = _parts(run, response.streaming_content)
        # A client that hangs up ends the body half-way: what it does then is done there too.
        response._resource_closers = [partial(run, close) for close in response._resource_closers]
    return response


def _parts(run: Callable[..., Any], body: Iterable[bytes]) -> Iterator[bytes]:
    parts, end = iter(body), object()
    while (part := run(next, parts, end)) is not end:
        yield part


def _may_sign_in(request: HttpRequest, context: InstitutionContext) -> bool:
    """A read-only institution still lets people sign in, refresh and sign out: those write sessions, not records."""
    return context.state == State.READ_ONLY and request.META["PATH_INFO"].startswith("/api/v1/auth/")
