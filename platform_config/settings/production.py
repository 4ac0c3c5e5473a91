"""Production: real servers, a strong secret, two database roles. TLS ends at a proxy that TRUSTED_PROXIES names."""

from pathlib import Path

from platform_config.env import SettingsError, text
from platform_config.settings.base import *  # noqa: F403
from platform_config.settings.base import DATA_DIR, DATABASE_APP_DERIVED, DATABASE_OWNER, REDIS_URL, SECRET_KEY


def _is_embedded(socket: str) -> bool:
    """Whether a socket is one of `platform_config.embedded`: under DATA_DIR, or in a directory that it made for one
    whose path is too long."""
    place = Path(socket.removeprefix("unix://").partition("?")[0])
    return place.is_absolute() and (place.is_relative_to(DATA_DIR) or any(p.startswith("lyceum-") for p in place.parts))


if len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 10:
    raise SettingsError("SECRET_KEY is weak; use at least 50 random characters.")
if DATABASE_APP_DERIVED:
    raise SettingsError("DATABASE_APP_URL is not set; production serves with its own role, never with the owner's.")
if _is_embedded(DATABASE_OWNER["HOST"]) or _is_embedded(REDIS_URL):
    raise SettingsError("The embedded PostgreSQL and Redis are for local runs; set DATABASE_URL and REDIS_URL.")
text("PLATFORM_DOMAIN")
REFUSED_PASSWORDS = frozenset({"lyceum-demo"})
