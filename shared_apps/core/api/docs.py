"""The API's own description: /api/schema/, and two readers of it served from this host alone."""

from functools import cache

import orjson
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, re_path
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema

from shared_apps.core.api.permissions import ANYONE
from shared_apps.core.api.querystring import bad, pairs
from shared_apps.core.api.views import PlatformView


@cache
def schema_of(urlconf: str) -> bytes:
    """The OpenAPI document of one kind of host; it changes only with the release."""
    return orjson.dumps(SchemaGenerator(urlconf=urlconf).get_schema(request=None, public=True))


@extend_schema(exclude=True)
class SchemaView(PlatformView):
    """The OpenAPI document of this host."""

    permission = ANYONE
    parameters = ("format",)

    def get(self, request: HttpRequest) -> HttpResponse:
        given = pairs(request.META.get("QUERY_STRING", ""))
        if given and given[0][1] != "json":
            raise bad("format", "Only format=json is served.", "bad_format")
        return HttpResponse(schema_of(self.request._request.urlconf), content_type="application/json")


def swagger(request: HttpRequest) -> HttpResponse:
    """Swagger UI: try the API in the browser."""
    return render(request, "core/swagger.html")


def redoc(request: HttpRequest) -> HttpResponse:
    """ReDoc: read the API."""
    return render(request, "core/redoc.html")


swagger.permission = redoc.permission = ANYONE  # type: ignore[attr-defined]
urlpatterns: list[URLPattern] = [
    re_path(r"^api/schema/?$", SchemaView.as_view(), name="schema"),
    re_path(r"^api/docs/?$", swagger, name="docs"),
    re_path(r"^api/redoc/?$", redoc, name="redoc"),
]
