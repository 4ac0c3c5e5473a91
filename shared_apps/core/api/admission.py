"""Who may ask again: the limits, and whether what a process remembers of a person's rights still holds.

Both are answered by one Lua script, so a request costs one round trip to Redis and, of any number of concurrent
requests, exactly N pass. A fixed window opens with the first request and lasts its whole time.

Everybody's requests also count against their institution's window of a minute; what is refused counts for nobody. A
process that was refused one remembers it for a moment, and turns the institution's next requests away at the door.
"""

import hashlib
import ipaddress
import math
import os
import secrets
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import redis
import structlog
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from shared_apps.core import bus
from shared_apps.core.context import InstitutionContext, current, current_institution
from shared_apps.core.errors import TooMany, Unavailable
from shared_apps.core.limits import REQUESTS
from shared_apps.core.quotas import limits_of

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 0.5
QUIET_SECONDS = 1.0
"""After a failure Redis is left alone this long, so that requests do not queue behind its time-outs."""
EPOCH_SECONDS = 3600
"""An epoch outlives everything that was remembered under it (seconds, against 15 of a principal)."""
MOST_LOCAL_BUCKETS = 50_000
MINUTE_MS = 60_000
OUTSIDERS_SHARE = 0.8
"""Of an institution's requests those who are not signed in get so much: they cannot lock its people out."""
SHUT_SECONDS = 1.0
"""So long a process turns an institution away without asking Redis again: a raised limit holds that much later."""


class Script:
    """A Lua script, sent whole once and called by its digest from then on."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


# One more in the window of KEYS[1], which lasts ARGV[1] ms from its first.
WINDOW = """
local used = redis.call('INCR', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  left = tonumber(ARGV[1])
end
"""
COUNT = Script(f"{WINDOW}return {{used, left}}")
# KEYS: the asker's window, the institution's, and of who is signed in the two epochs. ARGV: the length of the asker's
# window in ms, its limit, and how many requests of the institution may pass (empty: any number). `whole` is 0 where the
# asker's own window refuses already, and one more than may pass where the institution's does.
ADMIT = Script(f"""{WINDOW}
local whole, whole_left, most = 0, 0, tonumber(ARGV[3])
if most and used <= tonumber(ARGV[2]) then
  whole = tonumber(redis.call('GET', KEYS[2]) or '0') + 1
  if whole <= most then
    redis.call('INCR', KEYS[2])
  else
    redis.call('DECR', KEYS[1])
    whole = most + 1
  end
  whole_left = redis.call('PTTL', KEYS[2])
  if whole_left < 0 then
    redis.call('PEXPIRE', KEYS[2], 60000)
    whole_left = 60000
  end
end
if not KEYS[3] then return {{used, left, whole, whole_left}} end
local epochs = redis.call('MGET', KEYS[3], KEYS[4])
return {{used, left, whole, whole_left, epochs[1] or '', epochs[2] or ''}}
""")


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to one request. `reset_ms` is the time until the window ends.

    `epochs` are the tenant's and the user's, as bytes; None when Redis did not answer or nobody is signed in. With
    `whole` it is the institution's window that refuses, and the figures are that one's.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_ms: int
    epochs: tuple[bytes, bytes] | None
    whole: bool = False


def admit(
    request: HttpRequest, *, user_id: UUID | None = None, rate: tuple[int, int] | None = None, bucket: str = "api"
) -> Admission:
    """Count the request and say whether it may go on; sets `request.admission`.

    Signed-in people are counted each by themselves, others by client address, both within their institution. `rate`
    is (requests, seconds), by default RATE_LIMIT_USER or RATE_LIMIT_ANON; a `bucket` of its own counts by itself.
    Each counts for the institution as a whole too. With Redis away, this process counts alone: a broken limiter must
    not close the school.
    """
    limit, seconds = rate or (settings.RATE_LIMIT_USER if user_id else settings.RATE_LIMIT_ANON)
    place, most = place_key(), _most_of_institution(signed_in=user_id is not None)
    keys: tuple[str, ...]
    if user_id is not None:
        keys = (f"{place}:rate:{bucket}:u:{user_id}", whole_key(), f"{place}:authz", f"{place}:authz:{user_id}")
    else:
        keys = (f"{place}:rate:{bucket}:a:{client_address(request)}", whole_key())
    epochs = None
    try:
        answer = run(ADMIT, keys, (seconds * 1000, limit, "" if most is None else most))
    except redis.RedisError:
        used, reset_ms = _count_here(keys[0], seconds)
        whole, whole_ms = _count_here(keys[1], MINUTE_MS // 1000) if most is not None and used <= limit else (0, 0)
    else:
        used, reset_ms, whole, whole_ms = answer[:4]
        if user_id is not None:
            epochs = (answer[4], answer[5])
    if most is not None and whole > most:
        admission = Admission(False, most, 0, whole_ms, epochs, whole=True)
        if user_id is not None:
            _shut[place] = (time.monotonic() + SHUT_SECONDS, time.monotonic() + whole_ms / 1000, most)
    else:
        admission = Admission(used <= limit, limit, max(0, limit - used), reset_ms, epochs)
    request.admission = admission
    return admission


def _most_of_institution(*, signed_in: bool) -> int | None:
    context = current()
    if not isinstance(context, InstitutionContext):
        return None
    most = limits_of(context).requests_per_minute
    return most if most is None or signed_in else max(1, int(most * OUTSIDERS_SHARE))


_shut: dict[str, tuple[float, float, int]] = {}  # until when it is believed, when the window ends, the limit


def turned_away() -> TooMany | None:
    """The refusal of a request of the current institution that need not be looked at, because Redis refused one a
    moment ago; None for one that is to be counted."""
    known = _shut.get(place_key()) if _shut else None
    if known is None:
        return None
    now = time.monotonic()
    if known[0] <= now:
        _shut.pop(place_key(), None)
        return None
    return _too_many(Admission(False, known[2], 0, int((known[1] - now) * 1000), None, whole=True))


def _open_again(_key: str = "") -> None:
    _shut.clear()


bus.subscribe("limits", _open_again)


def requests_of_this_minute() -> int | None:
    """How many requests of the current institution passed in its window; None with Redis away."""
    try:
        return int(bus.client().get(whole_key()) or 0)
    except redis.RedisError:
        return None


def demand(admission: Admission) -> Admission:
    """The admission, if it was given. Raises TooMany with Retry-After."""
    if admission.allowed:
        return admission
    raise _too_many(admission)


def _too_many(admission: Admission) -> TooMany:
    wait = max(1, math.ceil(admission.reset_ms / 1000))
    headers = {**rate_headers(admission), "Retry-After": str(wait)}
    if not admission.whole:
        return TooMany(f"{admission.limit} requests were made; ask again in {wait} seconds.", headers=headers)
    return TooMany(
        f"The institution as a whole made {admission.limit:,} requests within a minute, all that it may; ask again in "
        f"{wait} seconds. A principal can ask the platform's operators for more.",
        code="institution_rate_limited",
        headers=headers,
        more={"limit": REQUESTS, "allowed": admission.limit},
    )


def rate_headers(admission: Admission) -> dict[str, str]:
    """Headers of every API answer; Reset counts seconds from now, Scope says whose requests are counted."""
    return {
        "X-RateLimit-Limit": str(admission.limit),
        "X-RateLimit-Remaining": str(admission.remaining),
        "X-RateLimit-Reset": str(math.ceil(admission.reset_ms / 1000)),
        "X-RateLimit-Scope": "institution" if admission.whole else "asker",
    }


def forget_authorisations(user_id: UUID | None) -> None:
    """Make every process read this person's rights anew; None: everybody's of the institution.

    Called where rights change, inside the transaction that changes them. The epoch moves twice. After the commit,
    because whoever reads between now and then remembers the old rights under the epoch of now. And at once, because
    a process that dies between its commit and the second move would otherwise leave the old rights remembered.
    Open sockets are told after the commit: before it they would read the old rights again.
    """
    tenant_id = current_institution().id
    key = f"{place_key()}:authz" + (f":{user_id}" if user_id else "")
    if transaction.get_connection().in_atomic_block:
        _move(key)

    def committed() -> None:
        _move(key)
        bus.tell("authz", f"{tenant_id}:{user_id or ''}")

    transaction.on_commit(committed)


def _move(key: str) -> None:
    """A new random epoch. A counter would come back to a value that was used before, once Redis loses it."""
    try:
        bus.client().set(key, secrets.token_hex(8), ex=EPOCH_SECONDS)
    except redis.RedisError as error:
        log.warning("epoch_not_moved", key=key, error=str(error))


def place_key() -> str:
    """Prefix of this institution's keys. The braces keep them on one node of a Redis cluster."""
    context = current()
    return f"lyceum:{{{context.id if isinstance(context, InstitutionContext) else 'platform'}}}"


def whole_key() -> str:
    """Where the current institution's requests are counted."""
    return f"{place_key()}:rate:whole"


def client_address(request: HttpRequest) -> str:
    """The address that the request came from: of a trusted proxy the last hop that is none, else the peer itself.

    An IPv6 client owns at least a /64 and could walk through it, so it counts as that network.
    """
    peer = request.META.get("REMOTE_ADDR", "")
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR")
    if forwarded and is_trusted_proxy(peer):
        for hop in reversed(forwarded.split(",")):
            peer = hop.strip()
            if not is_trusted_proxy(peer):
                break
    return _network(peer)


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)


def is_trusted_proxy(address: str) -> bool:
    """Whether TRUSTED_PROXIES names this address: then its X-Forwarded headers are believed, and nobody else's."""
    proxies = settings.TRUSTED_PROXIES
    if not proxies:
        return False
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in proxies)


# Each thread keeps one connection and packs its command itself: 87 us a round trip, 153 through the pooled client.


class _Line(threading.local):
    connection: Any = None
    pid = 0
    quiet_until = 0.0


_line = _Line()


def _dial() -> Any:
    pool = redis.ConnectionPool.from_url(
        settings.REDIS_URL, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS
    )
    return pool.make_connection()


def _packed(*words: str | int) -> list[bytes]:
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        raw = str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return [b"".join(parts)]


def run(script: Script, keys: tuple[str, ...], arguments: tuple[str | int, ...]) -> list:
    """Run a script on this thread's connection. Raises redis.RedisError within a second when Redis does not answer."""
    if _line.quiet_until > time.monotonic():
        raise redis.ConnectionError("Redis did not answer a moment ago.")
    try:
        return _call(script, keys, arguments)
    except redis.ResponseError:
        raise
    except (redis.RedisError, OSError) as error:
        _line.quiet_until = time.monotonic() + QUIET_SECONDS
        log.warning("redis_not_answering", error=str(error))
        raise redis.ConnectionError(str(error)) from error


def _call(script: Script, keys: tuple[str, ...], arguments: tuple[str | int, ...]) -> list:
    fresh = _line.connection is None or _line.pid != os.getpid()
    if fresh:
        _line.connection, _line.pid = _dial(), os.getpid()
    connection = _line.connection
    try:
        connection.send_packed_command(_packed("EVALSHA", script.digest, len(keys), *keys, *arguments))
        return connection.read_response()
    except redis.exceptions.NoScriptError:
        connection.send_packed_command(_packed("EVAL", script.source, len(keys), *keys, *arguments))
        return connection.read_response()
    except redis.ResponseError:
        raise
    except redis.TimeoutError:
        _hang_up()
        raise
    except (redis.RedisError, OSError):
        _hang_up()
        # A connection that stood idle over a restart of Redis is dead; only a new one says whether Redis is there.
        # What was carried out before the line broke is thus counted twice, never not at all.
        if fresh:
            raise
        return _call(script, keys, arguments)


def _hang_up() -> None:
    connection, _line.connection = _line.connection, None
    if connection is not None:
        connection.disconnect()


# Redis away: each process counts by itself.

_here: dict[str, tuple[int, float]] = {}
_here_lock = threading.Lock()


def _count_here(key: str, seconds: int) -> tuple[int, int]:
    now = time.monotonic()
    with _here_lock:
        used, ends = _here.get(key, (0, 0.0))
        if ends <= now:
            if len(_here) >= MOST_LOCAL_BUCKETS:
                _here.clear()
            used, ends = 0, now + seconds
        _here[key] = (used + 1, ends)
    return used + 1, int((ends - now) * 1000)


def run_or_refuse(script: Script, keys: tuple[str, ...], arguments: tuple[str | int, ...]) -> list:
    """As `run`, for what must not go on uncounted (sign-in). Raises Unavailable when Redis does not answer."""
    try:
        return run(script, keys, arguments)
    except redis.RedisError:
        raise Unavailable(
            "Sign-in is not possible for the moment; try again shortly.", headers={"Retry-After": "5"}
        ) from None
