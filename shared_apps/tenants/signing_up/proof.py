"""The token that proves an address."""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core import signing

from shared_apps.core.errors import Invalid
from shared_apps.tenants.models import SignUp

LIFE = timedelta(hours=24)
SALT = "lyceum:sign-up"


def token_of(asked: SignUp) -> str:
    """What proves the address of a sign-up: signed, good for a day; that it is used once is the row's to say."""
    return signing.dumps(str(asked.pk), salt=SALT)


def sign_up_of(token: str) -> UUID:
    """The sign-up that a token is for. Raises Invalid for one that is not ours or too old."""
    try:
        return UUID(signing.loads(token, salt=SALT, max_age=LIFE, fallback_keys=settings.SECRET_KEY_FALLBACKS))
    except (signing.BadSignature, ValueError, TypeError, AttributeError):
        raise bad_token() from None


def bad_token() -> Invalid:
    detail = "This token is not good, has expired, or was used; sign up again."
    return Invalid.at("/token", detail, code="bad_token")
