"""The suite's own instruments: the canaries are everywhere, and are heard."""

import pytest

from shared_apps.core.context import institution
from tenant_apps.school.models import Student
from tests import cast
from tests.api import Asker
from tests.security.isolation.canaries import (
    CATALOGUE,
    LOG,
    Leak,
    Twins,
    Watched,
    sings,
    tenant_models,
    text_columns,
)

pytestmark = pytest.mark.django_db
STUDENTS = "/api/v1/school/students/"


def test_every_text_column_holds_a_canary(twins: Twins) -> None:
    assert twins.without == frozenset()
    assert len(list(text_columns())) > 80


def test_every_table_has_a_key_that_both_have_and_one_that_only_the_other_has(twins: Twins) -> None:
    assert twins.not_shared == frozenset()
    lacking = {model._meta.db_table for model in tenant_models()} - {m._meta.db_table for m in twins.only_there}
    assert lacking == {LOG, CATALOGUE, "school_institution"}, "there is one profile, and both have its key"
    for model, key in twins.only_there.items():
        with institution(twins.here):
            assert not model._default_manager.filter(pk=key).exists()


def test_the_canaries_are_heard_where_they_live(there: Asker) -> None:
    """Negative control of every search for them."""
    assert sings(there.get(STUDENTS).content)
    with pytest.raises(Leak):
        Watched(there.host, token=there.token).get(STUDENTS)


@pytest.mark.usefixtures("engine_stays_there")
def test_an_engine_that_stays_where_it_was_is_heard(twins: Twins, principal: Watched) -> None:
    """The keys are the same, so nothing else would tell."""
    for key in (cast.of(twins.here).id("ada"), twins.only_there[Student]):
        with pytest.raises(Leak):
            principal.get(f"{STUDENTS}{key}/")
