"""Keeps platform tables out of institutions and institutions' tables off the platform."""

from functools import cache
from typing import Any

from django.apps import apps
from django.conf import settings
from django_tenants.routers import TenantSyncRouter

from shared_apps.core.context import InstitutionContext, NoTenant, WrongContext, current

EVERYWHERE = frozenset({"contenttypes"})


@cache
def tenant_app_labels() -> frozenset[str]:
    """Labels of the apps whose tables stand in every institution's schema."""
    listed = set(settings.TENANT_APPS)
    return frozenset(
        config.label
        for config in apps.get_app_configs()
        if config.name in listed or f"{config.__module__}.{type(config).__name__}" in listed
    )


class ContextRouter(TenantSyncRouter):
    """Refuses a query on a model that does not belong where the code stands.

    search_path is (institution, public), so without this a platform model asked for inside an institution would
    list every institution.
    """

    def _check(self, model: Any) -> None:
        label = model._meta.app_label
        if label in EVERYWHERE:
            return
        context = current()
        if context is None:
            raise NoTenant(f"{model._meta.label} was queried outside of any context.")
        inside = isinstance(context, InstitutionContext)
        if inside != (label in tenant_app_labels()):
            where = "inside an institution" if inside else "on the platform"
            raise WrongContext(f"{model._meta.label} was queried {where}; it does not live there.")

    def db_for_read(self, model: Any, **hints: Any) -> None:
        self._check(model)

    def db_for_write(self, model: Any, **hints: Any) -> None:
        self._check(model)
