"""The resource kit: what a room's `api.py` needs."""

from shared_apps.core.api.bodies import Body, described
from shared_apps.core.api.declarations import CONTAINS, EVERYONE, EXACT, RANGE, REGISTERED, Own, verb
from shared_apps.core.api.deprecation import Deprecation
from shared_apps.core.api.permissions import ANYONE, SIGNED_IN
from shared_apps.core.api.resources import ResourceViewSet
from shared_apps.core.api.views import PlatformView

__all__ = [
    "ANYONE",
    "CONTAINS",
    "EVERYONE",
    "EXACT",
    "RANGE",
    "REGISTERED",
    "SIGNED_IN",
    "Body",
    "Deprecation",
    "Own",
    "PlatformView",
    "ResourceViewSet",
    "described",
    "verb",
]
