"""System checks: what would make the platform unsafe stops the start with a message."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, register, run_checks
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from django.urls import URLResolver, get_resolver

from shared_apps.core.api import ANYONE, REGISTERED, Own, PlatformView, ResourceViewSet
from shared_apps.core.api.including import resource_of
from shared_apps.core.api.permissions import Declared, Open
from shared_apps.core.api.served import resources
from shared_apps.core.permissions import PermissionCatalogue
from shared_apps.core.registry import registry
from shared_apps.core.roles import why_no_serving_role
from shared_apps.core.routing import EVERYWHERE, tenant_app_labels
from shared_apps.core.search import stored_columns


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
    """REST framework lets in anyone unless told otherwise; here a view without a declaration stops the start.

    So does one that declares what nobody would ask for: only the kit's own views enforce a permission.
    """
    errors = []
    for urlconf in settings.URLCONF_BY_KIND.values():
        for route, view in _views(get_resolver(urlconf)):
            wrong = _wrong_declaration(getattr(view, "cls", view))
            if wrong:
                hint = "Set `permission` to a member of the room's catalogue, or to ANYONE or SIGNED_IN."
                errors.append(Error(f"{urlconf}: /{route} {wrong}.", hint=hint, id="lyceum.E005"))
    return errors


def _wrong_declaration(view: Any) -> str | None:
    if not hasattr(view, "permission"):
        return "declares no permission"
    if not (isinstance(view, type) and issubclass(view, PlatformView | ResourceViewSet)):
        return None if view.permission is ANYONE else "declares a permission that only a view of the kit enforces"
    declared = (view.permission, *getattr(view, "permission_by_method", {}).values())
    if not all(isinstance(one, Open | str | PermissionCatalogue) for one in declared):
        return "declares something that is no permission"
    if list(view.permission_classes) != [Declared]:
        return "replaces permission_classes, so its declaration is not enforced"
    return None


@register("lyceum")
def every_permission_is_enforced(app_configs: Any, **kwargs: Any) -> list[Error]:
    """A permission that nobody asks for is a promise to an administrator that nobody keeps."""
    enforced: set[str] = set()
    for urlconf in settings.URLCONF_BY_KIND.values():
        for _, view in _views(get_resolver(urlconf)):
            asked = getattr(getattr(view, "cls", view), "enforced", None)
            enforced |= asked() if asked and hasattr(view.cls, "permission") else set()
    declared = {
        code for catalogue in PermissionCatalogue.__subclasses__() for member in catalogue for code in member.codes
    }
    return [
        Error(f"The permission {code} is declared and enforced nowhere.", id="lyceum.E006")
        for code in sorted(declared - enforced)
    ]


@register("lyceum")
def resources_can_do_what_they_declare(app_configs: Any, **kwargs: Any) -> list[Error]:
    """Scopes that are registered, columns and paths that exist, orderings that a cursor can resume.

    The first request of a role would find out otherwise.
    """
    errors = []
    for resource in resources:
        model, name = resource.queryset.model, resource.__name__
        scopes = resource.scopes.items() if isinstance(resource.scopes, Mapping) else ()
        for scope, path in scopes:
            if path is REGISTERED and (model, scope) not in registry.scopes:
                errors.append(Error(f"{name}: no room has registered {scope}.", id="lyceum.E007"))
        columns = {field.name for field in model._meta.concrete_fields}
        errors += [
            Error(f"{name}: {model.__name__} has no column {column}.", id="lyceum.E008")
            for column in resource.all_fields
            if column not in columns
        ]
        ordered = {n.lstrip("-") for n in (*resource.ordering, *resource.orderable)}
        for column in sorted(ordered - set(resource.all_fields)):
            errors.append(Error(f"{name}: ordering by {column} needs the column to be shown.", id="lyceum.E009"))
        for relation in resource.includes:
            target = model._meta.get_field(relation).related_model if relation in resource.all_fields else None
            if target is None or resource_of(target) is None:
                text = f"{name}: {relation} is no shown relation to a kind of record that has an address."
                errors.append(Error(text, id="lyceum.E011"))
        stored = stored_columns(model)
        if resource.search and stored and stored != set(resource.search):
            # By what is found, the text of another column would tell what the resource does not show.
            text = f"{name}: it searches other columns than {model.__name__}.search_text was made of."
            errors.append(Error(text, id="lyceum.E012"))
        narrowing = [resource.scopes.path] if isinstance(resource.scopes, Own) else [path for _, path in scopes]
        for path in (*resource.filters, *resource.search, *(path for path in narrowing if path is not REGISTERED)):
            wrong = _wrong_path(model, str(path))
            if wrong:
                errors.append(Error(f"{name}: {path} {wrong}.", id="lyceum.E010"))
    return errors


def _wrong_path(model: type[Model], path: str) -> str | None:
    """Why a path from a model cannot narrow its rows; a join to many would show a row more than once."""
    here: Any = model
    for part in path.split("__"):
        try:
            field = here._meta.get_field(part) if here is not None else None
        except FieldDoesNotExist:
            field = None
        if field is None:
            return f"leads nowhere: there is no {part}"
        if field.one_to_many or field.many_to_many:
            return f"leads to many rows at {part}: register a resolver with a subquery"
        here = field.related_model
    return None


def demand_safe_start() -> None:
    """End the process with one line for each failing check of this file, or for a serving role that may do too much.

    `manage.py` runs the checks by itself; servers and workers that are started without it call this first.
    """
    failing = [found for found in run_checks(tags=["lyceum"]) if found.is_serious() and not found.is_silenced()]
    if failing:
        sys.exit("\n".join(f"lyceum: {found.id}: {found.msg}" for found in failing))
    wrong = why_no_serving_role() if settings.SERVING_ROLE_IS_CHECKED else None
    if wrong:
        sys.exit(f"lyceum: DATABASE_APP_URL: {wrong}")


def _views(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in resolver.url_patterns:
        route = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            yield from _views(pattern, route)
        else:
            yield route, pattern.callback
