"""Numbers of a person's events: no gap, no overtaking."""

import itertools
import threading
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.publish import publish
from tenant_apps.communication.models import Notification
from tenant_apps.communication.services import notify
from tenant_apps.eventlog import outbox, streams
from tenant_apps.eventlog.models import OutboxMessage, Stream, StreamEvent
from tests import cast


class Numbering(Protocol):
    def write(self, title: str) -> None:
        """In the writer's transaction."""

    def relay(self) -> None:
        """After each commit."""


class Ours:
    def write(self, title: str) -> None:
        notify(recipients=[cast.user_id("teacher")], kind="test", title=title)

    def relay(self) -> None:
        outbox.carry_out()


class SequenceInTheTransaction:
    """What one would write first: the number is taken while writing."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)

    def write(self, title: str) -> None:
        seq = next(self.numbers)
        message = OutboxMessage.objects.create(topic="none", done_at=timezone.now())
        StreamEvent.objects.create(
            recipient_id=cast.user_id("teacher"), seq=seq, type="test", data={"title": title}, effect=message.pk
        )

    def relay(self) -> None:
        pass


class Client:
    """Reads what is there and remembers the last number, as a socket's client does."""

    def __init__(self) -> None:
        self.last, self.titles = 0, []

    def resume(self) -> None:
        for event in StreamEvent.objects.after(cast.user_id("teacher"), self.last):
            self.last = event.seq
            self.titles.append(event.data["title"])


@pytest.mark.parametrize(
    ("make_numbering", "received"),
    [(Ours, ["fast", "slow"]), (SequenceInTheTransaction, ["fast"])],
    ids=["ours", "a sequence in the transaction"],
)
def test_a_slow_commit_that_is_overtaken_still_reaches_a_client_that_resumes(
    committed: None, greenwood: InstitutionContext, make_numbering: Callable[[], Numbering], received: list[str]
) -> None:
    numbering, client = make_numbering(), Client()
    written, may_commit = threading.Event(), threading.Event()

    def slow_writer() -> None:
        with institution(greenwood), transaction.atomic():
            numbering.write("slow")
            written.set()
            assert may_commit.wait(10)
        connection.close()

    slow = threading.Thread(target=slow_writer)
    slow.start()
    assert written.wait(10)
    with institution(greenwood):
        with transaction.atomic():
            numbering.write("fast")
        numbering.relay()
        client.resume()
        may_commit.set()
        slow.join()
        numbering.relay()
        client.resume()
        assert client.titles == received


def test_numbers_stay_gapless_with_several_relays_and_failures(
    committed: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [cast.user_id("teacher"), cast.user_id("guardian")]
    lock, fail = threading.Lock(), itertools.cycle([False, False, True])

    def number_and_sometimes_fail(message: OutboxMessage) -> None:
        # Both orders of recipients: locks taken as they come would deadlock.
        streams.append(effect=message, type="test", data={UUID(p): {} for p in message.payload["people"]})
        with lock:
            failing = next(fail)
        if failing:
            OutboxMessage.objects.filter(pk=message.pk).update(next_attempt_at=timezone.now())
            raise RuntimeError("after the number was given out")

    def retry_at_once(message: OutboxMessage, error: Exception) -> None:
        OutboxMessage.objects.filter(pk=message.pk).update(attempts=message.attempts + 1)

    monkeypatch.setitem(outbox._handlers, "number", number_and_sometimes_fail)
    monkeypatch.setattr(outbox, "_postpone", retry_at_once)
    with institution(greenwood), transaction.atomic():
        for turn in range(40):
            publish("number", {"people": [str(p) for p in (people if turn % 2 else people[::-1])]})

    def relay() -> None:
        with institution(greenwood):
            while outbox.carry_out():
                pass
        connection.close()

    relays = [threading.Thread(target=relay) for _ in range(3)]
    for thread in relays:
        thread.start()
    for thread in relays:
        thread.join()
    with institution(greenwood):
        assert OutboxMessage.objects.filter(attempts__gt=0).exists(), "failures happened on the way"
        for person in people:
            seqs = list(StreamEvent.objects.after(person, 0).values_list("seq", flat=True))
            assert seqs == list(range(1, 41))
            assert Stream.objects.get(recipient=person).last_seq == 40


def test_a_message_gives_a_person_at_most_one_event(inside: InstitutionContext) -> None:
    notify(recipients=[cast.user_id("teacher")], kind="test", title="once")
    outbox.carry_out()
    OutboxMessage.objects.update(done_at=None)
    outbox.carry_out()
    assert (StreamEvent.objects.count(), Notification.objects.count()) == (1, 1)
    assert OutboxMessage.objects.get().last_error
