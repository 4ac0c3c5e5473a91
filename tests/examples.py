"""A record of each resource that the cast has none of: a new resource has its contract tests before its people."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import models
from django.urls import URLPattern, URLResolver, get_resolver

from shared_apps.core.api import ResourceViewSet
from shared_apps.core.permissions import Action

# The first that fits: an EmailField is a CharField.
VALUES: tuple[tuple[type[models.Field], Any], ...] = (
    (models.EmailField, "somebody@example.org"),
    (models.CharField, "Example"),
    (models.DateTimeField, datetime(2026, 9, 1, 8, tzinfo=UTC)),
    (models.DateField, date(2026, 9, 1)),
    (models.TextField, "Example"),
    (models.IntegerField, 1),
    (models.UUIDField, UUID(int=1)),
    (models.BinaryField, b"Example"),
)


def write_what_lacks() -> list[models.Model]:
    """Runs inside an institution. A resource that is made by a service of its own is left to the cast."""
    written = []
    for resource in sorted(set(_served(get_resolver(settings.URLCONF_BY_KIND["institution"]))), key=str):
        plain = Action.ADD in resource.exposed and resource.make is ResourceViewSet.make
        if plain and not resource.queryset.exists():
            record = resource.queryset.model(**values_of(resource.queryset.model))
            record.full_clean()
            record.save(force_insert=True)
            written.append(record)
    return written


def values_of(model: type[models.Model]) -> dict[str, Any]:
    """A value for each column that must have one."""
    values: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        if field.primary_key or field.has_default() or field.null or field.blank or field.generated:
            continue
        if isinstance(field, models.ForeignKey):
            rows = field.related_model._default_manager.order_by("pk")
            taken = [held.pk for held in values.values() if isinstance(held, field.related_model)]
            values[field.name] = rows.exclude(pk__in=taken).first()
        elif field.choices:
            values[field.name] = field.choices[0][0]
        else:
            value = next((value for kind, value in VALUES if isinstance(field, kind)), None)
            values[field.name] = value[: field.max_length] if isinstance(value, str) else value
    return values


def _served(resolver: URLResolver | URLPattern) -> list[type[ResourceViewSet]]:
    if isinstance(resolver, URLResolver):
        return [found for pattern in resolver.url_patterns for found in _served(pattern)]
    view = getattr(resolver.callback, "cls", object)
    return [view] if issubclass(view, ResourceViewSet) else []
