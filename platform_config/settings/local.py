"""`make demo` and a developer's shell.

The launcher sets DATABASE_URL, REDIS_URL and SECRET_KEY; `manage.py` in another terminal finds them where the running
demo has published them.
"""

from platform_config.env import borrow

borrow("environment")

from platform_config.settings.base import *  # noqa: E402, F403
from platform_config.settings.base import INSTALLED_APPS, SHARED_APPS  # noqa: E402

# The demo's commands exist here only: production cannot make demo people.
SHARED_APPS = [*SHARED_APPS, "platform_config.demo"]
INSTALLED_APPS = [*INSTALLED_APPS, "platform_config.demo"]
