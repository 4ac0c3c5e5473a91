"""Invitations: a login that has no password yet gets its first one from whoever holds its invitation."""

from tenant_apps.accounts.models import User, UserManager
from tenant_apps.accounts.password_links import INVITATION


def invite(email: str) -> str | None:
    """The invitation of the person with this e-mail; None for nobody, for who may not sign in, or has a password."""
    user = User.objects.filter(email=UserManager.normalise(email), is_active=True).first()
    if user is None or user.has_usable_password():
        return None
    return INVITATION.made_for(user)


def accept_invitation(*, token: str, password: str) -> User:
    """Set the invited person's first password. Raises Invalid for an invitation that is not good (any more), and for a
    weak password: then the invitation stays good."""
    return INVITATION.set_password(token=token, password=password)
