"""Typed readers of the environment. A missing or misspelt value stops the start with its name.

Every reader also accepts `NAME_FILE`, the path of a file that holds the value (Docker and Kubernetes secrets).
"""

import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})


class SettingsError(Exception):
    """A setting is missing or unreadable; the message names the variable and the mend."""


def text(name: str, default: str | None = None) -> str:
    """The value of `name`, else of the file that `NAME_FILE` points to, else `default`."""
    value = os.environ.get(name)
    file = os.environ.get(f"{name}_FILE")
    if value and file:
        raise SettingsError(f"{name} and {name}_FILE are both set; keep one of them.")
    if file:
        try:
            value = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{name}_FILE: cannot read {file}: {error.strerror}.") from error
    if not value:
        if default is None:
            raise SettingsError(
                f"{name} is not set. Set it (docs/operations/configuration.md lists all), or start `make demo`, whose "
                "servers this command then finds under DATA_DIR."
            )
        return default
    return value


def borrow(name: str) -> None:
    """Take what is unset from `DATA_DIR/<name>`, lines of NAME=value; without that file nothing happens."""
    published = Path(os.environ.get("DATA_DIR") or Path(__file__).resolve().parents[1] / ".data") / name
    try:
        lines = published.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        variable, _, value = line.partition("=")
        os.environ.setdefault(variable, value)


def integer(name: str, default: int | None = None, *, least: int = 0) -> int:
    """A whole number of at least `least`."""
    raw = text(name, None if default is None else str(default))
    try:
        value = int(raw)
    except ValueError:
        raise SettingsError(f"{name} is {raw!r}, which is not a whole number.") from None
    if value < least:
        raise SettingsError(f"{name} is {value}; the least is {least}.")
    return value


def flag(name: str, default: bool) -> bool:
    """A yes or no: 1/true/yes/on or 0/false/no/off."""
    raw = text(name, "true" if default else "false").lower()
    if raw in TRUE:
        return True
    if raw in FALSE:
        return False
    raise SettingsError(f"{name} is {raw!r}; write true or false.")


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    """One of the allowed words, in upper case."""
    value = text(name, default).upper()
    if value not in allowed:
        raise SettingsError(f"{name} is {value!r}; use one of {', '.join(allowed)}.")
    return value


def networks(name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks, comma-separated: `10.0.0.1, 10.1.0.0/16`."""
    found = []
    for word in words(name):
        try:
            found.append(ip_network(word, strict=False))
        except ValueError:
            raise SettingsError(f"{name} holds {word!r}, which is no address and no network.") from None
    return tuple(found)


def domain(name: str, default: str) -> str:
    """A host name in lower case, without port."""
    value = text(name, default).lower()
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", value):
        raise SettingsError(f"{name} is {value!r}, which is no host name.")
    return value


def redis(name: str) -> str:
    """A Redis address: `redis://host:port/db`, `rediss://...` or `unix:///path?db=0`."""
    value = text(name)
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise SettingsError(f"{name} is {value!r}; write redis://host:port/0, rediss:// for TLS or unix:///path.")
    return value


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list, blanks dropped."""
    return [word.strip() for word in text(name, default or " ").split(",") if word.strip()]


def folder(name: str) -> Path | None:
    """A folder that stands; None when it is not set."""
    raw = text(name, " ").strip()
    if raw and not Path(raw).is_dir():
        raise SettingsError(f"{name} is {raw!r}, where there is no folder.")
    return Path(raw) if raw else None


def mail(name: str) -> dict[str, Any]:
    """A mail server as `smtp://user:password@host:587` (STARTTLS), `smtps://...:465` (TLS) or `smtp+plain://host:25`;
    an empty dictionary when it is not set."""
    raw = text(name, " ").strip()
    if not raw:
        return {}
    parts = urlsplit(raw)
    ports = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
    try:
        port = parts.port
    except ValueError:
        raise SettingsError(f"{name} has a port that is not a number.") from None
    if parts.scheme not in ports or not parts.hostname:
        raise SettingsError(f"{name} begins with {parts.scheme!r}; write smtp://user:password@host:587.")
    return {
        "host": parts.hostname,
        "port": port or ports[parts.scheme],
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "ssl": parts.scheme == "smtps",
        "starttls": parts.scheme == "smtp",
    }


def object_store(name: str, *, endpoint: str, region: str, key_id: str, secret: str) -> dict[str, str] | None:
    """A place in an object store, `s3://bucket/prefix`, with what the other variables say of it: its server (none is
    Amazon's), its region, and its credentials (none: the machine's own role). None when it is not set."""
    raw = text(name, " ").strip()
    beside = {variable: text(variable, " ").strip() for variable in (endpoint, region, key_id, secret)}
    if not raw:
        if given := [variable for variable, value in beside.items() if value]:
            raise SettingsError(f"{given[0]} is set and {name} is not; write {name}=s3://bucket/prefix.")
        return None
    found = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9_.=-]+)*)/?", raw)
    if found is None or {".", ".."} & {*found[2].split("/")}:
        raise SettingsError(f"{name} is {raw!r}; write s3://bucket/prefix, with no key and no server in it.")
    server = beside[endpoint].rstrip("/")
    if server and not re.fullmatch(r"https?://([A-Za-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", server):
        raise SettingsError(f"{endpoint} is {server!r}; write https://host or https://host:port, and no more.")
    if bool(beside[key_id]) != bool(beside[secret]):
        raise SettingsError(f"{key_id} and {secret} go together; set both, or neither.")
    return {
        "bucket": found[1],
        "prefix": found[2].strip("/"),
        "endpoint": server,
        "region": beside[region] or "us-east-1",
        "key_id": beside[key_id],
        "secret": beside[secret],
    }


def rate(name: str, default: str) -> tuple[int, int]:
    """A limit as "1000/hour" -> (requests, seconds)."""
    raw = text(name, default)
    seconds = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
    count, _, unit = raw.partition("/")
    if not count.isdigit() or unit not in seconds or int(count) < 1:
        raise SettingsError(f"{name} is {raw!r}; write a rate such as 1000/hour (second, minute, hour, day).")
    return int(count), seconds[unit]


# A server that is gone without a word (a cut cable, a failover) is given up in 45 s, where TCP alone takes up to hours.
GONE_SOON = {
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "45000",
}


def database(name: str, default: str | None = None) -> dict[str, Any]:
    """A PostgreSQL address `postgresql://user:password@host:port/name?host=/socket/dir` as Django's dictionary."""
    raw = text(name, default)
    parts = urlsplit(raw)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise SettingsError(f"{name} begins with {parts.scheme!r}; write postgresql://user:password@host:port/name.")
    options = dict(parse_qsl(parts.query))
    try:
        port = parts.port
    except ValueError:
        raise SettingsError(f"{name} has a port that is not a number.") from None
    if not parts.path.strip("/"):
        raise SettingsError(f"{name} names no database; end it with /name.")
    return {
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or options.pop("user", "")),
        "PASSWORD": unquote(parts.password or options.pop("password", "")),
        "HOST": options.pop("host", None) or unquote(parts.hostname or ""),
        "PORT": options.pop("port", None) or str(port or ""),
        "OPTIONS": GONE_SOON | options,
    }
