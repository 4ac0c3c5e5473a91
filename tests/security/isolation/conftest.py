"""The two institutions of this suite, and people of the first whose every answer is searched."""

import pytest

from shared_apps.core.context import InstitutionContext
from shared_apps.core.engine.base import DatabaseWrapper
from tests import cast
from tests.api import host_of
from tests.security.isolation.canaries import Twins, Watched, make_twins


@pytest.fixture
def twins(db: None, greenwood: InstitutionContext, lumiere: InstitutionContext) -> Twins:
    """greenwood is asked; lumiere has its keys and sings."""
    return make_twins(greenwood, lumiere)


@pytest.fixture
def principal(twins: Twins) -> Watched:
    """Whoever may see and do everything in the institution that is asked."""
    return Watched(host_of(twins.here), cast.of(twins.here).principal)


@pytest.fixture
def engine_stays_there(twins: Twins, principal: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the suite: stock django-tenants keeps the tenant on the connection, so a thread that has
    served another institution may go on reading it. What the process remembers of the asker is warm by then."""
    assert principal.get("/api/v1/auth/me/").status_code == 200
    stays = property(lambda self: twins.there.schema_name, lambda self, name: None)
    monkeypatch.setattr(DatabaseWrapper, "schema_name", stays)
