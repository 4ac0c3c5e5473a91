"""Ids of one institution's records, jobs, files, imports and reports, used at another's host: unknown there."""

from typing import Any
from uuid import uuid4

import pytest
from django.db import models

from shared_apps.core.api.served import resources
from shared_apps.core.context import institution
from tenant_apps.audit.models import Entry
from tests.api import Asker
from tests.security.isolation.canaries import CANARY, Leak, Twins, Watched, digest_of
from tests.security.isolation.probing import Address, addresses, keys_for

pytestmark = pytest.mark.django_db
WITH_KEY = [address for address in addresses() if "<id>" in address.path]
LISTS = [address for address in addresses() if "<id>" not in address.path and "GET" in address.methods]


def status(asker: Asker, method: str, address: Address, key: Any) -> int:
    return asker.ask(method, address.at(key), None if method == "GET" else {}).status_code


def test_an_id_of_another_institution_is_what_an_id_of_nothing_is_at_every_address(
    twins: Twins, principal: Watched
) -> None:
    """Nothing tells that it exists elsewhere, nothing is said of it, and nothing happens to it."""
    before, asked = digest_of(twins.there), 0
    for address in WITH_KEY:
        for method in address.methods:
            unknown = status(principal, method, address, uuid4())
            assert unknown in (403, 404), (method, address.path)
            for key in keys_for(address, twins):
                asked += 1
                assert status(principal, method, address, key) == unknown, (method, address.path)
    assert asked > 200
    assert digest_of(twins.there) == before


def test_the_log_of_another_institution_is_not_read_by_the_ids_of_its_entries(twins: Twins, principal: Watched) -> None:
    with institution(twins.there):
        keys = list(Entry.objects.order_by("-id").values_list("pk", flat=True)[:20])
    for key in keys:
        assert principal.get(f"/api/v1/audit/entries/{key}/").status_code == 404


def test_no_list_search_filter_or_export_finds_what_another_institution_holds(twins: Twins, principal: Watched) -> None:
    for address in LISTS:
        answer = principal.get(address.path)
        assert answer.status_code in (200, 202, 403), address.path
    for resource in resources:
        for address in (one for one in LISTS if one.model is resource.queryset.model):
            if address.path.endswith("/export/"):
                continue
            for query in ("page_size=200&count=true", *([f"search={CANARY[:6]}"] if resource.search else [])):
                assert principal.get(f"{address.path}?{query}").status_code in (200, 400, 403, 404), query


def test_a_record_cannot_be_made_to_refer_to_another_institution_s(twins: Twins, principal: Watched) -> None:
    """By an id in a body, alone and in bulk: refused, and the answer does not tell it from an id of nothing."""
    tried = 0
    for address in LISTS:
        if address.model is None or "POST" not in address.methods:
            continue
        for field in address.model._meta.concrete_fields:
            key = twins.only_there.get(field.related_model)
            if key is None or not isinstance(field, models.ForeignKey):
                continue
            answers = [principal.post(address.path, {field.name: str(value)}) for value in (key, uuid4())]
            told, nothing = ([(e["pointer"], e["code"]) for e in answer.json()["errors"]] for answer in answers)
            assert told == nothing, (address.path, field.name)
            assert answers[0].status_code in (400, 403, 409)
            tried += 1
    assert tried > 20


def test_bulk_requests_do_not_reach_them_either(twins: Twins, principal: Watched) -> None:
    before, tried = digest_of(twins.there), 0
    for address in (one for one in addresses() if one.path.endswith("/bulk/") and one.model in twins.only_there):
        told = []
        for key in (twins.only_there[address.model], uuid4()):
            for asked in ({"update": [{"id": str(key)}]}, {"delete": [str(key)]}):
                answer = principal.post(address.path, {**asked, "atomic": False})
                told.append((answer.status_code, [row["status"] for row in answer.json().get("results", [])]))
        assert told[:2] == told[2:], address.path
        assert {status for _, rows in told for status in rows} <= {403, 404, 405}
        tried += any(rows for _, rows in told)
    assert tried > 10
    assert digest_of(twins.there) == before


@pytest.mark.usefixtures("engine_stays_there")
def test_an_engine_that_stays_elsewhere_fails_the_probes(twins: Twins, principal: Watched) -> None:
    """Negative control of all of the above."""
    for probe in (
        test_an_id_of_another_institution_is_what_an_id_of_nothing_is_at_every_address,
        test_no_list_search_filter_or_export_finds_what_another_institution_holds,
    ):
        with pytest.raises((Leak, AssertionError)):
            probe(twins, principal)
