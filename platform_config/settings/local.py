"""`make demo` and a developer's shell.

The launcher sets DATABASE_URL, REDIS_URL and SECRET_KEY; `manage.py` in another terminal finds them where the running
demo has published them.
"""

from platform_config.env import borrow

borrow("environment")

from platform_config.settings.base import *  # noqa: E402, F403
from platform_config.settings.base import INSTALLED_APPS, LETTERS_GO_OUT, PORT, SHARED_APPS  # noqa: E402

ADDRESS = f"http://{{host}}:{PORT}"

# Letters are printed where the worker runs, unless there is a mail server.
if not LETTERS_GO_OUT:
    LETTERS_GO_OUT = True
    EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

# The demo's commands exist here only: production cannot make demo people.
SHARED_APPS = [*SHARED_APPS, "platform_config.demo"]
INSTALLED_APPS = [*INSTALLED_APPS, "platform_config.demo"]
