"""Idempotency-Key: what is sent twice is done once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.registry import registry
from tenant_apps.eventlog import answers
from tenant_apps.eventlog.models import IdempotencyKey
from tenant_apps.school.models import Room
from tests import cast as casting
from tests.api import Asker, as_person

ROOMS = "/api/v1/school/rooms/"
KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


@pytest.fixture
def cast(inside: InstitutionContext) -> casting.Cast:
    return casting.of(inside)


@pytest.fixture
def principal(cast: casting.Cast) -> Asker:
    return as_person(cast.institution, cast.principal)


def room(context: InstitutionContext, **more: Any) -> dict[str, Any]:
    return {"campus": str(casting.of(context).id("campus")), "name": "Attic", **more}


def test_the_same_request_is_answered_as_the_first_time_and_done_once(cast: casting.Cast, principal: Asker) -> None:
    body = room(cast.institution)
    first = principal.post(ROOMS, body, HTTP_IDEMPOTENCY_KEY=KEY)
    again = principal.post(ROOMS, body, HTTP_IDEMPOTENCY_KEY=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.content, again["Location"], again["ETag"]) == (first.content, first["Location"], first["ETag"])
    assert ("Idempotency-Replayed" in first, again["Idempotency-Replayed"]) == (False, "true")
    assert Room.objects.filter(name="Attic").count() == 1
    assert principal.post(ROOMS, body).status_code == 409, "negative control: without the key it is done again"


def test_another_request_under_the_key_is_refused(cast: casting.Cast, principal: Asker) -> None:
    body = room(cast.institution)
    key = principal.post(ROOMS, body, HTTP_IDEMPOTENCY_KEY=KEY).json()["id"]
    for method, url, other in (
        ("POST", ROOMS, {**body, "name": "Cellar"}),
        ("POST", "/api/v1/school/campuses/", body),
        ("PATCH", f"{ROOMS}{key}/", body),
    ):
        answer = principal.ask(method, url, other, HTTP_IDEMPOTENCY_KEY=KEY)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused"), answer.content
    assert not Room.objects.filter(name="Cellar").exists()


def test_changes_deletions_and_verbs_are_done_once_too(cast: casting.Cast, principal: Asker) -> None:
    key = principal.post(ROOMS, room(cast.institution)).json()["id"]
    url = f"{ROOMS}{key}/"
    assert principal.patch(url, {"capacity": 5}, HTTP_IDEMPOTENCY_KEY="a").json()["capacity"] == 5
    principal.patch(url, {"capacity": 9})
    assert principal.patch(url, {"capacity": 5}, HTTP_IDEMPOTENCY_KEY="a").json()["capacity"] == 5
    assert principal.get(url).json()["capacity"] == 9
    assert principal.delete(url, HTTP_IDEMPOTENCY_KEY="b").status_code == 204
    again = principal.delete(url, HTTP_IDEMPOTENCY_KEY="b")
    assert (again.status_code, again.content, again["Idempotency-Replayed"]) == (204, b"", "true")
    verb = f"/api/v1/school/students/{cast.id('ada')}/change-state/"
    body = {"to": "left", "on": "2021-01-04"}
    assert principal.post(verb, body, HTTP_IDEMPOTENCY_KEY="c").status_code == 200
    assert principal.post(verb, body, HTTP_IDEMPOTENCY_KEY="c").status_code == 200


def test_a_refusal_is_not_kept_so_the_key_serves_the_mended_request(cast: casting.Cast, principal: Asker) -> None:
    assert principal.post(ROOMS, {"name": "Attic"}, HTTP_IDEMPOTENCY_KEY=KEY).status_code == 400
    assert principal.post(ROOMS, room(cast.institution), HTTP_IDEMPOTENCY_KEY=KEY).status_code == 201


def test_keys_are_each_person_s_own(cast: casting.Cast, principal: Asker, lumiere: InstitutionContext) -> None:
    assert principal.post(ROOMS, room(cast.institution), HTTP_IDEMPOTENCY_KEY=KEY).status_code == 201
    there = as_person(lumiere, casting.of(lumiere).principal)
    assert there.post(ROOMS, room(lumiere), HTTP_IDEMPOTENCY_KEY=KEY).status_code == 201
    assert IdempotencyKey.objects.count() == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 256, "\x7f"])
def test_a_key_that_is_none_is_400(cast: casting.Cast, principal: Asker, key: str) -> None:
    answer = principal.post(ROOMS, room(cast.institution), HTTP_IDEMPOTENCY_KEY=key)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_idempotency_key")


def test_a_key_s_time_ends(cast: casting.Cast, principal: Asker) -> None:
    body = room(cast.institution)
    key = principal.post(ROOMS, body, HTTP_IDEMPOTENCY_KEY=KEY).json()["id"]
    assert answers.forget_expired() == 0
    IdempotencyKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    principal.delete(f"{ROOMS}{key}/")
    assert principal.post(ROOMS, body, HTTP_IDEMPOTENCY_KEY=KEY).json()["id"] != key
    IdempotencyKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert answers.forget_expired() == 1


def at_once(greenwood: InstitutionContext, count: int) -> list[Any]:
    token, start = as_person(greenwood, casting.of(greenwood).principal).token, Barrier(count)

    def write(number: int) -> Any:
        try:
            start.wait(timeout=10)
            asker = Asker("greenwood.localhost", token=token)
            return asker.post(ROOMS, room(greenwood), HTTP_IDEMPOTENCY_KEY=KEY)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(write, range(count)))


def test_of_many_at_once_one_does_it_and_all_get_its_answer(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    found = at_once(greenwood, 4)
    assert {answer.status_code for answer in found} == {201}
    assert len({answer.json()["id"] for answer in found}) == 1
    assert sum("Idempotency-Replayed" in answer for answer in found) == 3


def test_a_key_that_is_looked_up_and_not_taken_lets_a_second_one_in(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: ask first, write later. All have asked before the first one writes."""
    asked = Barrier(4)

    class LooksOnly:
        @staticmethod
        def begin(*, person: UUID, key: str, request: bytes) -> Any:
            kept = IdempotencyKey.objects.filter(person_id=person, key=key).first()
            asked.wait(timeout=30)
            return answers.begin(person=person, key=key, request=request) if kept else None

        @staticmethod
        def finish(*, person: UUID, key: str, answer: Any) -> None:
            answers.begin(person=person, key=key, request=answer.request)
            answers.finish(person=person, key=key, answer=answer)

    monkeypatch.setattr(registry, "answers", LooksOnly)
    assert {answer.status_code for answer in at_once(greenwood, 4)} == {201, 409}
    with institution(greenwood):
        assert Room.objects.filter(name="Attic").count() == 1
