"""A connection has a bounded life: its backend remembers the catalog of every institution that it was asked about."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, close_old_connections, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.engine import base
from shared_apps.core.engine.owner import owner_connection


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def served_by(*places: InstitutionContext) -> set[int]:
    """The backends of three rounds of requests to each of the institutions."""
    found = set()
    for place in places * 3:
        close_old_connections()
        with institution(place):
            found.add(backend())
    return found


def test_a_connection_is_replaced_between_requests_when_it_has_been_asked_much_in_many_institutions(
    transactional_db: None,
    greenwood: InstitutionContext,
    lumiere: InstitutionContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection.close()
    assert len(served_by(greenwood, lumiere)) == 1, "negative control: two are not many"
    monkeypatch.setattr(base, "STATEMENTS_REMEMBERED", 2)
    connection.close()
    assert len(served_by(greenwood, greenwood)) == 1, "the same of one institution, however often, is no reason"
    connection.close()
    assert len(served_by(greenwood, lumiere)) == 3


def test_it_is_not_replaced_in_the_middle_of_a_request(
    transactional_db: None,
    greenwood: InstitutionContext,
    lumiere: InstitutionContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "STATEMENTS_REMEMBERED", 1)
    with institution(greenwood):
        first = backend()
    with institution(lumiere):
        assert backend() == first


def test_a_lost_server_costs_a_process_one_request_and_not_one_for_each_thread(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restarted() -> None:
        """As a restart does it: all sessions end, but for those of the databases in which other tests run."""
        mine = "SELECT pid FROM pg_stat_activity WHERE usename = %s AND datname = current_database()"
        with platform(), owner_connection(), connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_terminate_backend(pid) FROM ({mine}) AS mine", [serving_role])

    def request() -> bool:
        close_old_connections()
        try:
            with institution(greenwood):
                backend()
        except OperationalError:
            return False
        finally:
            close_old_connections()
        return True

    def served_after_a_restart() -> list[bool]:
        with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
            assert [each.submit(request).result() for each in (one, other)] == [True, True]
            restarted()
            found = [each.submit(request).result() for each in (one, other, one, other)]
            for each in (one, other):
                each.submit(connections.close_all).result()
        return found

    serving_role = connection.settings_dict["USER"]
    assert served_after_a_restart() == [False, True, True, True]
    monkeypatch.setattr(
        base.DatabaseWrapper, "close_if_unusable_or_obsolete", BaseDatabaseWrapper.close_if_unusable_or_obsolete
    )
    assert served_after_a_restart() == [False, False, True, True], "negative control"
