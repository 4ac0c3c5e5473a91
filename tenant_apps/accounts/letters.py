"""Letters about passwords: owed in the outbox, which holds the person's id and no token, and sent by a worker.

A letter goes to the person's stored e-mail and names the host that the institution is known by, whatever spelling or
host somebody asked with. Nothing that a stranger typed stands in one.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from smtplib import SMTPException
from typing import Final
from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail

from shared_apps.core.context import current_institution
from shared_apps.core.publish import publish
from shared_apps.tenants.addresses import own_address
from tenant_apps.accounts.models import User

TOPIC = "accounts.letter"

RESET = """{reason}

Within an hour, choose a password: send it with this token to
{address}/api/v1/auth/password-reset/confirm/

{token}

If it was not you, do nothing: everything stays as it is, and the token ends by itself.
"""
LOST = "Somebody, probably you, asked for a new password at {name}, {address}/"
NONE_YET = "Your login at {name}, {address}/ has no password yet. Somebody, probably you, asked for one."
CHANGED = """The password of your login at {name} was changed on {day:%Y-%m-%d} at {day:%H:%M} UTC.
All other devices were signed out.

If it was not you, ask for a new password at once, where you always sign in, and tell the administration.
"""


class Letter(StrEnum):
    RESET = "password_reset"
    CHANGED = "password_changed"


LATEST: Final = {Letter.RESET: timedelta(hours=1), Letter.CHANGED: timedelta(days=3)}
"""After that a letter that the mail server did not take is owed no more."""


class NotSent(RuntimeError):
    """The mail server did not take a letter. Says what kind of trouble, and not the address, which would be logged."""


def owe(letter: Letter, *, to: UUID) -> None:
    """Owe the person a letter once the open transaction has committed; nobody, where there is no mail server."""
    if settings.LETTERS_GO_OUT:
        publish(TOPIC, {"letter": letter, "user": str(to)})


def send_reset(user: User, token: str) -> None:
    """The letter with which the person chooses a password. Raises NotSent."""
    name, address = _name(), own_address()
    reason = (LOST if user.has_usable_password() else NONE_YET).format(name=name, address=address)
    _send(f"Your password at {name}", RESET.format(reason=reason, address=address, token=token), user)


def send_changed(user: User, day: datetime) -> None:
    """The letter that tells of another password, without any link: such letters are imitated. Raises NotSent."""
    name = _name()
    _send(f"Your password at {name} was changed", CHANGED.format(name=name, day=day), user)


def _name() -> str:
    return " ".join(current_institution().name.split())  # a subject is one line


def _send(subject: str, text: str, user: User) -> None:
    try:
        send_mail(subject, text, None, [user.email])
    except (SMTPException, OSError) as error:
        raise NotSent(f"{type(error).__name__} {getattr(error, 'smtp_code', '')}".strip()) from None
