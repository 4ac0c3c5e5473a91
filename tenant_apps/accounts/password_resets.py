"""Who has forgotten their password gets another one by a letter to the e-mail that is stored for them.

Asking tells nothing: known, unknown and inactive people cost the same statements and are answered alike. A message of
the outbox names the person, or for an unknown e-mail nobody; the worker that carries it out makes token and letter.
"""

import hashlib

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from shared_apps.core.api.admission import COUNT, place_key, run_or_refuse
from shared_apps.core.context import current_institution
from shared_apps.core.errors import Unavailable
from shared_apps.core.ids import uuid7
from shared_apps.tenants.middleware import gate
from tenant_apps.accounts import letters
from tenant_apps.accounts.letters import Letter
from tenant_apps.accounts.models import User, UserManager
from tenant_apps.accounts.password_links import RESET
from tenant_apps.eventlog.models import OutboxMessage

LETTERS_TO_AN_EMAIL = (5, 3600)  # within seconds; what is beyond gets the same answer, and no letter


def ask_for_reset(*, email: str) -> None:
    """Owe the person with this e-mail a letter with a token, if there is one who may sign in.

    Raises Unavailable where there is no mail server, or Redis cannot count: then for everybody. Raises the gate's
    Problem while nothing is written here: a letter would lie until it is no use.
    """
    if not settings.LETTERS_GO_OUT:
        detail = "There is no mail server here; ask the administration for a new password."
        raise Unavailable(detail, code="no_mail_server")
    refusal = gate(current_institution(), writes=True)
    if refusal is not None:
        raise refusal
    email = UserManager.normalise(email)
    if not _one_letter_more(email):
        return
    with transaction.atomic():
        known = User.objects.filter(email=email).values_list("pk", flat=True).first()
        letters.owe(Letter.RESET, to=known or uuid7())


def confirm_reset(*, token: str, password: str) -> User:
    """Set the password of whoever got the letter. All their sessions end, all tokens and other letters are void.

    Raises Invalid for a token that is not good (any more), and for a weak password: then the token stays good.
    """
    return RESET.set_password(token=token, password=password)


def write_letter(message: OutboxMessage) -> None:
    """Handler of the topic: to somebody who may sign in, and not too late. Raises NotSent: then it is tried again."""
    letter = Letter(message.payload["letter"])
    user = User.objects.filter(pk=message.payload["user"], is_active=True).first()
    if user is None or message.created_at < timezone.now() - letters.LATEST[letter]:
        return
    if letter is Letter.RESET:
        letters.send_reset(user, RESET.made_for(user))
    else:
        letters.send_changed(user, message.created_at)


def _one_letter_more(email: str) -> bool:
    """Whether this e-mail, known or not, may get another letter now. Raises Unavailable when it cannot be counted."""
    most, seconds = LETTERS_TO_AN_EMAIL
    key = f"{place_key()}:password-reset:{hashlib.sha256(email.encode()).hexdigest()}"
    used, _ = run_or_refuse(COUNT, (key,), (seconds * 1000,))
    return bool(used <= most)
