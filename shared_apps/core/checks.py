"""System checks: what would make the platform unsafe stops the start with a message."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, register


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
    from shared_apps.core.routing import EVERYWHERE, tenant_app_labels

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
