"""A connection has a bounded life: its backend remembers the catalog of every institution that it was asked about."""

import pytest
from django.db import close_old_connections, connection

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.engine import base


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
