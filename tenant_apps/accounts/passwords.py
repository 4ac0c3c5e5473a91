"""Checking and setting passwords, a bounded number at a time.

Argon2 takes 100 MiB and tens of milliseconds a hash by design; a rush of sign-ins without a bound would take the
machine's memory. Those beyond the bound wait in a short queue, those beyond the queue are asked to come back.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from django.conf import settings
from django.contrib.auth.hashers import get_hasher, is_password_usable, make_password, verify_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from shared_apps.core.errors import Invalid, Unavailable
from tenant_apps.accounts.models import User

HASHES_AT_ONCE = 4
LONGEST_QUEUE = 32
WAIT_SECONDS = 10.0
MOST_CHARACTERS = 1024


class HashQueue:
    """Places for concurrent hashes in this process."""

    def __init__(self, at_once: int, longest: int, wait: float) -> None:
        self._places = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._waiting = 0
        self._longest, self._wait = longest, wait

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for the block. Raises Unavailable when the queue is full or does not move."""
        with self._lock:
            if self._waiting >= self._longest:
                raise _busy()
            self._waiting += 1
        try:
            got_one = self._places.acquire(timeout=self._wait)
        finally:
            with self._lock:
                self._waiting -= 1
        if not got_one:
            raise _busy()
        try:
            yield
        finally:
            self._places.release()


def _busy() -> Unavailable:
    return Unavailable("Many people are signing in; try again in a moment.", headers={"Retry-After": "3"})


queue = HashQueue(HASHES_AT_ONCE, LONGEST_QUEUE, WAIT_SECONDS)


def password_is(user: User | None, password: str) -> bool:
    """Whether it is the user's password. Costs one hash, whether or not there is such a user with a password.

    A password that everybody can read in the documentation (REFUSED_PASSWORDS) opens nothing, also where rows of a demo
    have been restored.
    """
    encoded = user.password if user is not None and is_password_usable(user.password) else _nobodys(_algorithm())
    with queue.place():
        right, _ = verify_password(password, encoded)
    return right and user is not None and encoded == user.password and password not in settings.REFUSED_PASSWORDS


def hashed(password: str) -> str:
    """The password as it is stored."""
    with queue.place():
        return make_password(password)


def demand_good(password: str, user: User, *, pointer: str) -> None:
    """Raises Invalid when the password is too long, too short, too common or like the person's own data."""
    if len(password) > MOST_CHARACTERS or "\x00" in password:
        raise Invalid.at(pointer, f"Use at most {MOST_CHARACTERS} characters and no NUL.", code="bad_password")
    if password in settings.REFUSED_PASSWORDS:
        raise Invalid.at(pointer, "Everybody knows this password; choose another.", code="weak_password")
    try:
        validate_password(password, user)
    except ValidationError as error:
        places = [
            {"pointer": pointer, "detail": message, "code": reason.code or "bad_password"}
            for reason in error.error_list
            for message in reason.messages
        ]
        raise Invalid("Choose another password.", code="weak_password", errors=places) from None


def _algorithm() -> str:
    return get_hasher().algorithm


@lru_cache(maxsize=4)
def _nobodys(algorithm: str) -> str:
    """A hash that stands in for the one that an unknown user does not have."""
    return make_password("nobody's password", hasher=algorithm)
