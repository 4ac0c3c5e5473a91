"""Base of every API view that is not a resource."""

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from django.template.response import SimpleTemplateResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from shared_apps.core.api.deprecation import Deprecation, announced
from shared_apps.core.api.etags import row_tag, tagged
from shared_apps.core.api.permissions import Open
from shared_apps.core.api.querystring import pairs, refuse_unknown
from shared_apps.core.permissions import Principal


class PlatformView(APIView):
    """A view with a declared permission: ANYONE, SIGNED_IN, or a code of the catalogue.

    `permission_by_method` names another one for single methods. `parameters` are those that a GET takes in the query
    string; anything else is 400, since what is not there must not be taken for heeded. A GET is answered with an ETag.
    """

    permission: Open | str
    permission_by_method: dict[str, Open | str] = {}
    schema_group: str = "platform"
    parameters: tuple[str, ...] = ()
    deprecated: Deprecation | None = None

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., Any]:
        return announced(super().as_view(**initkwargs), cls.deprecated)

    @property
    def principal(self) -> Principal:
        """Who asks. Raises nothing: a view that lets in anyone must look at `request.user` itself."""
        return self.request.user

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method == "OPTIONS":
            return
        super().initial(request, *args, **kwargs)
        reads = request.method in ("GET", "HEAD")
        refuse_unknown(pairs(request.META.get("QUERY_STRING", "")), self.parameters if reads else ())

    def options(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """The methods of the address, for anyone."""
        return HttpResponse(status=204, headers={"Allow": ", ".join(self.allowed_methods)})

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        done = super().finalize_response(request, response, *args, **kwargs)
        if request.method not in ("GET", "HEAD") or done.status_code != 200 or done.streaming:
            return done
        if "ETag" in done.headers or "Cache-Control" in done.headers:
            return done
        if isinstance(done, SimpleTemplateResponse):
            done = done.render()
        return tagged(request._request, done, row_tag(done.content))

    def needed_permission(self) -> Open | str:
        method = (self.request.method or "GET").upper()
        return self.permission_by_method.get("GET" if method == "HEAD" else method, self.permission)

    @classmethod
    def enforced(cls) -> set[str]:
        """The codes of the catalogue that this view asks for."""
        return {code for code in (cls.permission, *cls.permission_by_method.values()) if isinstance(code, str)}

    def get_exception_handler_context(self) -> dict[str, Any]:
        return {"view": self, "request": self.request}
