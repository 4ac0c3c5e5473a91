"""What lets its holder set a person's password: `<user>.<until>.<mac>`.

The mac covers the institution and the kind of link (by its salt), the person, the end, the password as it is stored,
the version of their tokens and their e-mail. So a link is good here, for this person, until then, and once: setting a
password changes what is stored and ends all links, and so do deactivation and another e-mail. Nothing is kept of it.
"""

import time
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from shared_apps.core.actors import identified
from shared_apps.core.errors import Invalid
from tenant_apps.accounts.models import User
from tenant_apps.accounts.services import set_password
from tenant_apps.accounts.tokens import mac, mac_matches


@dataclass(frozen=True, slots=True)
class Link:
    """A kind of link. `name` stands in the salt and in refusals; with `first` it is for who has no password yet."""

    name: str
    seconds: int
    first: bool = False

    def made_for(self, user: User) -> str:
        """A link for the person as they are stored now."""
        until = int(time.time()) + self.seconds
        return f"{user.pk}.{until}.{mac(self.name, _said(user, until))}"

    def set_password(self, *, token: str, password: str) -> User:
        """Set the password of whoever the link was made for; they act from here on, as the log says.

        Raises Invalid (`bad_<name>`) for a link that is not good (any more), and for a weak password: then the link
        stays good.
        """
        with transaction.atomic():
            user = self._holder(token)
            if user is None:
                detail = f"This {self.name} is not good, or was used."
                raise Invalid.at("/token", detail, code=f"bad_{self.name.replace(' ', '_')}")
            identified(user_id=user.pk, name=f"{user.email} ({self.name})")
            return set_password(user=user, password=password)

    def _holder(self, token: str) -> User | None:
        """Their row, locked: of two that use a link at once the second finds it used."""
        key, _, rest = token.partition(".")
        until, _, made = rest.partition(".")
        try:
            user = User.objects.select_for_update().filter(pk=UUID(key), is_active=True).first()
            end = int(until)
        except ValueError:
            return None
        if user is None or end < time.time() or (self.first and user.has_usable_password()):
            return None
        return user if mac_matches(self.name, _said(user, end), made) else None


INVITATION = Link("invitation", 7 * 86400, first=True)
RESET = Link("password reset", 3600)


def _said(user: User, until: int) -> str:
    return f"{user.pk}:{until}:{user.token_version}:{user.password}:{user.email}"
