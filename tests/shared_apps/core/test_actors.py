"""Who acts reaches PostgreSQL in every transaction, and costs reads nothing."""

import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection, transaction

from shared_apps.core.actors import Actor, ActorKind, acting, actor, command, identified, task, visitor
from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.school.models import Campus
from tests import cast
from tests.api import as_person, nobody

ODD = Actor(ActorKind.PERSON, "O'Brien \\ \"é😀\n'; SELECT 1", user_id=uuid4(), request_id="r'1", address="::1")


def told() -> dict[str, Any]:
    """What the server knows of the actor, by a statement of the open transaction; nothing where it was told nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lyceum.actor', true)")
        text = cursor.fetchone()[0]
    return json.loads(text) if text else {}


@pytest.mark.usefixtures("inside")
def test_a_transaction_knows_who_acts_however_the_name_is_written() -> None:
    with acting(ODD):
        assert told() == {
            "kind": "person",
            "name": "O'Brien \\ \"é😀'; SELECT 1",
            "user": str(ODD.user_id),
            "request": "r'1",
            "address": "::1",
        }


@pytest.mark.usefixtures("inside")
def test_the_actor_is_told_again_after_a_savepoint_is_rolled_back() -> None:
    with acting(command("before")):
        assert told()["name"] == "before"
    with acting(command("after")), pytest.raises(ZeroDivisionError), transaction.atomic():
        assert told()["name"] == "after"
        raise ZeroDivisionError
    with acting(command("after")):
        assert told()["name"] == "after"


def test_each_transaction_is_told_anew_and_reads_outside_of_one_cost_nothing(
    committed: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[str]] = []
    real = connection._send  # type: ignore[attr-defined]
    with institution(greenwood), acting(command("first")):
        Campus.objects.exists()
        monkeypatch.setattr(
            connection, "_send", lambda statements, begin: sent.append(statements) or real(statements, begin=begin)
        )
        Campus.objects.exists()
        assert sent == []
        for _ in range(2):
            with transaction.atomic():
                assert told()["name"] == "first"
                assert told()["name"] == "first"
        assert len(sent) == 2
        assert not told()


def test_a_write_outside_of_any_transaction_is_given_one(committed: None, greenwood: InstitutionContext) -> None:
    with institution(greenwood), acting(command("lonely")), connection.cursor() as cursor:
        cursor.execute("UPDATE school_campus SET name = name RETURNING current_setting('lyceum.actor', true)")
        assert json.loads(cursor.fetchone()[0])["name"] == "lonely"
        cursor.execute("WITH one AS (SELECT 1) SELECT current_setting('lyceum.actor', true) FROM one")
        assert not cursor.fetchone()[0]


def test_the_naive_way_loses_the_actor_outside_of_a_transaction(greenwood: InstitutionContext, committed: None) -> None:
    """Negative control: SET LOCAL outside of a transaction is over with its own statement (SCALE 6)."""
    with institution(greenwood), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lyceum.actor = 'x'")
    assert isinstance(connection.connection, psycopg.Connection)
    with institution(greenwood):
        assert not told()


def test_a_request_acts_as_a_visitor_and_then_as_its_person(
    db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Actor | None] = []
    monkeypatch.setattr(Campus, "clean", lambda self: seen.append(actor()))
    person = cast.of(greenwood).principal
    answer = as_person(greenwood, person).post("/api/v1/school/campuses/", {"code": "NEW", "name": "New"})
    assert answer.status_code == 201, answer.content
    assert seen[0] == Actor(
        ActorKind.PERSON, person.email, user_id=person.user_id, request_id=answer["X-Request-ID"], address="127.0.0.1"
    )
    nobody(greenwood).get("/api/v1/school/campuses/")
    now = actor()
    assert now is not None
    assert now.kind is ActorKind.COMMAND


def test_a_task_keeps_the_person_behind_it_and_identifying_never_unmakes_a_task() -> None:
    user_id = uuid4()
    with acting(visitor(name="GET /", request_id="abc", address="::1")):
        identified(user_id=user_id, name="a@b.test")
        with acting(task("interop.import")) as who:
            assert (who.user_id, who.request_id, who.kind) == (user_id, "abc", ActorKind.TASK)
            identified(user_id=uuid4(), name="another")
            assert actor() is who
