"""Sign-in with e-mail and password, and what slows down those who guess.

Wrong passwords are counted in Redis, reserved before the hash and given back when it was right, so that concurrent
guesses cannot pass the limit together:

- one account from one address: PAIR_LIMIT in WINDOW, then that pair waits. The owner elsewhere goes on.
- one account from addresses where it never signed in: beyond ACCOUNT_FREE each further guess waits, twice as long
  each time up to a minute. An address where the owner has signed in before is exempt: nobody locks them out.
- one address: ADDRESS_LIMIT in WINDOW. A school's thousand people share one address and mistype.
"""

import hashlib
import math
from contextlib import suppress

import redis
from django.db import transaction
from django.utils import timezone

from shared_apps.core.api.admission import Script, place_key, run, run_or_refuse
from shared_apps.core.errors import TooMany, Unauthenticated, Unavailable
from tenant_apps.accounts.models import User, UserManager
from tenant_apps.accounts.passwords import password_is
from tenant_apps.accounts.sessions import Issued, open_session

WINDOW_SECONDS = 15 * 60
PAIR_LIMIT = 10
ACCOUNT_FREE = 20
ADDRESS_LIMIT = 500
LONGEST_DELAY_SECONDS = 60
KNOWN_SECONDS = 60 * 86400

# KEYS: pair, account, address, wait, known. ARGV: window ms, pair limit, address limit, account free, longest ms.
BEGIN = Script("""
local function full(key, limit)
  if tonumber(redis.call('GET', key) or '0') >= tonumber(limit) then return redis.call('PTTL', key) end
  return 0
end
local wait = full(KEYS[1], ARGV[2])
if wait > 0 then return {1, wait} end
wait = full(KEYS[3], ARGV[3])
if wait > 0 then return {2, wait} end
local known = redis.call('EXISTS', KEYS[5]) == 1
if not known then
  wait = redis.call('PTTL', KEYS[4])
  if wait > 0 then return {3, wait} end
end
local function count(key)
  local n = redis.call('INCR', key)
  if n == 1 then redis.call('PEXPIRE', key, ARGV[1]) end
  return n
end
count(KEYS[1])
count(KEYS[3])
if not known then
  local over = count(KEYS[2]) - tonumber(ARGV[4])
  if over > 0 then
    redis.call('SET', KEYS[4], 1, 'PX', math.min(1000 * 2 ^ math.min(over - 1, 20), tonumber(ARGV[5])))
  end
end
return {0, 0}
""")

# Gives a reservation back. ARGV: 1 when the password was right, seconds for which the address stays known.
GIVE_BACK = Script("""
local function less(key)
  if tonumber(redis.call('GET', key) or '0') > 0 then redis.call('DECR', key) end
end
less(KEYS[3])
if redis.call('EXISTS', KEYS[5]) == 0 then
  less(KEYS[2])
  redis.call('DEL', KEYS[4])
end
if ARGV[1] == '1' then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[5], 1, 'EX', ARGV[2])
else
  less(KEYS[1])
end
return {}
""")

# The owner has shown who they are by other means: their own wrong guesses from here are forgotten.
FORGIVE = Script("""
redis.call('DEL', KEYS[1], KEYS[4])
redis.call('SET', KEYS[5], 1, 'EX', ARGV[1])
return {}
""")


def sign_in(*, email: str, password: str, address: str, user_agent: str) -> Issued:
    """Open a session for the person with this e-mail and password; `address` is the client's.

    Raises Unauthenticated (`bad_credentials`, the same for a wrong password, an unknown or inactive user and one
    without a password), TooMany, or Unavailable when Redis or the hash queue cannot take it.
    """
    email = UserManager.normalise(email)
    user = _find(email)
    if not guess(email, user, password, address):
        raise _refused()
    assert user is not None
    with transaction.atomic():
        # Deactivation or a new password may have come in while the old one was being checked: the row, locked, must
        # still be the one that was checked, else its session would outlive them.
        same = User.objects.select_for_update().filter(pk=user.pk, password=user.password, is_active=True).first()
        if same is None:
            raise _refused()
        User.objects.filter(pk=same.pk).update(last_login=timezone.now())
        return open_session(user=same, address=None if address == "unknown" else address, user_agent=user_agent)


def guess(email: str, user: User | None, password: str, address: str) -> bool:
    """Whether the password opens the account, counted against the limits of guessing. Raises TooMany, Unavailable."""
    keys = _keys(email, address)
    limits = (WINDOW_SECONDS * 1000, PAIR_LIMIT, ADDRESS_LIMIT, ACCOUNT_FREE, LONGEST_DELAY_SECONDS * 1000)
    refused, wait_ms = run_or_refuse(BEGIN, keys, limits)
    if refused:
        wait = max(1, math.ceil(wait_ms / 1000))
        raise TooMany(
            f"Too many wrong passwords; try again in {wait} seconds.",
            code="too_many_attempts",
            headers={"Retry-After": str(wait)},
        )
    try:
        right = password_is(user, password) and user is not None and user.is_active
    except Unavailable:
        run_or_refuse(GIVE_BACK, keys, (0, 0))
        raise
    if right:
        run_or_refuse(GIVE_BACK, keys, (1, KNOWN_SECONDS))
    return right


def forgive(*, email: str, address: str) -> None:
    """Let the owner of the account in from this address at once, however often they mistyped. With Redis away, later:
    what has been done already is not undone for it."""
    with suppress(redis.RedisError):
        run(FORGIVE, _keys(email, address), (KNOWN_SECONDS,))


def _find(email: str) -> User | None:
    return User.objects.filter(email=email).first()


def _keys(email: str, address: str) -> tuple[str, ...]:
    place = f"{place_key()}:guess"
    account = hashlib.sha256(email.encode()).hexdigest()[:32]
    return (
        f"{place}:pair:{account}:{address}",
        f"{place}:account:{account}",
        f"{place}:address:{address}",
        f"{place}:wait:{account}",
        f"{place}:known:{account}:{address}",
    )


def _refused() -> Unauthenticated:
    return Unauthenticated("The e-mail or the password is wrong.", code="bad_credentials")
