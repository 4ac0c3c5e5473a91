"""System checks: what would make the platform unsafe stops the start with a message."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, register
from django.core.exceptions import FieldDoesNotExist
from django.urls import URLResolver, get_resolver

from shared_apps.core.api import REGISTERED
from shared_apps.core.api.resources import resources
from shared_apps.core.permissions import PermissionCatalogue
from shared_apps.core.registry import registry
from shared_apps.core.routing import EVERYWHERE, tenant_app_labels


@register("lyceum")
def shared_and_tenant_apps_are_disjoint(app_configs: Any, **kwargs: Any) -> list[Error]:
    """A table in both places would be read from public whenever an institution lacks it."""
    both = sorted(set(settings.SHARED_APPS) & set(settings.TENANT_APPS))
    unlisted = sorted(set(settings.INSTALLED_APPS) - set(settings.SHARED_APPS) - set(settings.TENANT_APPS))
    errors = [Error(f"{name} is in SHARED_APPS and in TENANT_APPS; keep one.", id="lyceum.E001") for name in both]
    errors += [Error(f"{name} is in neither SHARED_APPS nor TENANT_APPS.", id="lyceum.E002") for name in unlisted]
    return errors


@register("lyceum")
def models_grant_no_default_permissions(app_configs: Any, **kwargs: Any) -> list[Error]:
    """Our models take their permissions from the rooms' catalogues alone."""
    return [
        Error(f"{model._meta.label} has default_permissions; set them to ().", obj=model, id="lyceum.E003")
        for model in apps.get_models()
        if model.__module__.startswith(("shared_apps.", "tenant_apps.")) and model._meta.default_permissions
    ]


@register("lyceum")
def tenant_tables_point_only_at_tenant_tables(app_configs: Any, **kwargs: Any) -> list[Error]:
    """A foreign key between an institution and public ties the schema to one database (SCALE 2)."""
    errors = []
    for model in apps.get_models():
        inside = model._meta.app_label in tenant_app_labels()
        for relation in model._meta.local_fields:
            target = relation.related_model
            if target is None or target._meta.app_label in EVERYWHERE:
                continue
            if inside != (target._meta.app_label in tenant_app_labels()) and getattr(relation, "db_constraint", True):
                errors.append(
                    Error(f"{relation} crosses between public and an institution.", obj=model, id="lyceum.E004")
                )
    return errors


@register("lyceum")
def every_view_declares_its_permission(app_configs: Any, **kwargs: Any) -> list[Error]:
    """REST framework lets in anyone unless told otherwise; here a view without a declaration stops the start."""
    errors = []
    for urlconf in settings.URLCONF_BY_KIND.values():
        for route, view in _views(get_resolver(urlconf)):
            declared = getattr(view, "cls", view)
            if not hasattr(declared, "permission"):
                hint = "Set `permission` to a member of the room's catalogue, or to ANYONE or SIGNED_IN."
                errors.append(Error(f"{urlconf}: /{route} declares no permission.", hint=hint, id="lyceum.E005"))
    return errors


@register("lyceum")
def every_permission_is_enforced(app_configs: Any, **kwargs: Any) -> list[Error]:
    """A permission that nobody asks for is a promise to an administrator that nobody keeps."""
    enforced: set[str] = set()
    for urlconf in settings.URLCONF_BY_KIND.values():
        for _, view in _views(get_resolver(urlconf)):
            asked = getattr(getattr(view, "cls", view), "enforced", None)
            enforced |= asked() if asked else set()
    declared = {
        code for catalogue in PermissionCatalogue.__subclasses__() for member in catalogue for code in member.codes
    }
    return [
        Error(f"The permission {code} is declared and enforced nowhere.", id="lyceum.E006")
        for code in sorted(declared - enforced)
    ]


@register("lyceum")
def resources_can_do_what_they_declare(app_configs: Any, **kwargs: Any) -> list[Error]:
    """Scopes that are registered, columns that exist, orderings that a cursor can resume."""
    errors = []
    for resource in resources:
        model = resource.queryset.model
        declared = resource.scopes.items() if isinstance(resource.scopes, Mapping) else ()
        for scope, path in declared:
            if path is REGISTERED and (model, scope) not in registry.scopes:
                errors.append(Error(f"{resource.__name__}: no room has registered {scope}.", id="lyceum.E007"))
        for name in resource.all_fields:
            try:
                model._meta.get_field(name)
            except FieldDoesNotExist:
                errors.append(Error(f"{resource.__name__}: {model.__name__} has no {name}.", id="lyceum.E008"))
        for name in {n.lstrip("-") for n in (*resource.ordering, *resource.orderable)}:
            if name not in resource.all_fields:
                message = f"{resource.__name__}: ordering by {name} needs the column to be shown."
                errors.append(Error(message, id="lyceum.E009"))
    return errors


def _views(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in resolver.url_patterns:
        route = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            yield from _views(pattern, route)
        else:
            yield route, pattern.callback
