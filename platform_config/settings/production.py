"""Production: real servers, a strong secret, two database roles, HTTPS in front."""

from platform_config.env import SettingsError, flag, text
from platform_config.settings.base import *  # noqa: F403
from platform_config.settings.base import DATABASE_APP_DERIVED, DATABASE_OWNER, REDIS_URL, SECRET_KEY

if len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 10:
    raise SettingsError("SECRET_KEY is weak; use at least 50 random characters.")
if DATABASE_APP_DERIVED:
    raise SettingsError("DATABASE_APP_URL is not set; production serves with its own role, never with the owner's.")
if flag("LYCEUM_EMBEDDED", False) or "lyceum-pg-" in DATABASE_OWNER["HOST"] or REDIS_URL.startswith("unix://"):
    raise SettingsError("The embedded PostgreSQL and Redis are for local runs; set DATABASE_URL and REDIS_URL.")
text("PLATFORM_DOMAIN")
SECURE_SSL_REDIRECT = False
SECURE_HSTS_SECONDS = 31536000
