"""`make demo` and a developer's shell: the launcher sets DATABASE_URL, REDIS_URL and SECRET_KEY."""

from platform_config.settings.base import *  # noqa: F403
