"""The operators' host."""

from typing import Any

urlpatterns: list[Any] = []
handler400 = "shared_apps.core.middleware.bad_request"
handler404 = "shared_apps.core.middleware.not_found"
handler500 = "shared_apps.core.middleware.server_error"
