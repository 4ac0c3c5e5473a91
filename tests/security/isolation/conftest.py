"""The two institutions of this suite, and people of the first whose every answer is searched."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.engine.base import DatabaseWrapper
from tenant_apps.accounts.models import User
from tenant_apps.accounts.sessions import open_session
from tests import cast
from tests.api import Asker, host_of
from tests.security.isolation.canaries import Twins, Watched, make_twins


@pytest.fixture(scope="module")
def twins(
    django_db_setup: None,
    django_db_blocker: Any,
    greenwood: InstitutionContext,
    lumiere: InstitutionContext,
    console: InstitutionContext,
) -> Iterator[Twins]:
    """greenwood is asked; lumiere has its keys and sings.

    Written once for a module, whose tests each undo what they add to it; none of them may ask for commits, nor sign
    anybody in at lumiere, where no address is what it was.
    """
    with django_db_blocker.unblock(), acting(command("test")), transaction.atomic():
        yield make_twins(greenwood, lumiere)
        transaction.set_rollback(True)


@pytest.fixture
def principal(twins: Twins, db: None) -> Watched:
    """Whoever may see and do everything in the institution that is asked."""
    return Watched(host_of(twins.here), cast.of(twins.here).principal)


@pytest.fixture
def there(twins: Twins, db: None) -> Asker:
    """The principal of the other institution, at its own host: hears the canaries."""
    with institution(twins.there):
        user = User.objects.get(pk=cast.of(twins.there).principal.user_id)
        return Asker(host_of(twins.there), token=open_session(user=user, address=None, user_agent="test").access)


@pytest.fixture
def engine_stays_there(twins: Twins, principal: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the suite: stock django-tenants keeps the tenant on the connection, so a thread that has
    served another institution may go on reading it. What the process remembers of the asker is warm by then."""
    assert principal.get("/api/v1/auth/me/").status_code == 200
    stays = property(lambda self: twins.there.schema_name, lambda self, name: None)
    monkeypatch.setattr(DatabaseWrapper, "schema_name", stays)
