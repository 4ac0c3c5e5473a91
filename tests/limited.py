"""An institution with limits, as the code sees it."""

from dataclasses import replace
from typing import Any

from django.test import TestCase

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, platform
from shared_apps.core.limits import UNLIMITED
from shared_apps.tenants.entitlements import allow
from shared_apps.tenants.models import Tenant


def limited(context: InstitutionContext, **allowed: int) -> InstitutionContext:
    """The context with these limits alone; for code that is called within it."""
    return replace(context, limits=replace(UNLIMITED, **allowed))


def allow_only(context: InstitutionContext, **allowed: Any) -> None:
    """Limits of the institution's own, as an operator gives them; None for unlimited. For requests."""
    told = TestCase.captureOnCommitCallbacks(execute=True)  # a test's own transaction never commits
    with told, platform(), acting(command("test")):
        allow(tenant=Tenant.objects.get(pk=context.id), wanted=allowed)
