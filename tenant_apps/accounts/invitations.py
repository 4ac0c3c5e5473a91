"""Invitations: a login that has no password yet gets its first one from whoever holds its invitation.

An invitation is `<user>.<until>.<mac>`. The mac covers the institution (by its salt), the person, the end and the
password as it is stored, so it is good here, for this person, until then, and once: setting a password changes what is
stored.
"""

import time
from uuid import UUID

from django.db import transaction

from shared_apps.core.errors import Invalid
from tenant_apps.accounts.models import User, UserManager
from tenant_apps.accounts.services import set_password
from tenant_apps.accounts.tokens import mac, mac_matches

SECONDS = 7 * 86400
PURPOSE = "invitation"


def invite(email: str) -> str | None:
    """The invitation of the person with this e-mail; None for nobody, for who may not sign in, or has a password."""
    user = User.objects.filter(email=UserManager.normalise(email), is_active=True).first()
    if user is None or user.has_usable_password():
        return None
    until = int(time.time()) + SECONDS
    return f"{user.pk}.{until}.{mac(PURPOSE, _said(user, until))}"


def accept_invitation(*, token: str, password: str) -> User:
    """Set the invited person's first password. Raises Invalid for an invitation that is not good (any more), and for a
    weak password: then the invitation stays good."""
    with transaction.atomic():
        user = _invited(token)
        if user is None:
            raise Invalid.at("/token", "This invitation is not good, or was used.", code="bad_invitation")
        return set_password(user=user, password=password)


def _invited(token: str) -> User | None:
    key, _, rest = token.partition(".")
    until, _, made = rest.partition(".")
    try:
        user = User.objects.select_for_update().filter(pk=UUID(key), is_active=True).first()
        end = int(until)
    except ValueError:
        return None
    if user is None or user.has_usable_password() or end < time.time():
        return None
    return user if mac_matches(PURPOSE, _said(user, end), made) else None


def _said(user: User, until: int) -> str:
    return f"{user.pk}:{until}:{user.token_version}:{user.password}"
