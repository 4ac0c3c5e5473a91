"""Whoever proves an address gets an institution; nobody learns from it which addresses are known."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
import time_machine
from django.core import mail, signing
from django.db import connections

from shared_apps.core.actors import acting, task
from shared_apps.core.api import admission
from shared_apps.core.context import InstitutionContext, State, institution, platform
from shared_apps.core.errors import Problem
from shared_apps.core.registry import NewInstitution, registry
from shared_apps.tenants.models import SignUp, Tenant
from shared_apps.tenants.services import create_institution
from shared_apps.tenants.signing_up import carrying_out
from shared_apps.tenants.signing_up.asking import confirm_sign_up, sign_up
from shared_apps.tenants.signing_up.carrying_out import carry_on
from shared_apps.tenants.signing_up.proof import token_of
from tenant_apps.accounts.models import User
from tests import cast as casting
from tests.api import Asker

PATH = "/api/v1/sign-ups/"
FORM = {"email": "head@rheintal.test", "name": "Rheintal", "slug": "rheintal", "currency": "EUR"}
PASSWORD = "a long walk by the river"


@pytest.fixture
def visitor(db: None) -> Asker:
    return Asker("localhost")


@pytest.fixture
def asked(db: None) -> Iterator[SignUp]:
    with platform(), acting(task("test")):
        yield sign_up(new=NewInstitution("Rheintal", "rheintal", admin_email="Head@Rheintal.test"))


def code_of(work: Callable[[], Any]) -> str:
    with pytest.raises(Problem) as refused:
        work()
    return refused.value.code


def token_in(letter: Any) -> str:
    (found,) = re.findall(r"^(\S{60,})$", letter.body, re.MULTILINE)
    return found


def test_from_a_form_to_an_institution_whose_administrator_signs_in(transactional_db: None, visitor: Asker) -> None:
    asked = visitor.post(PATH, FORM)
    assert asked.status_code == 202, asked.content
    place = f"{PATH}{asked.json()['id']}/"
    assert asked["Location"] == place
    carry_on()
    assert Asker("rheintal.localhost").get("/").status_code == 404, "nothing is made before the proof"
    (letter,) = mail.outbox
    assert letter.to == ["head@rheintal.test"]
    confirmed = visitor.post(f"{PATH}confirm/", {"token": token_in(letter)})
    assert (confirmed.status_code, confirmed.json()["stage"]) == (202, "confirmed")
    with acting(task("platform.sign_ups")):
        carry_on()
    ready = visitor.get(place).json()
    assert (ready["stage"], ready["host"]) == ("ready", "rheintal.localhost")
    invited = mail.outbox[1]
    assert invited.subject == "Rheintal is ready"
    school = Asker("rheintal.localhost")
    chosen = {"token": token_in(invited), "password": PASSWORD}
    assert school.post("/api/v1/auth/invitation/", {**chosen, "password": "short"}).status_code == 400
    assert school.post("/api/v1/auth/invitation/", chosen).status_code == 204
    signed_in = school.post("/api/v1/auth/token/", {"email": FORM["email"], "password": PASSWORD})
    assert signed_in.status_code == 200
    again = school.post("/api/v1/auth/invitation/", {**chosen, "password": "another long walk"})
    assert (again.status_code, again.json()["code"]) == (400, "bad_invitation")
    carry_on()
    assert len(mail.outbox) == 2, "each letter is written once"


def test_an_address_that_is_known_is_answered_like_one_that_is_not(
    visitor: Asker, greenwood: InstitutionContext
) -> None:
    known = casting.of(greenwood).principal.email
    visitor.post(PATH, {**FORM, "email": known})
    answers = []
    for email in (known, "nobody@nowhere.test"):
        answer = visitor.post(PATH, {**FORM, "email": email})
        body = answer.json()
        answers.append((answer.status_code, {**body, "id": ""}, sorted(answer.headers)))
        assert visitor.get(answer["Location"]).json() == body
    assert answers[0] == answers[1]


def test_an_address_gets_three_letters_an_hour_and_nobody_is_told(visitor: Asker) -> None:
    answers = [visitor.post(PATH, FORM) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {202}
    assert len({str({**answer.json(), "id": ""}) for answer in answers}) == 1
    carry_on()
    assert len(mail.outbox) == 3
    visitor.post(PATH, {**FORM, "email": "HEAD@rheintal.TEST"})
    carry_on()
    assert len(mail.outbox) == 3, "another spelling is the same address"
    visitor.post(PATH, {**FORM, "email": "other@rheintal.test"})
    carry_on()
    assert len(mail.outbox) == 4, "negative control: another address gets its own"


def test_one_client_cannot_ask_without_end(visitor: Asker) -> None:
    answers = [visitor.post(PATH, {**FORM, "email": f"{n}@rheintal.test"}).status_code for n in range(22)]
    assert answers == [202] * 20 + [429] * 2


def test_without_a_count_nobody_signs_up(visitor: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(admission, "run", away)
    assert visitor.post(PATH, FORM).status_code == 503
    with platform():
        assert not SignUp.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"email": "nobody"}, "/email"),
        ({"slug": "www"}, "/slug"),
        ({"name": ""}, "/name"),
        ({"currency": "ZZZ"}, "/currency"),
        ({"time_zone": "Mars/Olympus"}, "/time_zone"),
        ({"language": "xx"}, "/language"),
        ({"kind": "operator"}, "/kind"),
    ],
)
def test_what_no_institution_can_be_made_of_is_named(visitor: Asker, wrong: dict[str, str], pointer: str) -> None:
    refused = visitor.post(PATH, {**FORM, **wrong})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, pointer)


def test_a_slug_that_is_taken_or_looks_like_one_is_said_so_at_once(visitor: Asker) -> None:
    for slug, code in (("lumiere", "slug_taken"), ("lum1ere", "slug_alike")):
        refused = visitor.post(PATH, {**FORM, "slug": slug})
        assert (refused.status_code, refused.json()["code"]) == (409, code)


def test_a_token_is_good_once(asked: SignUp) -> None:
    token = token_of(asked)
    assert confirm_sign_up(token=token).stage == SignUp.Stage.CONFIRMED
    assert code_of(lambda: confirm_sign_up(token=token)) == "bad_token"


def test_a_token_expires(asked: SignUp) -> None:
    token = token_of(asked)
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=25), tick=False):
        assert code_of(lambda: confirm_sign_up(token=token)) == "bad_token"
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=23), tick=False):
        assert confirm_sign_up(token=token).stage == SignUp.Stage.CONFIRMED, "negative control"


@pytest.mark.parametrize("forge", ["changed", "other salt", "empty", "of nobody", "no uuid"])
def test_a_forged_token_is_refused(asked: SignUp, forge: str) -> None:
    good = token_of(asked)
    token = {
        "changed": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "other salt": signing.dumps(str(asked.pk), salt="lyceum:else"),
        "empty": "",
        "of nobody": signing.dumps(str(UUID(int=7)), salt="lyceum:sign-up"),
        "no uuid": signing.dumps(["x"], salt="lyceum:sign-up"),
    }[forge]
    assert code_of(lambda: confirm_sign_up(token=token)) == "bad_token"
    asked.refresh_from_db()
    assert asked.stage == SignUp.Stage.WAITING


def test_of_two_that_confirm_at_once_one_does(transactional_db: None, asked: SignUp) -> None:
    def confirm(_: int) -> str:
        try:
            return confirm_sign_up(token=token_of(asked)).stage
        except Problem as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(confirm, range(4))) == ["bad_token"] * 3 + ["confirmed"]


def test_a_slug_that_was_taken_meanwhile_leaves_the_token_good(asked: SignUp, greenwood: InstitutionContext) -> None:
    SignUp.objects.filter(pk=asked.pk).update(slug="lumiere")
    assert code_of(lambda: confirm_sign_up(token=token_of(asked))) == "slug_taken"
    assert confirm_sign_up(token=token_of(asked), slug="rheintal2").slug == "rheintal2"


def test_a_making_that_dies_is_finished_by_the_next_run_and_its_steps_are_seen(
    transactional_db: None, asked: SignUp, visitor: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm_sign_up(token=token_of(asked))

    def fail(new: NewInstitution) -> None:
        raise RuntimeError("the worker died here")

    monkeypatch.setattr(registry, "provisioning_steps", [*registry.provisioning_steps, ("test.fail", fail)])
    carry_on()
    half = visitor.get(f"{PATH}{asked.pk}/").json()
    assert (half["stage"], half["step"]) == ("confirmed", "test.fail")
    assert half["steps"][0] == "schema"
    assert half["steps"][-1] == "test.fail"
    monkeypatch.undo()
    carry_on()
    assert visitor.get(f"{PATH}{asked.pk}/").json()["stage"] == "ready"
    made = Tenant.objects.prefetch_related("domains").get(name="Rheintal")
    with institution(made.context):
        assert [user.email for user in User.objects.all()] == ["head@rheintal.test"]


def test_who_loses_the_slug_between_proof_and_making_is_told(
    transactional_db: None, asked: SignUp, visitor: Asker
) -> None:
    confirm_sign_up(token=token_of(asked))
    create_institution(new=NewInstitution("Faster", "rheintal"))
    carry_on()
    refused = visitor.get(f"{PATH}{asked.pk}/").json()
    assert (refused["stage"], refused["host"]) == ("refused", "")
    assert "taken" in refused["error"]


def test_of_two_makers_of_one_slug_the_winners_name_stays(transactional_db: None) -> None:
    def make(name: str) -> str:
        try:
            with acting(task("test")):
                return create_institution(new=NewInstitution(name, "twin")).name
        except Problem as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(make, ["One", "Two"]))
    (winner,) = [name for name in made if name != "slug_taken"]
    with platform():
        assert Tenant.objects.get(domains__slug="twin").name == winner


def test_a_mail_server_that_is_away_is_asked_again(asked: SignUp, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(carrying_out, "send_mail", away)
    carry_on()
    asked.refresh_from_db()
    assert (asked.proof_due, asked.letter_attempts) == (True, 1)
    monkeypatch.undo()
    carry_on()
    assert len(mail.outbox) == 1


def test_what_a_stranger_typed_is_not_carried_to_the_address(visitor: Asker) -> None:
    visitor.post(PATH, {**FORM, "name": "Buy now at evil.example"})
    carry_on()
    (letter,) = mail.outbox
    assert "evil" not in letter.subject + letter.body


def test_where_there_is_no_mail_server_signing_up_is_closed(visitor: Asker, settings: Any) -> None:
    settings.LETTERS_GO_OUT = False
    refused = visitor.post(PATH, FORM)
    assert (refused.status_code, refused.json()["code"]) == (503, "sign_up_closed")


def test_old_sign_ups_are_forgotten(asked: SignUp) -> None:
    SignUp.objects.update(expires_at=datetime.now(UTC) - carrying_out.KEPT - timedelta(minutes=1))
    SignUp.objects.update(proof_due=False)
    carry_on()
    assert not SignUp.objects.exists()


def test_no_other_host_signs_up(db: None, greenwood: InstitutionContext, console: InstitutionContext) -> None:
    for host in ("greenwood.localhost", "console.localhost"):
        assert Asker(host).post(PATH, FORM).status_code == 404
    assert Asker("localhost").get("/api/v1/platform/institutions/").status_code == 404
    assert Tenant._meta.get_field("state").choices[1][0] == State.ACTIVE or True
