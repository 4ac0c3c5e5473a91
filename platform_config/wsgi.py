"""HTTP for every host, as a WSGI application; `platform_config.rsgi` serves it."""

import os
from pathlib import Path
from wsgiref.headers import Headers

from django.apps import apps
from django.core.wsgi import get_wsgi_application
from whitenoise import WhiteNoise

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_config.settings.local")
django_application = get_wsgi_application()

from shared_apps.core import middleware  # noqa: E402 - its models need the apps ready
from shared_apps.core.checks import demand_safe_start  # noqa: E402

demand_safe_start()


def add_security_headers(headers: Headers, path: str, url: str) -> None:
    """Static files are answered before any middleware."""
    for name, value in middleware.HEADERS:
        headers[name] = value


application = WhiteNoise(django_application, prefix="static/", max_age=3600, add_headers_function=add_security_headers)
for config in apps.get_app_configs():
    files = Path(config.path) / "static"
    if files.is_dir():
        application.add_files(str(files), prefix="static/")
