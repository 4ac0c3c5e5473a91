"""Addresses are never taken for another's, and nobody inherits one that is still warm."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.errors import Conflict, Invalid, Problem
from shared_apps.core.registry import NewInstitution
from shared_apps.tenants import addresses, slugs
from shared_apps.tenants.addresses import change_slug
from shared_apps.tenants.models import Domain, ReleasedHost, Tenant
from shared_apps.tenants.services import create_institution
from tenant_apps.accounts.cookies import ACCESS_COOKIE
from tenant_apps.accounts.models import User
from tests import cast as casting
from tests.api import Asker, as_person


@pytest.fixture
def tenant(db: None, greenwood: InstitutionContext) -> Iterator[Tenant]:
    with platform(), acting(command("test")):
        yield Tenant.objects.prefetch_related("domains").get(pk=greenwood.id)


def refusal_of(work: Any) -> str:
    with pytest.raises(Problem) as refused:
        work()
    return refused.value.code


@pytest.mark.parametrize(
    "slug", ["", "a", "-a", "a-", "a_b", "a.b", "UP PER", "é", "a" * 64, "a\x00b", "xn--bcher-kva", "ab--cd", "grееn"]
)
def test_what_cannot_be_one_label_of_a_host_is_refused(slug: str) -> None:
    assert refusal_of(lambda: slugs.check_slug(slug)) == "invalid_slug"


@pytest.mark.parametrize("slug", ["www", "console", "ADMIN", "adm1n", "l0gin", "ma1l", "postmaster", "wvvw"])
def test_the_platforms_own_words_are_reserved_and_what_looks_like_them(slug: str) -> None:
    assert refusal_of(lambda: slugs.check_slug(slug)) == "reserved_slug"


def test_the_whole_host_is_no_longer_than_a_host_may_be() -> None:
    slug = "a" * 60
    with override_settings(PLATFORM_DOMAIN=".".join(["b" * 63] * 3)):  # 191
        assert len(slugs.host_of(slug)) == 252
        assert slugs.check_slug(slug) == slug
        assert refusal_of(lambda: slugs.check_slug("a" * 62)) == "invalid_slug"
    assert slugs.check_slug("a" * 62), "negative control: as one label it is short enough"


@pytest.mark.parametrize(
    ("twin", "code"), [("LUMIERE", "slug_taken"), ("lum1ere", "slug_alike"), ("lumlere", "slug_alike")]
)
def test_a_slug_that_is_anothers_or_looks_like_it_is_refused(tenant: Tenant, twin: str, code: str) -> None:
    assert refusal_of(lambda: change_slug(tenant=tenant, slug=twin)) == code
    assert change_slug(tenant=tenant, slug="lumieres").host, "negative control: another word"


def test_a_released_slug_is_nobody_elses_until_it_has_cooled_down(tenant: Tenant, lumiere: Any) -> None:
    heir = Tenant.objects.get(pk=lumiere.id)
    assert change_slug(tenant=tenant, slug="greenhill").host == "greenhill.localhost"
    for slug in ("greenwood", "greenw00d"):
        assert refusal_of(partial(change_slug, tenant=heir, slug=slug)) == "host_cools_down"
        assert addresses.fresh(heir).slug == "lumiere", "who was refused keeps what it has"
    ReleasedHost.objects.update(free_at=datetime.now(UTC) - timedelta(seconds=1))
    assert change_slug(tenant=heir, slug="greenwood").host == "greenwood.localhost"


def test_without_the_record_of_it_a_released_slug_would_be_had_at_once(tenant: Tenant, lumiere: Any) -> None:
    """Negative control: the unique index alone knows nothing of what was released."""
    change_slug(tenant=tenant, slug="greenhill")
    ReleasedHost.objects.all().delete()
    heir = Tenant.objects.get(pk=lumiere.id)
    assert change_slug(tenant=heir, slug="greenwood").host == "greenwood.localhost"


def test_an_institution_takes_its_own_old_slug_back(tenant: Tenant) -> None:
    change_slug(tenant=tenant, slug="greenhill")
    assert change_slug(tenant=tenant, slug="greenwood").host == "greenwood.localhost"
    assert [row.host for row in ReleasedHost.objects.all()] == ["greenhill.localhost"]


def test_the_old_host_answers_nobody_and_the_new_one_at_once(
    transactional_db: None, tenant: Tenant, greenwood: InstitutionContext
) -> None:
    principal = as_person(greenwood, casting.of(greenwood).principal)
    assert principal.get("/api/v1/school/campuses/").status_code == 200
    change_slug(tenant=tenant, slug="greenhill")
    assert principal.get("/api/v1/school/campuses/").status_code == 404
    moved = Asker("greenhill.localhost", token=principal.token)
    assert moved.get("/api/v1/school/campuses/").status_code == 200, "the token is the institution's, not the host's"


def test_who_gets_the_slug_next_inherits_no_token_and_no_cookie(
    transactional_db: None, tenant: Tenant, greenwood: InstitutionContext
) -> None:
    person = casting.of(greenwood).principal
    principal = as_person(greenwood, person)
    signed_in = {"email": person.email, "password": person.password}
    pair = Asker("greenwood.localhost").post("/api/v1/auth/token/", signed_in).json()
    principal.get("/api/v1/auth/me/")
    change_slug(tenant=tenant, slug="greenhill")
    ReleasedHost.objects.update(free_at=datetime.now(UTC) - timedelta(seconds=1))
    other = create_institution(new=NewInstitution("B", "greenwood", admin_email=person.email))
    with institution(other.context):  # the same person, under the same id
        User.objects.filter(email=person.email).delete()
        User.objects.create_user(person.email, person.password, id=person.user_id)
    heir = Asker("greenwood.localhost", token=pair["access"])
    assert heir.get("/api/v1/auth/me/").status_code == 401
    cookie = {"HTTP_COOKIE": f"{ACCESS_COOKIE}={pair['access']}"}
    assert Asker("greenwood.localhost").get("/api/v1/auth/me/", **cookie).status_code == 401
    refreshed = Asker("greenwood.localhost").post("/api/v1/auth/refresh/", {"refresh": pair["refresh"]})
    assert refreshed.status_code == 401
    own = Asker("greenwood.localhost").post("/api/v1/auth/token/", signed_in)
    assert own.status_code == 200, "negative control: the person can sign in there"
    at_home = Asker("greenhill.localhost", token=pair["access"])
    assert at_home.get("/api/v1/auth/me/").status_code == 200, "negative control: the token was good"
    assert Asker("greenhill.localhost").get("/api/v1/auth/me/", **cookie).status_code == 200, "and so was the cookie"


def test_of_two_that_want_one_slug_at_once_one_gets_it(transactional_db: None, greenwood: Any, lumiere: Any) -> None:
    def rename(context: InstitutionContext) -> str:
        try:
            with platform(), acting(command("test")):
                tenant = Tenant.objects.get(pk=context.id)
                return change_slug(tenant=tenant, slug="wanted").host
        except Conflict as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(rename, [greenwood, lumiere])) == ["slug_taken", "wanted.localhost"]
    with platform():
        assert Domain.objects.exclude(slug="").count() == 3, "the loser keeps its host"


def test_the_operators_own_host_and_a_dead_institutions_stay(tenant: Tenant, console: InstitutionContext) -> None:
    operators = Tenant.objects.get(pk=console.id)
    assert refusal_of(lambda: change_slug(tenant=operators, slug="elsewhere")) == "operator_tenant"
    with pytest.raises(Invalid):
        change_slug(tenant=tenant, slug="no good")
    Tenant.objects.filter(pk=tenant.pk).update(state="provisioning")
    assert refusal_of(lambda: change_slug(tenant=tenant, slug="greenhill")) == "bad_transition"
