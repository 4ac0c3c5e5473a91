"""What the operators' views share: pages, writes that are done once, jobs."""

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.response import Response

from shared_apps.core.api import PlatformView, described
from shared_apps.core.api.idempotency import once
from shared_apps.core.api.querystring import MOST_PAGE_SIZE, MOST_PAGES, PAGE_SIZE, bad, pairs, parse_key
from shared_apps.core.api.schema import IDEMPOTENCY_KEY
from shared_apps.core.context import platform
from shared_apps.core.errors import NotFound
from shared_apps.core.registry import registry
from shared_apps.tenants.models import Tenant

ID = OpenApiParameter("id", UUID, OpenApiParameter.PATH, description="The institution's id.")
WRITE = [ID, IDEMPOTENCY_KEY]


class PlatformStartedJob(serializers.Serializer):
    """A worker takes it from here; Location says where to follow it."""

    job = serializers.UUIDField()


def described_job(summary: str, *, operation_id: str, parameters: list[Any], **more: Any) -> Any:
    """The OpenAPI text of an operation that starts a job."""
    return described(
        summary,
        answer=PlatformStartedJob,
        value={"job": "0199a1d0-7c1e-7b51-9c3e-4c3b1f0e9a12"},
        status=202,
        operation_id=operation_id,
        parameters=parameters,
        **more,
    )


def find(id: str) -> Tenant:
    """The institution of an address. Raises NotFound. Runs on the platform."""
    tenant = Tenant.objects.prefetch_related("domains").filter(pk=parse_key(id)).first()
    if tenant is None:
        raise NotFound("There is no such institution.")
    return tenant


class Desk(PlatformView):
    """Base of the operators' views."""

    def once(self, work: Callable[[], Any], *, status: int = 200, place: Callable[[Any], str] | None = None) -> Any:
        """Do the work on the platform, with an Idempotency-Key once, and answer with what it returns; `place` makes the
        Location of it. The work reads the request's body: the key's digest needs the bytes first."""

        def answer() -> HttpResponse:
            with platform():
                row = work()
            headers = {"Location": place(row)} if place is not None else None
            body = b"" if row is None else orjson.dumps(row, default=str)
            return HttpResponse(body, status=status, content_type="application/json", headers=headers)

        return once(self.request._request, self.principal.user_id, answer)

    def start(self, kind: str, find_out: Callable[[], dict[str, Any]]) -> HttpResponse:
        """Start a job with the parameters that `find_out` returns (it runs on the platform)."""

        def answer() -> HttpResponse:
            with platform():
                parameters = find_out()
            if registry.start_job is None:
                raise RuntimeError("Nobody starts jobs; is tenant_apps.eventlog installed?")
            key = registry.start_job(kind=kind, parameters=parameters, requested_by=self.principal.user_id)
            body = orjson.dumps({"job": str(key)})
            headers = {"Location": f"/api/v1/jobs/{key}/"}
            return HttpResponse(body, status=202, content_type="application/json", headers=headers)

        return once(self.request._request, self.principal.user_id, answer)

    def page(self, rows: Callable[[], Any], shown: Callable[[Any], dict[str, Any]]) -> Response:
        """One page of a query of the platform's; views that use it take `page` and `page_size`."""
        given = pairs(self.request.META.get("QUERY_STRING", ""))
        number, size = self._window((name, text) for name, text in given if name in ("page", "page_size"))
        self._kept = [(name, text) for name, text in given if name not in ("page", "page_size")]
        first = (number - 1) * size
        with platform():
            found = [shown(row) for row in rows()[first : first + size + 1]]
        return Response(
            {
                "next": self._link(number + 1, size) if len(found) > size else None,
                "previous": self._link(number - 1, size) if number > 1 else None,
                "results": found[:size],
            }
        )

    def _window(self, given: Iterable[tuple[str, str]]) -> tuple[int, int]:
        found = {"page": 1, "page_size": PAGE_SIZE}
        for name, text in given:
            most = MOST_PAGES if name == "page" else MOST_PAGE_SIZE
            if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
                raise bad(name, f"{name} is a whole number from 1 to {most}.", f"bad_{name}")
            found[name] = int(text)
        return found["page"], found["page_size"]

    def _link(self, page: int, size: int) -> str:
        query = urlencode([*self._kept, ("page", page), ("page_size", size)])
        return f"{self.request.build_absolute_uri(self.request.path)}?{query}"
