"""HTTP for every host (granian, WSGI)."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_config.settings.local")
application = get_wsgi_application()
