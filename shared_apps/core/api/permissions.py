"""Fail closed: a view says who may use it, or the platform does not start (core.checks)."""

from enum import Enum
from typing import Any

from rest_framework.permissions import BasePermission

from shared_apps.core.permissions import Principal


class Open(Enum):
    """What a view declares when it needs no permission of the catalogue."""

    ANYONE = "anyone"
    SIGNED_IN = "signed in"


ANYONE = Open.ANYONE
SIGNED_IN = Open.SIGNED_IN


class Declared(BasePermission):
    """Asks the view's own declaration."""

    message = "Your roles do not include this permission."

    def has_permission(self, request: Any, view: Any) -> bool:
        needed = view.needed_permission()
        if needed is ANYONE:
            return True
        principal = request.user
        if not isinstance(principal, Principal):
            return False
        return needed is SIGNED_IN or (isinstance(needed, str) and principal.may(needed))
