"""Identifiers made in Python: UUID version 7 (RFC 9562 section 5.7), ordered by creation time."""

import secrets
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0


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
    milliseconds, fraction = stamp >> 12, stamp & 0xFFF
    value = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return UUID(int=value)
