"""`make demo` and a developer's shell: the launcher sets DATABASE_URL, REDIS_URL and SECRET_KEY."""

from platform_config.settings.base import *  # noqa: F403
from platform_config.settings.base import INSTALLED_APPS, SHARED_APPS

# The demo's commands exist here only: production cannot make demo people.
SHARED_APPS = [*SHARED_APPS, "platform_config.demo"]
INSTALLED_APPS = [*INSTALLED_APPS, "platform_config.demo"]
