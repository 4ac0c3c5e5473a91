"""HTTP for every host (granian, WSGI)."""

import os
from pathlib import Path

from django.apps import apps
from django.core.wsgi import get_wsgi_application
from whitenoise import WhiteNoise

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_config.settings.local")
application = WhiteNoise(get_wsgi_application(), prefix="static/", max_age=3600)
for config in apps.get_app_configs():
    files = Path(config.path) / "static"
    if files.is_dir():
        application.add_files(str(files), prefix="static/")
