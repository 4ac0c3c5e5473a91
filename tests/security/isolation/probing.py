"""Every address that an institution's host serves, from its URL configuration, and the keys to ask it with."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import models
from django.urls import URLResolver, get_resolver

from shared_apps.core.api import ResourceViewSet
from tests.security.isolation.canaries import Model, Twins

METHODS = ("GET", "PUT", "PATCH", "POST", "DELETE")


@dataclass(frozen=True, slots=True)
class Address:
    """One route. `path` holds `<id>` where a key goes; `methods` are those that it answers; `model` is None for an
    address that is no resource's."""

    path: str
    methods: tuple[str, ...]
    model: Model | None

    def at(self, key: Any) -> str:
        return self.path.replace("<id>", str(key))


def addresses(kind: str = "institution") -> list[Address]:
    """Everything below /api/v1/ on a host of this kind."""
    return list(_walk(get_resolver(settings.URLCONF_BY_KIND[kind]), "/"))


def _walk(resolver: URLResolver, prefix: str) -> Iterator[Address]:
    for pattern in resolver.url_patterns:
        path = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern, path)
        elif path.startswith("/api/v1/"):
            view: Any = pattern.callback
            answers = getattr(view, "actions", None) or dir(view.cls)
            methods = tuple(method for method in METHODS if method.lower() in answers)
            yield Address(path, methods, _model_of(view.cls))


def _model_of(view: Any) -> Model | None:
    resource = view if issubclass(view, ResourceViewSet) else getattr(view, "resource", None)
    return resource.queryset.model if resource is not None else None


def keys_for(address: Address, twins: Twins) -> list[Any]:
    """Keys that stand in the other institution alone: of the address's own kind, or of every kind."""
    keys = [twins.only_there[address.model]] if address.model in twins.only_there else []
    if address.model is None:
        keys += [key for model, key in twins.only_there.items() if isinstance(model._meta.pk, models.UUIDField)]
    return keys
