"""An invitation is good here, for this person, for a while, and once."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.errors import Invalid
from tenant_apps.accounts.invitations import accept_invitation, invite
from tenant_apps.accounts.models import User
from tenant_apps.accounts.password_links import INVITATION
from tests import cast as casting

EMAIL = "new@greenwood.test"
PASSWORD = "a long walk by the river"


@pytest.fixture
def invited(inside: InstitutionContext) -> User:
    user = User.objects.create_user(EMAIL)
    user.set_unusable_password()
    user.save()
    return user


def refused(token: str | None, password: str = PASSWORD) -> str:
    with pytest.raises(Invalid) as refusal:
        accept_invitation(token=token or "", password=password)
    return refusal.value.code


def test_an_invitation_gives_the_first_password_once(invited: User) -> None:
    token = invite(EMAIL.upper())
    assert refused(token, "short") == "weak_password"
    accept_invitation(token=token or "", password=PASSWORD)
    invited.refresh_from_db()
    assert invited.check_password(PASSWORD)
    assert refused(token) == "bad_invitation"
    assert invite(EMAIL) is None, "who has a password is invited no more"


def test_an_invitation_ends(invited: User) -> None:
    token = invite(EMAIL)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=INVITATION.seconds + 5), tick=False):
        assert refused(token) == "bad_invitation"
    accept_invitation(token=token or "", password=PASSWORD)


def test_an_invitation_of_one_institution_is_worth_nothing_in_another(
    invited: User, lumiere: InstitutionContext
) -> None:
    token = invite(EMAIL)
    with institution(lumiere):
        twin = User.objects.create_user(EMAIL, id=invited.pk)
        User.objects.filter(pk=twin.pk).update(password=invited.password)  # the same in every respect
        assert refused(token) == "bad_invitation"
    assert accept_invitation(token=token or "", password=PASSWORD).pk == invited.pk, "negative control"


@pytest.mark.parametrize("change", ["person", "until", "mac", "nothing left", "no number"])
def test_an_altered_invitation_is_refused(invited: User, change: str) -> None:
    key, until, made = (invite(EMAIL) or "").split(".")
    other = User.objects.create_user("other@greenwood.test")
    other.set_unusable_password()
    other.save()
    token = {
        "person": f"{other.pk}.{until}.{made}",
        "until": f"{key}.{int(until) + 1}.{made}",
        "mac": f"{key}.{until}.{made[:-1]}{'0' if made[-1] != '0' else '1'}",
        "nothing left": "",
        "no number": f"{key}.soon.{made}",
    }[change]
    assert refused(token) == "bad_invitation"


def test_nobody_and_who_may_not_sign_in_are_not_invited(invited: User, greenwood: InstitutionContext) -> None:
    token = invite(EMAIL)
    assert invite("nobody@nowhere.test") is None
    assert invite(casting.of(greenwood).principal.email) is None
    User.objects.filter(pk=invited.pk).update(is_active=False)
    assert invite(EMAIL) is None
    assert refused(token) == "bad_invitation"
