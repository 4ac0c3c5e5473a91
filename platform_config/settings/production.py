"""Production: real servers, a strong secret, two database roles. TLS ends at a proxy that TRUSTED_PROXIES names.

What is unsafe is refused here, with its name and its mend. What only the database knows (whether the serving role can
do more than serve) is refused by `core.checks.demand_safe_start`, when a server or a worker starts.
"""

from pathlib import Path

from platform_config.env import SettingsError, text
from platform_config.settings.base import *  # noqa: F403
from platform_config.settings.base import (
    BACKUP_STORE,
    DATA_DIR,
    DATABASE_APP_DERIVED,
    DATABASE_OWNER,
    DATABASES,
    DEBUG,
    PLATFORM_DOMAIN,
    REDIS_URL,
    SECRET_KEY,
    SECRET_KEY_FALLBACKS,
    TRUSTED_PROXIES,
)

PLACEHOLDERS = ("changeme", "example", "insecure", "password", "placeholder", "replaceme", "secret", "yourkey")


def _is_embedded(socket: str) -> bool:
    """Whether a socket is one of `platform_config.embedded`: under DATA_DIR, or in a directory that it made for one
    whose path is too long."""
    place = Path(socket.removeprefix("unix://").partition("?")[0])
    return place.is_absolute() and (place.is_relative_to(DATA_DIR) or any(p.startswith("lyceum-") for p in place.parts))


def _demand_strong(name: str, key: str) -> None:
    mend = "make one: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    if len(key) < 50 or len(set(key)) < 10:
        raise SettingsError(f"{name} is weak; use at least 50 random characters; {mend}")
    bare = "".join(letter for letter in key.lower() if letter.isalpha())
    if any(word in bare for word in PLACEHOLDERS):
        raise SettingsError(f"{name} is a placeholder that anybody may know; {mend}")


if DEBUG:
    raise SettingsError("DEBUG is on; it shows strangers the code and its secrets. Leave it as base.py has it.")
_demand_strong("SECRET_KEY", SECRET_KEY)
for _key in SECRET_KEY_FALLBACKS:
    _demand_strong("SECRET_KEY_FALLBACKS", _key)
if DATABASE_APP_DERIVED:
    raise SettingsError("DATABASE_APP_URL is not set; production serves with its own role, never with the owner's.")
if DATABASES["default"]["USER"] == DATABASE_OWNER["USER"]:
    raise SettingsError(
        "DATABASE_APP_URL names the owner's role; make one that only serves: CREATE ROLE lyceum_app LOGIN PASSWORD ..."
    )
if _is_embedded(DATABASE_OWNER["HOST"]) or _is_embedded(DATABASES["default"]["HOST"]) or _is_embedded(REDIS_URL):
    raise SettingsError("The embedded PostgreSQL and Redis are for local runs; set DATABASE_URL and REDIS_URL.")
text("PLATFORM_DOMAIN")
if PLATFORM_DOMAIN == "localhost" or PLATFORM_DOMAIN.endswith(".localhost"):
    raise SettingsError("PLATFORM_DOMAIN is localhost; name the domain below which the institutions live.")
if not TRUSTED_PROXIES:
    raise SettingsError(
        "TRUSTED_PROXIES is empty, so every visitor would count as the proxy; name its address, such as 10.0.0.5."
    )
if any(network.prefixlen == 0 for network in TRUSTED_PROXIES):
    raise SettingsError("TRUSTED_PROXIES names every address; then anybody may say whom a request came from.")
if BACKUP_STORE and BACKUP_STORE["endpoint"].startswith("http:"):
    raise SettingsError("BACKUP_STORE_ENDPOINT is plain http, which shows its key to the network; write https://...")
SERVING_ROLE_IS_CHECKED = True
# The password of the demo's people: rows of a demo that were brought along open nothing.
REFUSED_PASSWORDS = frozenset({"lyceum-demo"})
