"""Synchronous code (the ORM) called from the event loop, in a few threads with a connection each.

The ContextVar of the calling coroutine reaches the thread, so a query there reads the socket's own institution
(asgiref copies the context; tests/realtime prove it for sockets of two institutions at once).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from channels.db import DatabaseSyncToAsync

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4
# One shared thread, which is asgiref's default, would make every socket wait for every other's query.
pool = ThreadPoolExecutor(THREADS, thread_name_prefix="lyceum-sockets")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await `function(...)` run in one of the pool's threads, in the caller's context."""
    return await DatabaseSyncToAsync(function, thread_sensitive=False, executor=pool)(*args, **kwargs)
