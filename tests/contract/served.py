"""What the hosts serve, from their URL configuration: the resources, and every method of every address."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver

from shared_apps.core.api import ResourceViewSet

METHODS = ("get", "post", "put", "patch", "delete")
Resource = type[ResourceViewSet]


def patterns(kind: str) -> Iterator[tuple[str, URLPattern]]:
    """(path, pattern) of everything that a host of this kind serves; a key in a path is written {id}."""

    def walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, URLPattern]]:
        for pattern in resolver.url_patterns:
            route = f"{prefix}{str(pattern.pattern).lstrip('^').removesuffix('?$')}"
            if isinstance(pattern, URLResolver):
                yield from walk(pattern, route)
            else:
                yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route), pattern

    return walk(get_resolver(settings.URLCONF_BY_KIND[kind]), "/")


@cache
def operations(kind: str) -> set[str]:
    """`POST /api/v1/school/students/{id}/restore/` and so on."""
    found = set()
    for path, pattern in patterns(kind):
        view: Any = pattern.callback
        answers = getattr(view, "actions", None) or dir(getattr(view, "cls", None))
        named = [method for method in METHODS if method in answers] or ["get"]  # a plain function shows a page
        found |= {f"{method.upper()} {path}" for method in named}
    return found


@cache
def resources(kind: str) -> dict[str, Resource]:
    """The resources of a kind of host, by the address of their list."""
    found = {}
    for path, pattern in patterns(kind):
        view: Any = pattern.callback
        if issubclass(getattr(view, "cls", object), ResourceViewSet) and view.actions.get("get") == "list":
            found[path] = view.cls
    return found


SERVED = resources("institution")
every_resource = pytest.mark.parametrize(("path", "resource"), SERVED.items(), ids=list(SERVED))
