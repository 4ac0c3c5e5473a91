"""Identifiers made in Python: UUID version 7 (RFC 9562 section 5.7), ordered by creation time.

Their random bits are the operating system's, fetched some hundred identifiers ahead: each fetch lets go of the
interpreter's lock, which a busy process gets back only after another thread's turn (a tenth of a creation, measured).
"""

import os
import threading
import time
from uuid import UUID

FETCHED = 4096  # bytes
_lock = threading.Lock()
_last = 0
_random = b""


def uuid7() -> UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, 12 bits of sub-millisecond time, 62 random bits.

    Within one process each is greater than the one before (RFC 9562 section 6.2, method 3).
    """
    global _last
    with _lock:
        nanoseconds = time.time_ns()
        stamp = (nanoseconds // 1_000_000 << 12) | (nanoseconds % 1_000_000 * 4096 // 1_000_000)
        if stamp <= _last:
            stamp = _last + 1
        _last = stamp
        noise = int.from_bytes(_take(8)) >> 2
    milliseconds, fraction = stamp >> 12, stamp & 0xFFF
    return UUID(int=(milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | noise)


def random_hex(count: int) -> str:
    """So many random bytes (at most `FETCHED`) in hexadecimal digits."""
    with _lock:
        return _take(count).hex()


def _take(count: int) -> bytes:
    global _random
    if len(_random) < count:
        _random = os.urandom(FETCHED)
    taken, _random = _random[:count], _random[count:]
    return taken


def _forget() -> None:
    """A forked process must not hand out what its parent does, nor wait for a lock that a thread left behind held."""
    global _lock, _random
    _lock, _random = threading.Lock(), b""


os.register_at_fork(after_in_child=_forget)
