"""One host, one institution: however the name is written, and whatever else the request says of hosts."""

from typing import Any

import pytest
from django.apps import apps
from django.db import connection, router
from django.http import HttpResponse

from shared_apps.core.context import InstitutionContext, NoTenant, WrongContext, institution, platform
from shared_apps.core.routing import EVERYWHERE, tenant_app_labels
from shared_apps.tenants import hosts
from shared_apps.tenants.models import Tenant
from tests import cast
from tests.api import Asker, host_of
from tests.security.isolation.canaries import Twins, Watched
from tests.security.isolation.probing import addresses

STUDENTS = "/api/v1/school/students/"
ME = "/api/v1/auth/me/"
SPELLINGS = ("{}", "{upper}", "{}.", "{}:80", "{}:8000", "{upper}.:443")
SPOOFS = (
    "{}.evil.test", "evil.test", "x{}", "{}@evil.test", "evil.test#{}", "{}/../", "{} ", " {}", "{},evil.test",
    "{}\tx", "{}:port", "{}:99999999", "{}..", ".{}", "-{}", "{}%00", "[{}]", "127.0.0.1.{}", "{slug}",
    "{slug}.example.com", "xn--{}", "", "*", "t_", "public",
)  # fmt: skip
CLAIMS = (
    "HTTP_X_FORWARDED_HOST", "HTTP_FORWARDED", "HTTP_X_HOST", "HTTP_X_ORIGINAL_HOST", "HTTP_X_FORWARDED_SERVER",
    "HTTP_X_HTTP_HOST_OVERRIDE", "HTTP_X_ORIGINAL_URL", "HTTP_X_REWRITE_URL", "SERVER_NAME", "HTTP_ORIGIN",
    "HTTP_REFERER", "HTTP_X_TENANT", "HTTP_X_DTS_SCHEMA",
)  # fmt: skip


def spelt(pattern: str, place: InstitutionContext) -> str:
    host = host_of(place)
    return pattern.format(host, upper=host.upper(), slug=place.slug)


@pytest.mark.parametrize("pattern", SPELLINGS)
def test_each_spelling_of_a_host_leads_to_its_institution_alone(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext, pattern: str
) -> None:
    person = cast.of(greenwood).principal
    token = Asker(host_of(greenwood), person).token
    own = Asker(spelt(pattern, greenwood), token=token).get(ME)
    assert (own.status_code, own.json()["email"]) == (200, person.email)
    assert Asker(spelt(pattern, lumiere), token=token).get(ME).status_code == 401


@pytest.mark.parametrize("pattern", SPOOFS)
def test_what_only_looks_like_a_host_leads_nowhere(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext, pattern: str
) -> None:
    token = Asker(host_of(greenwood), cast.of(greenwood).principal).token
    for place in (greenwood, lumiere):
        answer = Asker(spelt(pattern, place), token=token).get(STUDENTS)
        assert answer.status_code in (400, 404), answer.content
        assert answer.json()["code"] in ("bad_host", "unknown_host", "not_found")
        assert b"Greenwood" not in answer.content


def test_a_lookup_by_the_first_label_would_serve_them(
    db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the usual shortcut, `host.split(".")[0]`."""
    token = Asker(host_of(greenwood), cast.of(greenwood).principal).token
    find = hosts.find
    monkeypatch.setattr(hosts, "find", lambda host: find(f"{host.partition('.')[0]}.localhost"))
    assert Asker(spelt("{}.evil.test", greenwood), token=token).get(STUDENTS).status_code == 200


class Believing(Watched):
    """Negative control: a proxy's header is taken for the host, as with USE_X_FORWARDED_HOST."""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        headers["HTTP_HOST"] = headers.get("HTTP_X_FORWARDED_HOST", self.host)
        return super().ask(method, path, body, **headers)


def test_nothing_but_the_host_header_says_which_institution_it_is(twins: Twins, principal: Watched) -> None:
    theirs = host_of(twins.there)
    landing = principal.get("/")
    for claim in CLAIMS:
        for value in (theirs, f"http://{theirs}/", f"host={theirs}", twins.there.schema_name, str(twins.there.id)):
            page = principal.get("/", **{claim: value})
            assert page.content == landing.content, claim
            listed = principal.get(STUDENTS, **{claim: value})
            assert listed.status_code == 200
            assert str(cast.of(twins.here).id("ada")).encode() in listed.content
    believing = Believing(principal.host, token=principal.token)
    assert believing.get("/", HTTP_X_FORWARDED_HOST=theirs).content != landing.content
    assert believing.get(ME, HTTP_X_FORWARDED_HOST=theirs).status_code == 401, "and even then the token holds"


# Kinds of host


def test_the_bare_domain_serves_no_address_of_an_institution_or_of_the_operators(twins: Twins) -> None:
    token = Asker(host_of(twins.here), cast.of(twins.here).principal).token
    for host in ("localhost", "www.localhost", "127.0.0.1", "[::1]"):
        for address in {one.path: one for kind in ("institution", "operator") for one in addresses(kind)}.values():
            answer = Watched(host, token=token).get(address.at(twins.here.id))
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), address.path


def test_an_institution_s_host_serves_no_address_of_the_operators(
    twins: Twins, principal: Watched, console: InstitutionContext
) -> None:
    """Nor the operators' host those of institutions; an operator's token opens neither."""
    institutions, operators = ({one.path for one in addresses(kind)} for kind in ("institution", "operator"))
    assert any("/platform/" in path for path in operators - institutions)
    operator = Asker(host_of(console), cast.of(console).operator)
    for path in operators - institutions:
        for asker in (principal, Watched(principal.host, token=operator.token)):
            assert asker.get(path.replace("<id>", str(twins.there.id))).status_code == 404, path
    for path in institutions - operators:
        assert operator.get(path.replace("<id>", str(twins.there.id))).status_code == 404, path
    assert operator.get("/api/v1/platform/institutions/").status_code == 200, "the control: its own it does serve"
    assert Asker(host_of(console), token=principal.token).get("/api/v1/platform/institutions/").status_code == 401
    assert Asker(principal.host, token=operator.token).get(STUDENTS).status_code == 401


def test_each_kind_of_host_describes_itself_alone(db: None, principal: Watched, console: InstitutionContext) -> None:
    ours = principal.get("/api/schema/").json()["paths"]
    operators = Asker(host_of(console)).get("/api/schema/").json()["paths"]
    assert not [path for path in ours if "/platform/" in path]
    assert not [path for path in operators if "/school/" in path]


# Kinds of table

PLATFORMS = [
    model
    for model in apps.get_models(include_auto_created=True)
    if model._meta.app_label not in tenant_app_labels() | EVERYWHERE and model._meta.managed
]
INSTITUTIONS = [
    model for model in apps.get_models(include_auto_created=True) if model._meta.app_label in tenant_app_labels()
]


def test_every_table_is_asked_where_it_stands_or_not_at_all(db: None, greenwood: InstitutionContext) -> None:
    assert Tenant in PLATFORMS
    assert len(INSTITUTIONS) > 40
    for model in PLATFORMS:
        model_is_refused(model, institution(greenwood), WrongContext)
    for model in INSTITUTIONS:
        model_is_refused(model, platform(), WrongContext)
    for model in (*PLATFORMS, *INSTITUTIONS):
        with pytest.raises(NoTenant):
            model._base_manager.exists()


def model_is_refused(model: Any, place: Any, error: type[Exception]) -> None:
    rows, column = model._base_manager.all(), model._meta.concrete_fields[-1].attname
    with place:
        for ask in (
            rows.exists,
            lambda: list(rows[:1]),
            lambda: rows.update(**{column: None}),
            rows.delete,
            lambda: list(model._base_manager.raw(f"SELECT * FROM {model._meta.db_table}")),
        ):
            with pytest.raises(error):
                ask()


def test_without_the_router_an_institution_would_list_all_institutions(
    db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr(router, "routers", [])
    with institution(greenwood):
        assert Tenant.objects.count() >= 3
    with platform(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('school_student')")
        assert cursor.fetchone() == (None,)
