"""Who forgot their password gets in by a letter; nobody else gets in by it, and nobody learns who is known here."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import time_machine
from django.core import mail
from django.core.mail import EmailMessage
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext

from shared_apps.core.api import admission
from shared_apps.core.context import InstitutionContext, State, institution, platform
from shared_apps.core.errors import Invalid
from shared_apps.tenants import hosts
from shared_apps.tenants.models import Domain, Tenant
from tenant_apps.accounts import letters, passwords, signin
from tenant_apps.accounts.api import password_resets as api
from tenant_apps.accounts.letters import Letter
from tenant_apps.accounts.models import Session, User
from tenant_apps.accounts.password_links import INVITATION, RESET
from tenant_apps.accounts.password_resets import confirm_reset
from tenant_apps.accounts.services import end_everywhere, set_password
from tenant_apps.audit.models import Entry
from tenant_apps.eventlog.models import OutboxMessage
from tests import cast
from tests.api import Asker, as_person, nobody
from tests.tenant_apps.accounts.together import together
from tests.tenant_apps.eventlog.carrying import carry_out

ASK, CONFIRM = "/api/v1/auth/password-reset/", "/api/v1/auth/password-reset/confirm/"
SIGN_IN, ME, REFRESH = "/api/v1/auth/token/", "/api/v1/auth/me/", "/api/v1/auth/refresh/"
NEW = "seven words are better than one"
EMAIL = "teacher@greenwood.test"

pytestmark = pytest.mark.django_db


def ask(place: InstitutionContext, email: str = EMAIL, **headers: str) -> HttpResponse:
    return nobody(place).post(ASK, {"email": email}, **headers)


def letter_to(place: InstitutionContext, email: str = EMAIL) -> EmailMessage:
    """The letter that asking brings."""
    mail.outbox.clear()
    assert ask(place, email).status_code == 202
    carry_out(place)
    (letter,) = mail.outbox
    return letter


def token_in(letter: EmailMessage) -> str:
    (found,) = re.findall(r"^([\w-]{36}\.\d+\.\w{64})$", str(letter.body), re.MULTILINE)
    return found


def confirm(place: InstitutionContext, token: str, password: str = NEW) -> tuple[int, str]:
    answer = nobody(place).post(CONFIRM, {"token": token, "password": password})
    return answer.status_code, answer.json()["code"] if answer.content else ""


def signs_in(place: InstitutionContext, password: str, email: str = EMAIL) -> int:
    return nobody(place).post(SIGN_IN, {"email": email, "password": password}).status_code


def owed() -> int:
    return OutboxMessage.objects.filter(topic=letters.TOPIC).count()


def set_state(place: InstitutionContext, state: State) -> None:
    with platform():
        Tenant.objects.filter(pk=place.id).update(state=state)
    hosts.forget()


# The way back in


def test_from_a_forgotten_password_to_a_new_one(greenwood: InstitutionContext) -> None:
    here, there = (as_person(greenwood, cast.of(greenwood).teacher) for _ in range(2))
    pair = nobody(greenwood).post(SIGN_IN, {"email": EMAIL, "password": cast.PASSWORD}).json()
    assert [door.get(ME).status_code for door in (here, there)] == [200, 200]
    letter = letter_to(greenwood, f" {EMAIL.upper()} ")
    assert (letter.to, letter.subject) == ([EMAIL], "Your password at Greenwood High")
    assert "http://" not in letter.body
    token = token_in(letter)
    assert confirm(greenwood, token, "short") == (400, "weak_password")
    assert here.get(ME).status_code == 200, "a refused password ends nothing"
    assert confirm(greenwood, token) == (204, "")
    assert [door.get(ME).status_code for door in (here, there)] == [401, 401]
    assert nobody(greenwood).post(REFRESH, {"refresh": pair["refresh"]}).status_code == 401
    assert (signs_in(greenwood, cast.PASSWORD), signs_in(greenwood, NEW)) == (401, 200)
    assert confirm(greenwood, token, "another long sentence") == (400, "bad_password_reset"), "once"
    carry_out(greenwood)
    told = mail.outbox[-1]
    assert (len(mail.outbox), told.to, told.subject) == (2, [EMAIL], "Your password at Greenwood High was changed")
    assert not re.search(r"/|https?:|localhost|\.test", str(told.body)), "a letter to be believed has no link"


def test_who_has_no_password_yet_gets_the_first_one_by_the_same_door(greenwood: InstitutionContext) -> None:
    with institution(greenwood):
        User.objects.create_user("new@greenwood.test")
    letter = letter_to(greenwood, "new@greenwood.test")
    assert "has no password yet" in letter.body
    assert confirm(greenwood, token_in(letter))[0] == 204
    assert signs_in(greenwood, NEW, "new@greenwood.test") == 200
    mail.outbox.clear()
    carry_out(greenwood)
    assert mail.outbox == [], "a first password is nobody's changed one"


def test_an_operator_gets_the_letter_of_the_operators_host(console: InstitutionContext) -> None:
    letter = letter_to(console, "operator@lyceum.test")
    assert "https://console.localhost/api/v1/auth/password-reset/confirm/" in letter.body
    assert confirm(console, token_in(letter))[0] == 204


def test_who_mistyped_too_often_gets_in_after_the_reset(
    greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistype_and_reset() -> int:
        for _ in range(signin.PAIR_LIMIT):
            signs_in(greenwood, "wrong")
        with institution(greenwood):
            token = RESET.made_for(User.objects.get(email=EMAIL))
        assert confirm(greenwood, token)[0] == 204
        return signs_in(greenwood, NEW)

    with monkeypatch.context() as naive:
        naive.setattr(api.signin, "forgive", lambda **_: None)
        assert mistype_and_reset() == 429, "negative control"
    assert mistype_and_reset() == 200


# Nobody learns who is known


KINDS = {
    "known": EMAIL,
    "unknown": "nobody@greenwood.test",
    "inactive": "guardian@greenwood.test",
    "without a password": "without@greenwood.test",
    "another institution's": "teacher@lumiere.test",
    "no e-mail at all": "nobody",
}
WRITTEN_TO = {"known", "without a password"}


def asked(place: InstitutionContext, email: str) -> tuple[int, Any, list[str], list[str]]:
    """What is seen of an answer, and the statements that it cost."""
    with CaptureQueriesContext(connection) as queries:
        answer = ask(place, email)
    said = [re.sub(r"'[^']*'(::\w+)?|\b\d+\b|s\d+_x\d+", "?", query["sql"]) for query in queries]
    return answer.status_code, answer.json(), sorted(set(answer.headers)), said


@pytest.fixture
def people(greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch) -> InstitutionContext:
    """One person of each kind, and a password that cannot be hashed."""
    with institution(greenwood):
        User.objects.filter(email=KINDS["inactive"]).update(is_active=False)
        User.objects.create_user(KINDS["without a password"])

    def no_hash(_: Any) -> Any:
        raise AssertionError("asking costs no hash")

    monkeypatch.setattr(passwords.HashQueue, "place", no_hash)
    return greenwood


def test_everybody_gets_the_same_answer_after_the_same_work(people: InstitutionContext) -> None:
    ask(people)  # the first one finds the host
    answers = {kind: asked(people, email) for kind, email in KINDS.items()}
    assert answers["known"][0] == 202
    assert answers == dict.fromkeys(KINDS, answers["known"])
    carry_out(people)
    assert {letter.to[0] for letter in mail.outbox} == {KINDS[kind] for kind in WRITTEN_TO}
    with institution(people):
        assert not OutboxMessage.objects.filter(done_at=None).exists(), "what was owed to nobody is done too"


def test_the_naive_door_works_for_known_people_only(
    people: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the difference that the test above sees."""

    def naive(*, email: str) -> None:
        user = User.objects.filter(email=email, is_active=True).first()
        if user is not None:
            letters.owe(Letter.RESET, to=user.pk)

    monkeypatch.setattr(api.password_resets, "ask_for_reset", naive)
    ask(people)
    answers = {kind: asked(people, KINDS[kind]) for kind in ("known", "unknown", "inactive")}
    assert answers["known"][:3] == answers["unknown"][:3], "the answers are the same"
    assert len(answers["known"][3]) > len(answers["unknown"][3]), "the work is not"


def test_the_outbox_names_a_person_and_holds_neither_token_nor_e_mail(greenwood: InstitutionContext) -> None:
    letter_to(greenwood)
    with institution(greenwood):
        message = OutboxMessage.objects.get(topic=letters.TOPIC)
    assert message.payload == {"letter": "password_reset", "user": str(cast.user_id("teacher"))}


# Limits


def test_an_e_mail_gets_five_letters_an_hour_and_nobody_is_told(
    greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    answers = [ask(greenwood, email) for email in [EMAIL] * 4 + [EMAIL.upper(), f" {EMAIL}", EMAIL]]
    assert {(answer.status_code, answer.content) for answer in answers} == {(202, answers[0].content)}
    carry_out(greenwood)
    assert len(mail.outbox) == 5
    letter_to(greenwood, "student@greenwood.test")
    assert ask(lumiere, EMAIL).status_code == 202
    with institution(lumiere):
        assert owed() == 1, "negative control: another institution counts for itself"


def test_one_client_cannot_ask_without_end(greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "FROM_AN_ADDRESS", (3, 3600))
    assert [ask(greenwood, f"{n}@greenwood.test").status_code for n in range(5)] == [202] * 3 + [429] * 2
    assert ask(greenwood, REMOTE_ADDR="192.0.2.77").status_code == 202, "negative control: from elsewhere"


@pytest.mark.parametrize("email", [EMAIL, "nobody@greenwood.test"])
def test_without_a_count_nobody_is_written_to(
    greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    def away(*args: Any) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(admission, "run", away)
    assert ask(greenwood, email).status_code == 503
    with institution(greenwood):
        assert owed() == 0


@pytest.mark.parametrize("email", [EMAIL, "nobody@greenwood.test"])
def test_where_there_is_no_mail_server_that_is_said_to_everybody(
    greenwood: InstitutionContext, settings: Any, email: str
) -> None:
    settings.LETTERS_GO_OUT = False
    refused = ask(greenwood, email)
    assert (refused.status_code, refused.json()["code"]) == (503, "no_mail_server")
    with institution(greenwood):
        set_password(user=User.objects.get(email=EMAIL), password=NEW)
        assert owed() == 0, "nor is anything owed that would never be sent"


@pytest.mark.parametrize(
    ("state", "asking", "choosing"),
    [
        (State.READ_ONLY, (403, "read_only"), (204, "")),
        (State.SUSPENDED, (403, "suspended"), (403, "suspended")),
        (State.PROVISIONING, (503, "provisioning"), (503, "provisioning")),
        (State.ARCHIVED, (410, "archived"), (410, "archived")),
    ],
)
def test_an_institution_that_is_not_active_writes_no_letters(
    greenwood: InstitutionContext, state: State, asking: tuple[int, str], choosing: tuple[int, str]
) -> None:
    token = token_in(letter_to(greenwood))
    set_state(greenwood, state)
    refused = ask(greenwood)
    assert (refused.status_code, refused.json()["code"]) == asking
    assert confirm(greenwood, token) == choosing


# What a token is good for


@pytest.fixture
def teacher(inside: InstitutionContext) -> User:
    return User.objects.get(email=EMAIL)


def refused(token: str, password: str = NEW) -> str:
    with pytest.raises(Invalid) as refusal:
        confirm_reset(token=token, password=password)
    return refusal.value.code


def test_a_token_ends_after_an_hour(teacher: User) -> None:
    token = RESET.made_for(teacher)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=3605), tick=False):
        assert refused(token) == "bad_password_reset"
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=3500), tick=False):
        assert confirm_reset(token=token, password=NEW).pk == teacher.pk, "negative control"


@pytest.mark.parametrize("change", ["person", "until", "mac", "empty", "no number", "an invitation", "not ASCII"])
def test_an_altered_token_is_refused(teacher: User, change: str) -> None:
    key, until, made = RESET.made_for(teacher).split(".")
    token = {
        "person": f"{cast.user_id('principal')}.{until}.{made}",
        "until": f"{key}.{int(until) + 1}.{made}",
        "mac": f"{key}.{until}.{made[:-1]}{'0' if made[-1] != '0' else '1'}",
        "empty": "",
        "no number": f"{key}.soon.{made}",
        "an invitation": INVITATION.made_for(teacher),
        "not ASCII": f"{key}.{until}.é",
    }[change]
    assert refused(token) == "bad_password_reset"
    assert confirm_reset(token=f"{key}.{until}.{made}", password=NEW).pk == teacher.pk, "negative control"


def change_e_mail(user: User) -> None:
    """By a road that raises no version: a roster, or somebody at the database."""
    User.objects.filter(pk=user.pk).update(email="moved@greenwood.test")


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def deactivate_and_back(user: User) -> None:
    person = as_person_in_greenwood("principal")
    for active in (False, True):
        answer = person.patch(f"/api/v1/accounts/users/{user.pk}/", {"is_active": active})
        assert answer.status_code == 200, answer.content


def as_person_in_greenwood(role: str) -> Asker:
    return Asker("greenwood.localhost", cast.Person(role, f"{role}@greenwood.test", cast.user_id(role), None))


@pytest.mark.parametrize(
    ("change", "good"),
    [
        (lambda user: set_password(user=user, password="changed in another way"), False),
        (lambda user: confirm_reset(token=RESET.made_for(user), password="by the other letter"), False),
        (deactivate, False),
        (deactivate_and_back, False),
        (change_e_mail, False),
        (lambda user: end_everywhere(user_id=user.pk), True),
        (lambda user: None, True),
    ],
    ids=["password changed", "another letter", "deactivated", "and back", "e-mail changed", "signed out", "nothing"],
)
def test_a_token_is_void_when_the_account_is_not_what_it_was(
    teacher: User, change: Callable[[User], Any], good: bool
) -> None:
    token = RESET.made_for(teacher)
    change(teacher)
    if good:
        assert confirm_reset(token=token, password=NEW).pk == teacher.pk
    else:
        assert refused(token) == "bad_password_reset"


def test_of_several_that_use_a_token_at_once_one_does(transactional_db: None, greenwood: InstitutionContext) -> None:
    with institution(greenwood):
        token = RESET.made_for(User.objects.get(email=EMAIL))

    def use() -> str:
        try:
            return confirm_reset(token=token, password=NEW).email
        except Invalid as refusal:
            return refusal.code

    assert sorted(together(4, greenwood, use)) == ["bad_password_reset"] * 3 + [EMAIL]


def test_the_log_says_that_the_person_did_it_by_a_reset(greenwood: InstitutionContext) -> None:
    token = token_in(letter_to(greenwood))
    with institution(greenwood):
        before = Entry.objects.count()
    assert confirm(greenwood, token)[0] == 204
    with institution(greenwood):
        added = list(Entry.objects.order_by("id")[before:])
        actors = {(entry.actor_kind, entry.actor_name, entry.actor_id) for entry in added}
        assert actors == {("person", f"{EMAIL} (password reset)", cast.user_id("teacher"))}
        assert token not in str([vars(entry) for entry in added])
        assert set(Session.objects.values_list("end_reason", flat=True)) <= {"password_changed"}


# To whom a letter goes, and what it names


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "the request's host"])
@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_HOST": "greenwood.localhost:6666"},
        {"HTTP_X_FORWARDED_HOST": "evil.test"},
        {"HTTP_X_FORWARDED_HOST": "evil.test", "HTTP_X_FORWARDED_PORT": "6666", "HTTP_FORWARDED": "host=evil.test"},
        {"HTTP_ORIGIN": "https://evil.test", "HTTP_REFERER": "https://evil.test/", "HTTP_X_HOST": "evil.test"},
    ],
    ids=["port", "forwarded host", "all of them", "origin"],
)
def test_whoever_asks_does_not_say_where_the_link_leads(
    greenwood: InstitutionContext, headers: dict[str, str], naive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if naive:
        said = headers.get("HTTP_X_FORWARDED_HOST") or headers.get("HTTP_ORIGIN") or headers["HTTP_HOST"]
        monkeypatch.setattr(letters, "own_address", lambda: f"https://{said}")
    assert ask(greenwood, **headers).status_code == 202
    carry_out(greenwood)
    (letter,) = mail.outbox
    poisoned = re.search(r"evil|6666", str(letter.body)) is not None
    own = set(re.findall(r"https://[^/]+/", str(letter.body))) == {"https://greenwood.localhost/"}
    assert (poisoned, own) == (naive, not naive)


def test_the_letter_names_the_host_that_the_institution_is_known_by(greenwood: InstitutionContext) -> None:
    with platform():
        Domain.objects.filter(tenant_id=greenwood.id).update(is_primary=False)
        Domain.objects.create(tenant_id=greenwood.id, domain="www.greenwood.example", is_primary=True)
    letter = letter_to(greenwood)
    assert "https://www.greenwood.example/api/v1/auth/password-reset/confirm/" in letter.body
    assert "localhost" not in letter.body


def test_a_name_of_several_lines_makes_one_subject(teacher: User, inside: InstitutionContext) -> None:
    with institution(replace(inside, name="Greenwood\r\nBcc: all@evil.test")):
        letters.send_reset(teacher, "token")
    assert mail.outbox[0].subject == "Your password at Greenwood Bcc: all@evil.test"
    assert mail.outbox[0].recipients() == [EMAIL]


@pytest.mark.parametrize(
    ("stored", "typed", "found"),
    [
        ("mike@greenwood.test", "mıke@greenwood.test", False),
        ("mike@greenwood.test", "MİKE@greenwood.test", False),
        ("mike@greenwood.test", "mike@greenwood.teſt", False),
        ("mike@strasse.test", "mike@straße.test", False),
        ("mike@straße.test", "MIKE@STRASSE.TEST", False),
        ("mike@greenwood.test", "mi\N{KELVIN SIGN}e@greenwood.test", True),
        ("mike@greenwood.test", "MIKE@Greenwood.TEST", True),
    ],
    ids=["dotless i", "dotted I", "long s", "sharp s", "SS", "kelvin", "plain case"],
)
def test_an_address_that_only_looks_the_same_gets_no_letter(
    greenwood: InstitutionContext, stored: str, typed: str, found: bool
) -> None:
    """CVE-2019-19844: the letter went to the address that was typed, which is another mailbox."""
    with institution(greenwood):
        User.objects.create_user(stored, cast.PASSWORD)
    assert ask(greenwood, typed).status_code == 202
    carry_out(greenwood)
    assert [letter.to for letter in mail.outbox] == ([[stored]] if found else [])
    folded = typed.upper().casefold().replace("i̇", "i")
    assert folded == stored.upper().casefold(), "the control: the naive comparison takes the two for one"


# Troubles on the way


def test_who_is_deactivated_before_the_letter_is_written_gets_none(greenwood: InstitutionContext) -> None:
    assert ask(greenwood).status_code == 202
    with institution(greenwood):
        User.objects.filter(email=EMAIL).update(is_active=False)
    carry_out(greenwood)
    assert mail.outbox == []


def test_a_letter_that_is_not_taken_is_tried_again_but_not_for_ever(
    greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any) -> None:
        raise OSError(f"no route to the host of {EMAIL}")

    with monkeypatch.context() as patch:
        patch.setattr(letters, "send_mail", away)
        ask(greenwood)
        carry_out(greenwood)
    with institution(greenwood):
        waiting = OutboxMessage.objects.get(done_at=None)
        assert (waiting.attempts, waiting.last_error) == (1, "NotSent('OSError')"), "no address in log and row"
    carry_out(greenwood)
    assert len(mail.outbox) == 1
    ask(greenwood)
    with institution(greenwood):
        late = datetime.now(UTC) - letters.LATEST[Letter.RESET] - timedelta(seconds=1)
        OutboxMessage.objects.filter(done_at=None).update(created_at=late)
        carry_out(greenwood)
        assert len(mail.outbox) == 1, "nobody waits for it any more"
        assert not OutboxMessage.objects.filter(done_at=None).exists()


def test_whoever_changes_it_while_signed_in_is_told_by_letter(greenwood: InstitutionContext) -> None:
    door = as_person(greenwood, cast.of(greenwood).teacher)
    body = {"current_password": cast.PASSWORD, "new_password": NEW}
    assert door.post("/api/v1/auth/password/", {**body, "new_password": "brief"}).status_code == 400
    assert door.post("/api/v1/auth/password/", body).status_code == 200
    carry_out(greenwood)
    assert [(letter.to, letter.subject) for letter in mail.outbox] == [
        ([EMAIL], "Your password at Greenwood High was changed")
    ]
