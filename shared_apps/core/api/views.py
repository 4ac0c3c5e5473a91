"""Base of every API view that is not a resource."""

from typing import Any

from rest_framework.views import APIView

from shared_apps.core.api.permissions import Open
from shared_apps.core.permissions import Principal


class PlatformView(APIView):
    """A view with a declared permission: ANYONE, SIGNED_IN, or a code of the catalogue.

    `permission_by_method` names another one for single methods.
    """

    permission: Open | str
    permission_by_method: dict[str, Open | str] = {}
    schema_group: str = "platform"

    @property
    def principal(self) -> Principal:
        """Who asks. Raises nothing: a view that lets in anyone must look at `request.user` itself."""
        return self.request.user

    def needed_permission(self) -> Open | str:
        method = (self.request.method or "GET").upper()
        return self.permission_by_method.get("GET" if method == "HEAD" else method, self.permission)

    @classmethod
    def enforced(cls) -> set[str]:
        """The codes of the catalogue that this view asks for."""
        return {code for code in (cls.permission, *cls.permission_by_method.values()) if isinstance(code, str)}

    def get_exception_handler_context(self) -> dict[str, Any]:
        return {"view": self, "request": self.request}
