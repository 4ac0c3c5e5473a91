"""The owner's connection: opened ahead, kept for a moment after a success, and for nothing else."""

import socket
import time
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import OperationalError, connection, connections, transaction

from shared_apps.core.context import WrongContext, platform
from shared_apps.core.engine import owner as engine_owner
from shared_apps.core.engine.owner import KEPT_USES, owner_ahead


@pytest.fixture(autouse=True)
def _nothing_kept(transactional_db: None) -> Iterator[None]:
    def forget() -> None:
        while engine_owner._kept:
            engine_owner._kept.pop().owner.close()

    forget()
    with platform():
        yield
    forget()


def one(sql: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def backend_of_the_owner() -> object:
    with owner_ahead() as owner, owner():
        return one("SELECT pg_backend_pid()")


def sessions_of(backend: object) -> object:
    return one(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {backend}")


def soon_gone(backend: object, *, seconds: float) -> bool:
    """A backend that was told to go needs a moment for it."""
    deadline = time.monotonic() + seconds
    while sessions_of(backend) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not sessions_of(backend)


def test_it_is_the_owner_inside_and_the_serving_role_around() -> None:
    serving = connections["default"]
    with owner_ahead() as owner:
        assert connections["default"] is serving
        with owner():
            assert one("SELECT current_user") == settings.DATABASE_OWNER["USER"]
        assert connections["default"] is serving


def test_whoever_comes_at_once_gets_the_same_and_not_for_ever() -> None:
    first = [backend_of_the_owner() for _ in range(KEPT_USES)]
    assert len(set(first)) == 1
    assert backend_of_the_owner() != first[0]
    assert soon_gone(first[0], seconds=5)


def test_two_at_once_have_one_each() -> None:
    with owner_ahead() as owner, owner():
        mine = one("SELECT pg_backend_pid()")
        other = engine_owner._take()[0]
        assert other.connection is None
    assert backend_of_the_owner() == mine


def test_one_that_is_left_alone_is_closed_and_not_given_to_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: while it works it may be silent for longer."""
    monkeypatch.setattr(engine_owner, "KEPT_SECONDS", 0.7)
    left = backend_of_the_owner()
    with owner_ahead() as owner, owner():
        assert one("SELECT pg_backend_pid()") == left
        time.sleep(1.8)
        assert one("SELECT pg_backend_pid()") == left
    assert soon_gone(left, seconds=5)
    assert not engine_owner._kept
    assert backend_of_the_owner() != left


def test_where_its_process_hangs_the_server_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_owner, "KEPT_SECONDS", 0.2)
    monkeypatch.setattr(engine_owner, "_close", lambda kept: None)
    left = backend_of_the_owner()
    assert soon_gone(left, seconds=5)


def test_one_that_the_server_has_ended_is_replaced_without_a_word() -> None:
    lost = backend_of_the_owner()
    with owner_ahead() as owner, owner():  # a serving role may not end the owner's sessions
        pass
    spare = engine_owner._kept.pop()
    with owner_ahead() as owner, owner():
        one(f"SELECT pg_terminate_backend({lost}, 5000)")
    while engine_owner._kept:
        engine_owner._kept.pop().owner.close()
    engine_owner._kept.append(spare)
    assert backend_of_the_owner() != lost


def test_a_child_of_this_process_has_its_own() -> None:
    """Two processes that write to one socket would read each other's answers."""
    mine = backend_of_the_owner()
    engine_owner._kept[-1].process += 1
    assert backend_of_the_owner() != mine


def test_one_that_is_left_in_a_transaction_is_not_kept() -> None:
    """The server's clock does not run for it."""
    with owner_ahead() as owner, owner():
        connection.set_autocommit(False)
        left = one("SELECT pg_backend_pid()")
    assert soon_gone(left, seconds=5)


def test_who_is_refused_before_it_is_needed_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the owner's own way to the server is gone. Negative control: who enters it waits, and is told."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        port = deaf.getsockname()[1]
        silent = {**settings.DATABASE_OWNER, "HOST": "127.0.0.1", "PORT": port}
        monkeypatch.setattr(settings, "DATABASE_OWNER", silent)
        began = time.monotonic()
        with pytest.raises(LookupError), owner_ahead():
            raise LookupError("the slug is taken")
        assert time.monotonic() - began < 1
        with pytest.raises(OperationalError), owner_ahead() as owner, owner():
            raise AssertionError("nobody answers there")
        assert time.monotonic() - began > 1


def test_after_a_failure_nothing_is_kept() -> None:
    failed: list[object] = []
    with pytest.raises(LookupError), owner_ahead() as owner, owner():
        failed.append(one("SELECT pg_backend_pid()"))
        raise LookupError("the slug is taken")
    assert soon_gone(failed[0], seconds=5)
    assert not engine_owner._kept


def test_its_users_locks_end_with_its_use() -> None:
    with owner_ahead() as owner, owner():
        one("SELECT pg_advisory_lock(7299)")
    assert one("SELECT pg_try_advisory_lock(7299)") is True
    one("SELECT pg_advisory_unlock(7299)")


def test_nobody_enters_it_inside_a_transaction_of_the_serving_role() -> None:
    with owner_ahead() as owner, transaction.atomic(), pytest.raises(WrongContext), owner():
        raise AssertionError("what follows would be of no transaction")
