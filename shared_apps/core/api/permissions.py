"""Fail closed: a view says who may use it, or the platform does not start (core.checks)."""

from enum import Enum
from typing import Any

from rest_framework.permissions import BasePermission

from shared_apps.core.errors import Forbidden
from shared_apps.core.permissions import Principal


class Open(Enum):
    """What a view declares when it needs no permission of the catalogue."""

    ANYONE = "anyone"
    SIGNED_IN = "signed in"


ANYONE = Open.ANYONE
SIGNED_IN = Open.SIGNED_IN


def missing(code: str) -> Forbidden:
    """The refusal of whom no role gives the permission."""
    return Forbidden(f"Your roles do not include {code}.", code="permission_missing")


class Declared(BasePermission):
    """Asks the view's own declaration."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Raises Forbidden for a permission that the principal lacks; False for nobody, and for no declaration."""
        needed = view.needed_permission()
        if needed is ANYONE:
            return True
        principal = request.user
        if not isinstance(principal, Principal):
            return False
        if isinstance(needed, str) and not principal.may(needed):
            raise missing(needed)
        return needed is SIGNED_IN or isinstance(needed, str)
