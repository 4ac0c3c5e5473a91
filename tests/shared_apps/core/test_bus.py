"""What one process changes, the others forget; a lost Redis or a bad handler costs no more than a cache's lifetime."""

import threading
import time
from collections.abc import Callable
from secrets import token_hex

import pytest
import redis
from django.db import transaction

from shared_apps.core import bus
from shared_apps.core.context import InstitutionContext, State, platform
from shared_apps.tenants.lifecycle import change_state
from shared_apps.tenants.services import find_tenant


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Handlers and a channel of this test alone: listeners of other tests live on."""
    name = f"test:{token_hex(4)}"
    monkeypatch.setattr(bus, "channel", lambda: name)
    said: dict[str, list[str]] = {"good": [], "other": []}
    monkeypatch.setattr(bus, "_handlers", {})
    bus.subscribe("good", said["good"].append)
    bus.subscribe("other", said["other"].append)
    return said


@pytest.fixture
def listener(heard: dict[str, list[str]]) -> threading.Thread:
    thread = threading.Thread(target=bus._run, daemon=True)
    thread.start()
    until(lambda: heard["good"] == [""])
    heard["good"].clear()
    return thread


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends, "waited five seconds"
        time.sleep(0.005)


def said_elsewhere(text: str) -> None:
    bus.client().publish(bus.channel(), text)


def test_a_new_listener_forgets_everything_first(heard: dict[str, list[str]], listener: threading.Thread) -> None:
    """What was said before it listened is lost to it."""
    assert heard["other"] == [""]


def test_a_message_reaches_the_handler_of_its_topic_alone(
    heard: dict[str, list[str]], listener: threading.Thread
) -> None:
    said_elsewhere("good key with blanks")
    until(lambda: heard["good"] == ["key with blanks"])
    assert heard["other"] == [""]


def test_the_process_that_tells_forgets_at_once(heard: dict[str, list[str]]) -> None:
    bus.tell("good", "key")
    assert heard["good"] == ["key"]
    bus.tell("nobody listens", "key")


def test_a_handler_that_fails_does_not_end_the_listener(
    heard: dict[str, list[str]], listener: threading.Thread
) -> None:
    def fail(key: str) -> None:
        raise ZeroDivisionError(key)

    bus.subscribe("bad", fail)
    said_elsewhere("bad key")
    said_elsewhere("good after")
    until(lambda: heard["good"] == ["after"])
    assert listener.is_alive()


@pytest.mark.parametrize("raw", [b"\xff\xfe \xff", b"", b"unknown topic", b"good"])
def test_a_message_that_is_none_does_not_end_the_listener(
    heard: dict[str, list[str]], listener: threading.Thread, raw: bytes
) -> None:
    bus.client().publish(bus.channel(), raw)
    said_elsewhere("good after")
    until(lambda: heard["good"][-1:] == ["after"])
    assert listener.is_alive()


def test_a_lost_connection_is_made_again_and_everything_forgotten(
    heard: dict[str, list[str]], listener: threading.Thread
) -> None:
    here = str(bus.client().connection_pool.connection_kwargs.get("db", 0))
    for client in bus.client().client_list(_type="pubsub"):
        if client["db"] == here:  # other processes of the suite have databases of their own
            bus.client().client_kill_filter(_id=client["id"])
    until(lambda: "" in heard["good"])  # listeners of earlier tests come back too
    said_elsewhere("good again")
    until(lambda: "again" in heard["good"])


def test_a_suspension_is_told_after_its_commit(
    transactional_db: None, greenwood: InstitutionContext, heard: dict[str, list[str]]
) -> None:
    """Told before, a process that asks at once would keep the old state for its cache's lifetime."""
    bus.subscribe("tenants", heard["good"].append)
    with platform():
        tenant = find_tenant("greenwood")
        with transaction.atomic():
            change_state(tenant=tenant, to=State.SUSPENDED, reason="unpaid")
            assert heard["good"] == []
        assert heard["good"] == [str(tenant.pk)]


def test_telling_without_redis_still_forgets_here(heard: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = redis.Redis.from_url("redis://127.0.0.1:1/0")
    monkeypatch.setattr(bus, "_client", nowhere)
    bus.tell("good", "key")
    assert "key" in heard["good"]
    with pytest.raises(redis.ConnectionError):
        nowhere.publish(bus.channel(), "good key")
