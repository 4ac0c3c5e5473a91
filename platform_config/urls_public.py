"""The bare domain."""

from django.urls import path

from platform_config.landing import landing

urlpatterns = [
    path("", landing, name="landing"),
]
handler400 = "shared_apps.core.middleware.bad_request"
handler404 = "shared_apps.core.middleware.not_found"
handler500 = "shared_apps.core.middleware.server_error"
