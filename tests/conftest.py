"""Fixtures of the whole suite. Tests start outside of any context, as a request does."""

from collections.abc import Callable, Iterator
from threading import current_thread
from typing import Any

import pytest
from django.db import connections, transaction

from shared_apps.core import bus
from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution, platform
from tests import servers

pytest_plugins = ("tests.tasks.committed", "tests.realtime.sockets")


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any) -> Iterator[None]:
    """This process's clone of the prepared template (tests/servers.py)."""
    with django_db_blocker.unblock():
        servers.reset_database()
        yield
        connections.close_all()


@pytest.fixture
def _django_db_helper(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """In place of pytest-django's: it would flush public's tables only, and knows no institutions.

    A test of one connection runs in a transaction that is rolled back. One that needs commits, threads or processes
    asks for `transactional_db`; it gets the whole database, which is cloned anew afterwards.
    """
    mark = request.node.get_closest_marker("django_db")
    commits = "transactional_db" in request.fixturenames or bool(mark and mark.kwargs.get("transaction"))
    with django_db_blocker.unblock(), acting(command("test")):
        if commits:
            yield
            connections.close_all()
            servers.reset_database()
        else:
            undone = transaction.atomic()
            with platform():  # within a module's own transaction this is a savepoint, and that is a query
                undone.__enter__()
            try:
                yield
            finally:
                with platform():
                    transaction.set_rollback(True)
                    undone.__exit__(None, None, None)
    _forget_what_the_process_remembers()


def _forget_what_the_process_remembers() -> None:
    """Rows are gone; so must be what caches and counters know of them."""
    for handler in bus._handlers.values():
        handler("")
    bus.client().flushdb()


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tells of a change forgets; this process does not, when it hears of it over Redis a moment later."""
    teller = current_thread()

    def only_here(handler: Callable[[str], None]) -> Callable[[str], None]:
        return lambda key: handler(key) if current_thread() is teller else None

    for topic, handler in list(bus._handlers.items()):
        monkeypatch.setitem(bus._handlers, topic, only_here(handler))
        handler("")


def _context(slug: str, django_db_blocker: Any) -> InstitutionContext:
    from shared_apps.tenants.services import find_tenant

    with django_db_blocker.unblock(), platform():
        context = find_tenant(slug).context
        connections.close_all()
    return context


@pytest.fixture(scope="session")
def greenwood(django_db_setup: None, django_db_blocker: Any) -> InstitutionContext:
    """The institution of the cast."""
    return _context("greenwood", django_db_blocker)


@pytest.fixture(scope="session")
def lumiere(django_db_setup: None, django_db_blocker: Any) -> InstitutionContext:
    """The other institution: the outsider's."""
    return _context("lumiere", django_db_blocker)


@pytest.fixture(scope="session")
def console(django_db_setup: None, django_db_blocker: Any) -> InstitutionContext:
    """The operators' own tenant."""
    return _context("console", django_db_blocker)


@pytest.fixture
def inside(db: None, greenwood: InstitutionContext) -> Iterator[InstitutionContext]:
    """The test runs inside greenwood."""
    with institution(greenwood):
        yield greenwood
