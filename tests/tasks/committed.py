"""A database for tests of threads and processes: what they commit is swept away afterwards, table by table.

`transactional_db` clones the whole database anew; this is for tests that write only to the tables named here.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from shared_apps.core import bus
from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, State, institution, platform
from tenant_apps.accounts.models import RefreshToken, Role, Session
from tenant_apps.communication.models import Notification
from tenant_apps.eventlog.models import Job, OutboxMessage, Stream, StreamEvent

TABLES = (StreamEvent, Stream, OutboxMessage, Notification, Job, RefreshToken, Session)


@pytest.fixture
def committed(
    django_db_setup: None, django_db_blocker: Any, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> Iterator[None]:
    """Commits are real, and gone after the test."""
    with django_db_blocker.unblock(), acting(command("test")):
        yield
        sweep(greenwood, lumiere)


def sweep(*places: InstitutionContext) -> None:
    from shared_apps.tenants.models import Tenant

    with platform():
        Tenant.objects.update(state=State.ACTIVE)
    for place in places:
        with institution(place):
            with connection.cursor() as cursor:
                for model in TABLES:
                    cursor.execute(f"DELETE FROM {model._meta.db_table}")
            Role.objects.filter(code__startswith="effect").delete()
    connection.close()
    for handler in bus._handlers.values():
        handler("")
    bus.client().flushdb()
