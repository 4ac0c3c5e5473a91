"""Refresh tokens: one successor each, honest retries forgiven, a stolen one ends the session."""

import threading
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.errors import Unauthenticated
from tenant_apps.accounts import sessions
from tenant_apps.accounts.models import RefreshToken, Session, User
from tests import cast
from tests.api import Asker, host_of, nobody
from tests.tenant_apps.accounts.together import together

AUTH = "/api/v1/auth/"


def signed_in(context: InstitutionContext) -> dict[str, str]:
    teacher = cast.of(context).teacher
    answer = nobody(context).post(AUTH + "token/", {"email": teacher.email, "password": teacher.password})
    return answer.json()


def refresh(context: InstitutionContext, token: str) -> tuple[int, dict[str, Any]]:
    answer = nobody(context).post(AUTH + "refresh/", {"refresh": token})
    return answer.status_code, answer.json()


def opens(context: InstitutionContext, access: str) -> bool:
    return Asker(host_of(context), token=access).get(AUTH + "me/").status_code == 200


@pytest.mark.django_db
def test_a_refresh_gives_a_new_pair_that_works(greenwood: InstitutionContext) -> None:
    first = signed_in(greenwood)
    status, second = refresh(greenwood, first["refresh"])
    assert status == 200
    assert second["refresh"] != first["refresh"]
    assert opens(greenwood, second["access"])
    assert refresh(greenwood, second["refresh"])[0] == 200


@pytest.mark.django_db
def test_only_the_digest_of_a_refresh_token_is_stored(greenwood: InstitutionContext) -> None:
    first = signed_in(greenwood)
    with institution(greenwood):
        rows = [str(value) for row in RefreshToken.objects.values_list() for value in row]
    assert not any(first["refresh"] in value for value in rows)


@pytest.mark.django_db
def test_a_retry_within_twenty_seconds_receives_the_same_successor(greenwood: InstitutionContext) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        first = signed_in(greenwood)
        successor = refresh(greenwood, first["refresh"])[1]["refresh"]
        clock.shift(timedelta(seconds=20))
        status, again = refresh(greenwood, first["refresh"])
        assert (status, again["refresh"]) == (200, successor)
        assert opens(greenwood, again["access"])
        assert refresh(greenwood, successor)[0] == 200


@pytest.mark.django_db
def test_a_reused_token_ends_the_session_with_all_that_descends_from_it(greenwood: InstitutionContext) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        first = signed_in(greenwood)
        second = refresh(greenwood, first["refresh"])[1]
        assert opens(greenwood, second["access"]), "negative control: before the reuse all is well"
        clock.shift(timedelta(seconds=21))
        status, refusal = refresh(greenwood, first["refresh"])
        assert (status, refusal["code"]) == (401, "refresh_reused")
        assert not opens(greenwood, second["access"])
        assert refresh(greenwood, second["refresh"])[0] == 401
    with institution(greenwood):
        assert Session.objects.get().end_reason == "reuse"


@pytest.mark.django_db
def test_a_token_whose_successor_was_used_is_reuse_even_within_the_grace(greenwood: InstitutionContext) -> None:
    first = signed_in(greenwood)
    second = refresh(greenwood, first["refresh"])[1]
    third = refresh(greenwood, second["refresh"])[1]
    assert refresh(greenwood, first["refresh"])[1]["code"] == "refresh_reused"
    assert not opens(greenwood, third["access"])
    assert refresh(greenwood, third["refresh"])[0] == 401


@pytest.mark.django_db
def test_reuse_ends_that_session_and_no_other(greenwood: InstitutionContext) -> None:
    stolen, other = signed_in(greenwood), signed_in(greenwood)
    second = refresh(greenwood, stolen["refresh"])[1]
    refresh(greenwood, second["refresh"])
    assert refresh(greenwood, stolen["refresh"])[0] == 401
    assert opens(greenwood, other["access"])
    assert refresh(greenwood, other["refresh"])[0] == 200


def test_twelve_concurrent_refreshes_of_one_token_give_one_successor(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    first = signed_in(greenwood)
    issued = together(12, greenwood, lambda: sessions.rotate(refresh=first["refresh"]))
    assert len({pair.refresh for pair in issued}) == 1
    with institution(greenwood):
        assert RefreshToken.objects.count() == 2
        assert Session.objects.get().ended_at is None
    assert refresh(greenwood, issued[0].refresh)[0] == 200


def test_twelve_naive_refreshes_of_one_token_all_succeed(transactional_db: None, greenwood: InstitutionContext) -> None:
    """Negative control: look first, consume then (what a blacklist does)."""
    first = signed_in(greenwood)
    looked = threading.Barrier(12)

    def naive() -> bool:
        row = RefreshToken.objects.get(digest=sessions._digest(first["refresh"]))
        looked.wait(timeout=30)
        if row.consumed_at is not None:
            return False
        RefreshToken.objects.filter(pk=row.pk).update(consumed_at=timezone.now())
        return True

    assert together(12, greenwood, naive) == [True] * 12


@pytest.mark.django_db
def test_a_refresh_token_of_one_institution_is_unknown_in_another(
    greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    first = signed_in(greenwood)
    signed_in(lumiere)
    status, refusal = refresh(lumiere, first["refresh"])
    assert (status, refusal["code"]) == (401, "refresh_invalid")
    assert refresh(greenwood, first["refresh"])[0] == 200, "and is none the worse for it"


@pytest.mark.django_db
def test_the_same_secret_has_another_successor_in_another_institution(
    greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    with institution(greenwood):
        here = sessions._successors("the same secret")
    with institution(lumiere):
        assert sessions._successors("the same secret") != here


@pytest.mark.django_db
def test_a_deleted_person_s_refresh_is_refused(greenwood: InstitutionContext) -> None:
    first = signed_in(greenwood)
    with institution(greenwood):
        user = User.objects.create_user("temporary@greenwood.test", "a password of some length")
        pair = sessions.open_session(user=user, address=None, user_agent="")
        user.delete()
    assert refresh(greenwood, pair.refresh)[0] == 401
    assert refresh(greenwood, first["refresh"])[0] == 200


@pytest.mark.django_db
def test_an_inactive_person_s_refresh_is_refused(greenwood: InstitutionContext) -> None:
    first = signed_in(greenwood)
    with institution(greenwood):
        User.objects.filter(pk=cast.of(greenwood).teacher.user_id).update(is_active=False)
    assert refresh(greenwood, first["refresh"])[1]["code"] == "refresh_invalid"


@pytest.mark.django_db
def test_a_session_that_ended_or_expired_cannot_be_refreshed(greenwood: InstitutionContext) -> None:
    first, second = signed_in(greenwood), signed_in(greenwood)
    Asker(host_of(greenwood), token=first["access"]).post(AUTH + "logout/")
    assert refresh(greenwood, first["refresh"])[0] == 401
    with time_machine.travel(timezone.now() + timedelta(days=31), tick=False):
        assert refresh(greenwood, second["refresh"])[0] == 401


@pytest.mark.django_db
def test_a_rotated_secret_neither_ends_sessions_nor_splits_a_retry(
    greenwood: InstitutionContext, settings: Any
) -> None:
    first = signed_in(greenwood)
    successor = refresh(greenwood, first["refresh"])[1]["refresh"]
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another secret, long enough to be one"
    assert refresh(greenwood, first["refresh"])[1]["refresh"] == successor
    assert refresh(greenwood, successor)[0] == 200


@pytest.mark.django_db
@pytest.mark.parametrize("body", [{"refresh": "x"}, {"refresh": "x" * 200}, {"refresh": "é"}, {}])
def test_a_made_up_refresh_token_is_refused(greenwood: InstitutionContext, body: dict[str, str]) -> None:
    assert nobody(greenwood).post(AUTH + "refresh/", body).status_code == 401


@pytest.mark.django_db
@pytest.mark.parametrize("body", [{"refresh": "x" * 201}, {"refresh": ["x"]}, {"refersh": "x"}, {"refresh": ""}])
def test_a_body_of_another_form_is_a_bad_request(greenwood: InstitutionContext, body: Any) -> None:
    assert nobody(greenwood).post(AUTH + "refresh/", body).status_code == 400


@pytest.mark.django_db
def test_a_refresh_that_was_overtaken_by_deactivation_is_refused(inside: InstitutionContext) -> None:
    user = User.objects.get(pk=cast.of(inside).teacher.user_id)
    pair = sessions.open_session(user=user, address=None, user_agent="")
    sessions.end_sessions(user_id=user.pk, reason="signed_out")
    with pytest.raises(Unauthenticated):
        sessions.rotate(refresh=pair.refresh)
