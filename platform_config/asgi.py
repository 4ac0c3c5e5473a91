"""Sockets for every host (granian, ASGI). Everything else is `platform_config.rsgi`."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_config.settings.local")
django.setup()

from realtime import routing  # noqa: E402 - the models that it reads need the apps ready
from shared_apps.core.checks import demand_safe_start  # noqa: E402

demand_safe_start()
application = routing.application()
