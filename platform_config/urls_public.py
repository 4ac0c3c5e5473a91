"""The bare domain."""

from django.urls import include, path

from platform_config import api_v1
from platform_config.landing import landing
from shared_apps.core.api import docs

urlpatterns = [
    path("", landing, name="landing"),
    path("api/v1/", include(api_v1.public)),
    *docs.urlpatterns,
]
handler400 = "shared_apps.core.middleware.bad_request"
handler404 = "shared_apps.core.middleware.not_found"
handler500 = "shared_apps.core.middleware.server_error"
