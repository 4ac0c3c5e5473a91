"""Effects leave a transaction with it, and happen once."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.db import connection, transaction
from django.utils import timezone

from shared_apps.core import bus
from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, NoTenant, institution, platform
from shared_apps.core.publish import publish
from tenant_apps.accounts.models import Role
from tenant_apps.eventlog import outbox
from tenant_apps.eventlog.models import OutboxMessage


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Registers handlers of made-up topics for one test."""

    def register(topic: str, function: outbox.Handler) -> None:
        monkeypatch.setitem(outbox._handlers, topic, function)

    return register


def make_role(message: OutboxMessage) -> None:
    """An effect that can be counted: a row."""
    Role.objects.create(code=message.payload["code"], name=message.payload["code"])


def made() -> int:
    return Role.objects.filter(code__startswith="effect").count()


def test_a_message_outside_of_a_transaction_is_refused(committed: None, greenwood: InstitutionContext) -> None:
    with institution(greenwood), pytest.raises(transaction.TransactionManagementError):
        publish("made-up", {})


def test_a_message_outside_of_an_institution_is_refused(db: None) -> None:
    with platform(), pytest.raises(NoTenant):
        publish("made-up", {})


def test_a_rolled_back_transaction_announces_nothing(inside: InstitutionContext) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        publish("made-up", {})
        raise ZeroDivisionError
    assert not OutboxMessage.objects.exists()


def test_a_second_message_with_the_same_key_is_dropped(inside: InstitutionContext) -> None:
    for _ in range(2):
        publish("made-up", {}, key="the same")
        publish("made-up", {})
    assert OutboxMessage.objects.count() == 3


def test_a_message_is_carried_out_and_marked_done(inside: InstitutionContext, handler: Callable[..., None]) -> None:
    handler("make", make_role)
    publish("make", {"code": "effect"})
    assert outbox.carry_out() == 1
    assert outbox.carry_out() == 0
    message = OutboxMessage.objects.get()
    assert (made(), message.done_at is not None, message.attempts) == (1, True, 0)


def test_a_failing_handler_leaves_nothing_behind_and_the_others_go_on(
    inside: InstitutionContext, handler: Callable[..., None]
) -> None:
    def half(message: OutboxMessage) -> None:
        make_role(message)
        raise RuntimeError("in the middle\x00")

    handler("half", half)
    handler("make", make_role)
    publish("half", {"code": "effect-of-half"})
    publish("make", {"code": "effect"})
    before = timezone.now()
    outbox.carry_out()
    assert list(Role.objects.filter(code__startswith="effect").values_list("code", flat=True)) == ["effect"]
    failed = OutboxMessage.objects.get(done_at=None)
    assert failed.attempts == 1
    assert "in the middle" in failed.last_error
    assert failed.next_attempt_at >= before + timedelta(seconds=2)
    assert outbox.carry_out() == 0, "it waits for its next attempt"


def test_a_message_that_never_succeeds_is_visible_and_tried_ever_more_rarely(
    inside: InstitutionContext, handler: Callable[..., None]
) -> None:
    publish("topic-of-nobody", {})
    pauses = []
    for _ in range(12):
        OutboxMessage.objects.update(next_attempt_at=timezone.now())
        outbox.carry_out()
        pauses.append(round((OutboxMessage.objects.get().next_attempt_at - timezone.now()).total_seconds()))
    assert pauses[:4] == [2, 4, 8, 16]
    assert pauses[-1] == outbox.LONGEST_BACKOFF
    message = OutboxMessage.objects.get(done_at=None)
    assert (message.attempts, message.last_error) == (12, "No handler for the topic 'topic-of-nobody'.")


def test_a_handler_that_misses_a_key_is_not_taken_for_a_missing_handler(
    inside: InstitutionContext, handler: Callable[..., None]
) -> None:
    handler("make", make_role)
    publish("make", {"name": "has no code"})
    outbox.carry_out()
    assert OutboxMessage.objects.get().last_error == "KeyError('code')"


def carry_out_carelessly() -> None:
    """The naive relay: what two of them read, both do."""
    for message in OutboxMessage.objects.filter(done_at=None):
        outbox._handlers[message.topic](message)
        OutboxMessage.objects.filter(pk=message.pk).update(done_at=timezone.now())


@pytest.mark.parametrize(
    ("relay", "once"),
    [(lambda: outbox.carry_out(most=1000), True), (carry_out_carelessly, False)],
    ids=["ours", "a careless relay"],
)
def test_several_relays_at_once_carry_out_each_message_once(
    committed: None,
    greenwood: InstitutionContext,
    handler: Callable[..., None],
    relay: Callable[[], Any],
    once: bool,
) -> None:
    start = threading.Barrier(3)

    def effect(message: OutboxMessage) -> None:
        Role.objects.create(code=f"effect-{uuid4().hex[:20]}", name="effect")

    def work() -> None:
        with institution(greenwood), acting(command("test")):
            start.wait()
            relay()
        connection.close()

    handler("make", effect)
    with institution(greenwood), transaction.atomic():
        for _ in range(60):
            publish("make", {})
    relays = [threading.Thread(target=work) for _ in range(3)]
    for thread in relays:
        thread.start()
    for thread in relays:
        thread.join()
    with institution(greenwood):
        assert not OutboxMessage.objects.filter(done_at=None).exists()
        assert (made() == 60) is once


def test_relays_are_poked_once_for_a_transaction_and_only_after_its_commit(
    committed: None, greenwood: InstitutionContext
) -> None:
    with bus.client().pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(outbox.poke_channel())
        pubsub.get_message(timeout=1)
        with institution(greenwood), transaction.atomic():
            for _ in range(5):
                publish("made-up", {})
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                publish("made-up", {})
                raise ZeroDivisionError
            assert pubsub.get_message(timeout=0.1) is None
        assert pubsub.get_message(timeout=1)["data"].decode() == str(greenwood.id)
        assert pubsub.get_message(timeout=0.1) is None


def test_a_message_is_kept_when_redis_is_away(
    committed: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = redis.Redis(unix_socket_path="/nowhere/redis.sock", retry=None)
    with monkeypatch.context() as patch, institution(greenwood):
        patch.setattr(bus, "client", lambda: away)
        with transaction.atomic():
            publish("made-up", {})
        assert OutboxMessage.objects.count() == 1


# By a worker


@pytest.fixture
def by_worker(handler: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], int]]:
    """A topic that workers carry out; the tasks that are sent for it."""
    sent: list[tuple[str, list[str], int]] = []
    handler("slow", make_role)
    monkeypatch.setattr(outbox, "_by_worker", {"slow"})
    monkeypatch.setattr(
        outbox.current_app, "send_task", lambda name, arguments, *, expires: sent.append((name, arguments, expires))
    )
    return sent


def test_the_relay_hands_over_what_a_worker_carries_out_and_waits_for_nobody(
    committed: None, greenwood: InstitutionContext, by_worker: list[Any]
) -> None:
    with institution(greenwood):
        with transaction.atomic():
            publish("slow", {"code": "effect"})
        assert outbox.carry_out() == 1
        message = OutboxMessage.objects.get()
        assert by_worker == [("eventlog.carry_out", [str(message.pk)], 60)]
        assert (made(), message.done_at, message.attempts) == (0, None, 0)
        assert outbox.carry_out() == 0, "it is given a minute"
        for _ in range(2):
            outbox.carry_out_one(message.pk)
        message.refresh_from_db()
        assert (made(), message.done_at is not None) == (1, True), "once, however often it is sent"


def test_what_a_lost_task_left_is_handed_over_again(
    committed: None, greenwood: InstitutionContext, by_worker: list[Any]
) -> None:
    with institution(greenwood):
        with transaction.atomic():
            publish("slow", {"code": "effect"})
        outbox.carry_out()
        OutboxMessage.objects.update(next_attempt_at=timezone.now())  # a minute later
        outbox.carry_out()
    assert len(by_worker) == 2
    assert by_worker[0] == by_worker[1]


def test_of_two_workers_with_one_message_one_carries_it_out(
    committed: None, greenwood: InstitutionContext, by_worker: list[Any], handler: Callable[..., None]
) -> None:
    held, seen = threading.Event(), threading.Event()

    def effect(message: OutboxMessage) -> None:
        make_role(message)
        held.set()
        assert seen.wait(10)

    def first() -> None:
        with institution(greenwood), acting(command("test")):
            outbox.carry_out_one(key)
        connection.close()

    handler("slow", effect)
    with institution(greenwood):
        with transaction.atomic():
            publish("slow", {"code": "effect"})
        key = OutboxMessage.objects.get().pk
        worker = threading.Thread(target=first)
        worker.start()
        assert held.wait(10)
        outbox.carry_out_one(key)
        seen.set()
        worker.join()
        assert made() == 1
