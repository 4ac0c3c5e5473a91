"""One Redis serves every institution; a cached value is found by the institution that put it there and by no other."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import InvalidCacheKey, default_key_func

from shared_apps.core.context import InstitutionContext, institution, platform


@pytest.fixture(params=["ours", "stock"])
def cache(request: pytest.FixtureRequest, settings: Any, db: None) -> Iterator[Any]:
    """The cache as we configure it, and as Django would key it (the negative control)."""
    found = caches["default"]
    if request.param == "stock":
        found.key_func = default_key_func
    yield found, request.param
    del caches["default"]


def test_a_value_of_one_institution_is_not_found_in_another(
    cache: tuple[Any, str], greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    store, way = cache
    with institution(greenwood):
        store.set("timetable", "greenwood's")
    leaks = way == "stock"
    with institution(lumiere):
        assert (store.get("timetable") == "greenwood's") is leaks
    with platform():
        assert (store.get("timetable") == "greenwood's") is leaks
    with institution(greenwood):
        assert store.get("timetable") == "greenwood's"


def test_outside_of_any_context_there_is_no_cache(db: None) -> None:
    with pytest.raises(InvalidCacheKey):
        caches["default"].get("timetable")
