"""Every write through every resource leaves exactly one entry in the log, of its request and its person."""

from typing import Any

import pytest
from django.db import models

from shared_apps.core.api.declarations import Own
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.permissions import Action
from tenant_apps.audit.coverage import EXEMPT
from tenant_apps.audit.models import Entry
from tests import cast as casting
from tests.api import Asker, as_person
from tests.contract.served import SERVED, Resource

WATCHED = {
    path: resource
    for path, resource in SERVED.items()
    if resource.queryset.model._meta.db_table not in EXEMPT and resource.exposed & {Action.CHANGE, Action.DELETE}
}
every_watched = pytest.mark.parametrize(("path", "resource"), WATCHED.items(), ids=list(WATCHED))


@pytest.fixture
def principal(db: None, greenwood: InstitutionContext) -> Asker:
    asker = as_person(greenwood, casting.of(greenwood).principal)
    assert asker.token
    return asker


def entry(answer: Any, record: models.Model, place: InstitutionContext) -> Entry:
    """The one entry about the record that the request left."""
    with institution(place):
        found = Entry.objects.filter(
            request_id=answer["X-Request-ID"], table_name=record._meta.db_table, row_key=str(record.pk)
        )
        assert found.count() == 1, list(found)
        one = found.get()
    assert (one.actor_kind, one.actor_id) == ("person", casting.of(place).principal.user_id)
    return one


def words(resource: Resource) -> list[str]:
    """Text fields that a change may set."""
    fixed = resource.serializer_class.Meta.read_only_fields
    fields = (resource.queryset.model._meta.get_field(name) for name in resource.all_fields if name not in fixed)
    return [f.name for f in fields if type(f) in (models.CharField, models.TextField) and not f.choices]


@every_watched
def test_a_change_and_a_deletion_leave_one_entry_each(
    path: str, resource: Resource, principal: Asker, greenwood: InstitutionContext
) -> None:
    with institution(greenwood):
        record = resource.queryset.order_by("-pk").first()
    if record is None:
        assert principal.get(f"{path}?page_size=1").json()["results"] == []
        return
    for name in words(resource) if Action.CHANGE in resource.exposed else ():
        old = getattr(record, name)
        answer = principal.patch(f"{path}{record.pk}/", {name: "Another"})
        if answer.status_code != 200:
            continue
        one = entry(answer, record, greenwood)
        assert (one.operation, one.before[name], one.after[name]) == ("change", old, "Another")
        assert principal.get(f"{path}{record.pk}/history/").json()["results"][0]["id"] == str(one.id)
        break
    if Action.DELETE not in resource.exposed:
        return
    answer = principal.delete(f"{path}{record.pk}/")
    assert answer.status_code in (204, 409), answer.content
    if answer.status_code == 204:
        one = entry(answer, record, greenwood)
        assert (one.operation, one.after, one.before["id"]) == ("delete", None, str(record.pk))
        back = principal.post(f"{path}{record.pk}/restore/")
        if isinstance(resource.scopes, Own) and not resource.scopes.supervised:
            assert back.status_code == 403, "of a row that is gone nobody can say whose it was"
            return
        assert back.status_code == 200, back.content
        assert entry(back, record, greenwood).operation == "create"
