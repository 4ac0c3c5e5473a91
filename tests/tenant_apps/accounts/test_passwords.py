"""Passwords: one hash for every kind of failure, changes that end what was signed in, the command line's way in."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, get_hasher
from django.core.management import CommandError, call_command
from django.utils import timezone

from platform_config.settings import base
from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.errors import Invalid, Unauthenticated
from tenant_apps.accounts import passwords, signin
from tenant_apps.accounts.management.commands import set_password as command
from tenant_apps.accounts.models import Session, User
from tests import cast
from tests.api import as_person, nobody

AUTH = "/api/v1/auth/"
NEW = "seven words are better than one"


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that a sign-in is checked against."""
    checked: list[str] = []
    check = passwords.verify_password

    def counted(password: str, encoded: str) -> Any:
        checked.append(encoded)
        return check(password, encoded)

    passwords._nobodys(get_hasher().algorithm)
    monkeypatch.setattr(passwords, "verify_password", counted)
    return checked


@pytest.mark.django_db
def test_every_failed_sign_in_gets_the_same_answer_for_the_same_work(
    greenwood: InstitutionContext, verified: list[str]
) -> None:
    people = cast.of(greenwood)
    with institution(greenwood):
        User.objects.filter(pk=people.guardian.user_id).update(is_active=False)
        User.objects.create_user("without@greenwood.test")
    attempts = {
        "wrong password": (people.teacher.email, "wrong"),
        "unknown person": ("nobody@greenwood.test", "wrong"),
        "inactive person": (people.guardian.email, people.guardian.password),
        "person without a password": ("without@greenwood.test", "wrong"),
        "what stands in for no password": ("without@greenwood.test", "nobody's password"),
        "another institution's person": (people.outsider.email, people.outsider.password),
    }
    answers = {}
    for kind, (email, password) in attempts.items():
        verified.clear()
        answer = nobody(greenwood).post(AUTH + "token/", {"email": email, "password": password})
        body = answer.json()
        body.pop("request_id")
        answers[kind] = (answer.status_code, body, len(verified))
    first = answers["wrong password"]
    assert first[0] == 401
    assert first[2] == 1
    assert answers == dict.fromkeys(attempts, first)


@pytest.mark.django_db
def test_the_naive_sign_in_hashes_nothing_for_an_unknown_person(
    inside: InstitutionContext, verified: list[str]
) -> None:
    """Negative control: the difference that the test above would see."""

    def naive(email: str, password: str) -> bool:
        user = User.objects.filter(email=email).first()
        return user is not None and user.check_password(password)

    assert not naive("nobody@greenwood.test", "wrong")
    assert verified == []


def test_the_platform_hashes_with_argon2() -> None:
    assert base.PASSWORD_HASHERS[0].endswith(".Argon2PasswordHasher")
    hasher = Argon2PasswordHasher()
    encoded = hasher.encode("a password", hasher.salt())
    assert encoded.startswith("argon2$argon2id$")
    assert hasher.verify("a password", encoded)
    assert not hasher.verify("another", encoded)


@pytest.mark.django_db
def test_an_e_mail_signs_in_whatever_its_case(greenwood: InstitutionContext) -> None:
    teacher = cast.of(greenwood).teacher
    body = {"email": f"  {teacher.email.upper()} ", "password": teacher.password}
    assert nobody(greenwood).post(AUTH + "token/", body).status_code == 200


@pytest.mark.django_db
def test_a_password_changed_while_the_old_one_is_checked_opens_no_session(
    inside: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = cast.of(inside).teacher
    check = signin.password_is

    def slow(user: User, password: str) -> bool:
        right = check(user, password)
        changed = User.objects.get(pk=user.pk)
        changed.set_password(NEW)
        changed.save(update_fields=["password"])
        return right

    monkeypatch.setattr(signin, "password_is", slow)
    with pytest.raises(Unauthenticated):
        signin.sign_in(email=teacher.email, password=teacher.password, address="192.0.2.1", user_agent="")
    assert not Session.objects.filter(user_id=teacher.user_id).exists()


@pytest.mark.django_db
def test_a_new_password_keeps_this_device_and_signs_out_the_others(greenwood: InstitutionContext) -> None:
    teacher = cast.of(greenwood).teacher
    here, there = as_person(greenwood, teacher), as_person(greenwood, teacher)
    assert there.get(AUTH + "me/").status_code == 200
    answer = here.post(AUTH + "password/", {"current_password": teacher.password, "new_password": NEW})
    assert answer.status_code == 200, answer.content
    assert here.get(AUTH + "me/").status_code == 401, "the old access token is void here too"
    here._token = answer.json()["access"]
    assert here.get(AUTH + "me/").status_code == 200
    assert there.get(AUTH + "me/").status_code == 401
    old = nobody(greenwood).post(AUTH + "token/", {"email": teacher.email, "password": teacher.password})
    new = nobody(greenwood).post(AUTH + "token/", {"email": teacher.email, "password": NEW})
    assert (old.status_code, new.status_code) == (401, 200)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("current", "new", "pointer"),
    [
        ("wrong", NEW, "/current_password"),
        (cast.PASSWORD, "brief", "/new_password"),
        (cast.PASSWORD, "1234567890", "/new_password"),
        (cast.PASSWORD, "teacher@greenwood", "/new_password"),
        (cast.PASSWORD, "x" * 2000, "/new_password"),
    ],
)
def test_a_refused_change_says_which_password_and_changes_nothing(
    greenwood: InstitutionContext, current: str, new: str, pointer: str
) -> None:
    teacher = cast.of(greenwood).teacher
    door = as_person(greenwood, teacher)
    answer = door.post(AUTH + "password/", {"current_password": current, "new_password": new})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)
    assert new not in answer.content.decode()
    assert door.get(AUTH + "me/").status_code == 200


@pytest.mark.django_db
def test_a_stolen_token_is_no_way_to_guess_the_password(greenwood: InstitutionContext) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    body = {"current_password": "wrong", "new_password": NEW}
    statuses = [door.post(AUTH + "password/", body).status_code for _ in range(11)]
    assert statuses == [400] * 10 + [429]


# Devices


@pytest.mark.django_db
def test_people_see_and_end_their_own_devices_only(greenwood: InstitutionContext) -> None:
    people = cast.of(greenwood)
    here, there, other = (as_person(greenwood, p) for p in (people.teacher, people.teacher, people.guardian))
    there.get(AUTH + "me/", HTTP_USER_AGENT="The other one")
    foreign = other.get(AUTH + "sessions/").json()["results"][0]["id"]
    listed = here.get(AUTH + "sessions/").json()["results"]
    assert [entry["current"] for entry in listed] == [True, False]
    assert foreign not in {entry["id"] for entry in listed}
    assert here.delete(f"{AUTH}sessions/{foreign}/").status_code == 404
    assert here.delete(f"{AUTH}sessions/no-uuid/").status_code == 400
    assert here.delete(f"{AUTH}sessions/{listed[1]['id']}/").status_code == 204
    assert there.get(AUTH + "me/").status_code == 401
    assert other.get(AUTH + "me/").status_code == 200
    assert len(here.get(AUTH + "sessions/").json()["results"]) == 1


@pytest.mark.django_db
def test_signing_out_everywhere_ends_all_devices(greenwood: InstitutionContext) -> None:
    teacher = cast.of(greenwood).teacher
    here, there = as_person(greenwood, teacher), as_person(greenwood, teacher)
    there.get(AUTH + "me/")
    assert here.post(AUTH + "logout/", {"everywhere": True}).status_code == 204
    assert [door.get(AUTH + "me/").status_code for door in (here, there)] == [401, 401]
    with institution(greenwood):
        assert Session.objects.filter(ended_at__lte=timezone.now(), end_reason="signed_out").count() == 2


# The command


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stdin = io.StringIO()
    monkeypatch.setattr(command, "sys", SimpleNamespace(stdin=stdin))
    return stdin


@pytest.mark.django_db
def test_the_command_sets_a_password_that_signs_in(greenwood: InstitutionContext, typed: io.StringIO) -> None:
    teacher = cast.of(greenwood).teacher
    door = as_person(greenwood, teacher)
    assert door.get(AUTH + "me/").status_code == 200
    typed.write(NEW + "\n")
    typed.seek(0)
    with platform():
        call_command("set_password", "greenwood", teacher.email.upper(), stdout=io.StringIO())
    assert door.get(AUTH + "me/").status_code == 401
    body = {"email": teacher.email, "password": NEW}
    assert nobody(greenwood).post(AUTH + "token/", body).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("tenant", "email", "password", "reason"),
    [
        ("nowhere", "teacher@greenwood.test", NEW, "no institution"),
        ("greenwood", "nobody@greenwood.test", NEW, "no user"),
        ("greenwood", "teacher@greenwood.test", "short", "too short"),
        ("greenwood", "teacher@greenwood.test", "", "too short"),
    ],
)
def test_the_command_refuses_in_one_line(
    typed: io.StringIO, tenant: str, email: str, password: str, reason: str
) -> None:
    typed.write(password + "\n")
    typed.seek(0)
    with platform(), pytest.raises(CommandError, match=reason):
        call_command("set_password", tenant, email, stdout=io.StringIO())


@pytest.mark.django_db
def test_a_password_that_the_documentation_prints_opens_nothing_in_production(
    greenwood: InstitutionContext, settings: Any
) -> None:
    """Negative control: it opens the demo's accounts where it is not refused."""
    with institution(greenwood):
        user = User.objects.create_user("demo@greenwood.test", "lyceum-demo")
    sign_in = {"email": user.email, "password": "lyceum-demo"}
    assert nobody(greenwood).post(f"{AUTH}token/", sign_in).status_code == 200
    settings.REFUSED_PASSWORDS = frozenset({"lyceum-demo"})
    assert nobody(greenwood).post(f"{AUTH}token/", sign_in).status_code == 401
    with institution(greenwood), pytest.raises(Invalid):
        passwords.demand_good("lyceum-demo", user, pointer="/new")
