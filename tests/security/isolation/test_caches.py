"""What a process, Redis or the database remembers of one institution's request is not found by another's."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.cache import caches
from django.core.cache.backends.base import InvalidCacheKey, default_key_func
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, institution, platform
from tenant_apps.accounts import authentication
from tenant_apps.accounts.models import Session, UserRole
from tenant_apps.accounts.tokens import AccessToken
from tests import cast
from tests.api import Asker, host_of
from tests.security.isolation.canaries import Twins, Watched, sings

STUDENTS = "/api/v1/school/students/"
SUBJECTS = "/api/v1/academics/subjects/"


@pytest.fixture(params=["ours", "stock"])
def way(request: pytest.FixtureRequest, db: None) -> Iterator[str]:
    """Our keys, and Django's (the negative control)."""
    cache = caches["default"]
    if request.param == "stock":
        cache.key_func = default_key_func
    yield request.param
    del caches["default"]


async def visit(place: InstitutionContext, text: str) -> Any:
    """An async view: it waits between its calls, while others' run."""
    with institution(place):
        cache = caches["default"]
        await cache.aset("note", text)
        await asyncio.sleep(0)
        await cache.aset_many({"a": text, "b": text})
        await asyncio.sleep(0)
        found = {await cache.aget("note"), *(await cache.aget_many(["a", "b"])).values()}
        found.add(await sync_to_async(cache.get)("note"))
        return found


def test_async_views_of_two_institutions_do_not_share_a_cache(
    way: str, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    async def both() -> Any:
        return await asyncio.gather(*(visit(place, place.slug) for place in (greenwood, lumiere) * 5))

    found = async_to_sync(both)()
    assert (found == [{"greenwood"}, {"lumiere"}] * 5) is (way == "ours")


def test_a_pool_s_thread_has_the_cache_of_whoever_gave_it_the_work_or_none(
    way: str, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    cache = caches["default"]
    with institution(lumiere):
        cache.set("note", "lumiere's")
    with institution(greenwood), ThreadPoolExecutor(1) as pool:
        if way == "stock":
            assert pool.submit(cache.get, "note").result() == "lumiere's"
            return
        cache.set("note", "greenwood's")
        assert pool.submit(copy_context().run, cache.get, "note").result() == "greenwood's"
        with pytest.raises(InvalidCacheKey):
            pool.submit(cache.get, "note").result()
    with platform():
        assert cache.get("note") is None


CALLS: tuple[Callable[[Any], Any], ...] = (
    lambda cache: cache.get("k"),
    lambda cache: cache.get_many(["k"]).get("k"),
    lambda cache: cache.has_key("k") or None,
    lambda cache: cache.touch("k") or None,
    lambda cache: cache.delete("k") or None,
    lambda cache: cache.get_or_set("k", "default") if cache.get("k") else None,
)


def test_no_call_of_the_cache_reaches_another_institution_s_value(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    cache = caches["default"]
    for call in CALLS:
        with institution(lumiere):
            cache.set("k", "lumiere's")
        with institution(greenwood):
            assert call(cache) is None
        with institution(lumiere):
            assert cache.get("k") == "lumiere's"


def test_rights_that_a_process_remembers_are_those_of_one_institution(
    twins: Twins, principal: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same person and session exist in both, under the same ids; there they hold no role."""
    claims = jwt.decode(principal.token, options={"verify_signature": False})
    person, session = UUID(claims["sub"]), UUID(claims["sid"])
    with institution(twins.there):
        open_until = timezone.now() + timedelta(days=1)
        Session.objects.update_or_create(pk=session, defaults={"user_id": person, "expires_at": open_until})
        UserRole.objects.filter(user_id=person).delete()
        there = Asker(host_of(twins.there), token=AccessToken.issue(user_id=person, session_id=session, version=1))
    assert principal.get(STUDENTS).status_code == 200
    assert there.get(STUDENTS).status_code == 403

    # Negative control: remembered by session alone.
    held = authentication._principals[twins.here.id, session]
    monkeypatch.setattr(authentication, "_remembered", lambda place, claims, epochs: held.principal)
    assert sings(there.get(STUDENTS).content)


def test_sql_that_is_compiled_once_reads_where_it_is_run(twins: Twins, principal: Watched, there: Asker) -> None:
    """Compiled and warm in the one, then asked in the other, and back."""
    for _ in range(3):
        for path in (STUDENTS, f"{STUDENTS}{cast.of(twins.here).id('ada')}/"):
            assert principal.get(path).status_code == 200
            assert sings(there.get(path).content)


def test_a_tag_of_one_institution_s_answer_is_none_of_another_s(twins: Twins, principal: Watched, there: Asker) -> None:
    path = f"{STUDENTS}{cast.of(twins.here).id('ada')}/"
    tag = there.get(path)["ETag"]
    assert there.get(path, HTTP_IF_NONE_MATCH=tag).status_code == 304, "the control"
    assert principal.get(path, HTTP_IF_NONE_MATCH=tag).status_code == 200
    assert principal.patch(path, {}, HTTP_IF_MATCH=tag).status_code == 412
