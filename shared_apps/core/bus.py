"""Invalidation between processes: a small Redis pub/sub that tells caches what to forget.

Delivery is a hint. Every cache that listens also has a short lifetime, so a lost message costs seconds, not truth.
"""

import os
import threading
import time
from collections.abc import Callable

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

log = structlog.get_logger(__name__)
_handlers: dict[str, Callable[[str], None]] = {}
_state = threading.Lock()
_listening_pid: int | None = None
_client: redis.Redis | None = None


def client() -> redis.Redis:
    """This process's Redis client (thread-safe, pooled)."""
    global _client
    if _client is None:
        # One retry, for a pooled connection that a restart of Redis has closed; redis-py's own ten with growing pauses
        # would hold a request for seconds while Redis is away.
        once = Retry(NoBackoff(), 1)
        _client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2, retry=once)
    return _client


def channel() -> str:
    """Redis channel of the messages; pub/sub knows no database numbers, and one Redis may serve several platforms."""
    return f"lyceum:invalidate:{settings.DATABASES['default']['NAME']}"


def subscribe(topic: str, handler: Callable[[str], None]) -> None:
    """Call `handler(key)` for each message of `topic`, and `handler("")` whenever messages may have been missed."""
    _handlers[topic] = handler


def tell(topic: str, key: str) -> None:
    """Tell every process, this one first, to forget `key` of `topic`."""
    handler = _handlers.get(topic)
    if handler is not None:
        handler(key)
    try:
        client().publish(channel(), f"{topic} {key}")
    except redis.RedisError as error:
        log.warning("invalidation_not_sent", topic=topic, error=str(error))


def listen() -> None:
    """Start this process's listener once; cheap to call for every request."""
    global _listening_pid
    if _listening_pid == os.getpid():
        return
    with _state:
        if _listening_pid == os.getpid():
            return
        _listening_pid = os.getpid()
        threading.Thread(target=_run, name="lyceum-invalidation", daemon=True).start()


def _run() -> None:
    pause = 0.2
    while True:
        try:
            connection = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, health_check_interval=30)
            with connection.pubsub(ignore_subscribe_messages=True) as pubsub:
                pubsub.subscribe(channel())
                for topic in list(_handlers):
                    _call(topic, "")
                pause = 0.2
                for message in pubsub.listen():
                    topic, _, key = message["data"].decode(errors="replace").partition(" ")
                    if topic in _handlers:
                        _call(topic, key)
        except (redis.RedisError, OSError) as error:
            log.warning("invalidation_listener_lost", error=str(error))
            time.sleep(pause)
            pause = min(pause * 2, 5.0)


def _call(topic: str, key: str) -> None:
    """A handler that fails must not end the listener: every cache of the process would go stale with it."""
    try:
        _handlers[topic](key)
    except Exception:
        log.exception("invalidation_failed", topic=topic, key=key)
