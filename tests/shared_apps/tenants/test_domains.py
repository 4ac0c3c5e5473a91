"""A domain of an institution's own leads there once DNS has proven it, and not a moment earlier."""

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from django.core.management import CommandError, call_command

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, platform
from shared_apps.core.errors import Problem, Unavailable
from shared_apps.tenants import domains, hosts
from shared_apps.tenants.addresses import COOL_DOWN, fresh
from shared_apps.tenants.domains import challenge, claim_domain, make_primary, release_domain, verify_domain
from shared_apps.tenants.models import Domain, DomainClaim, ReleasedHost, Tenant
from shared_apps.tenants.resolver import SystemResolver
from tests.api import Asker

NAME = "school.example.org"


class Zone:
    """A DNS that knows what a test tells it."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}

    def txt(self, name: str) -> list[str]:
        return self.records.get(name, [])

    def prove(self, claim: DomainClaim) -> None:
        name, text = challenge(claim)
        self.records[name] = ["v=spf1 -all", text]


@pytest.fixture
def zone() -> Zone:
    return Zone()


@pytest.fixture
def tenant(db: None, greenwood: InstitutionContext) -> Iterator[Tenant]:
    with platform(), acting(command("test")):
        yield Tenant.objects.get(pk=greenwood.id)


@pytest.fixture
def other(tenant: Tenant, lumiere: InstitutionContext) -> Tenant:
    return Tenant.objects.get(pk=lumiere.id)


def code_of(work: Callable[[], Any]) -> str:
    with pytest.raises(Problem) as refused:
        work()
    return refused.value.code


def leads_to(host: str) -> Any:
    hosts.forget()
    found = hosts.find(host)
    return found.id if found else None


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("School.Example.ORG.", "school.example.org"),
        (" school.example.org ", "school.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),  # IDNA 2003 would make it strasse.example, another owner's
        ("學校。example", "xn--n9so80a.example"),
    ],
)
def test_a_domain_is_kept_as_the_dns_writes_it(given: str, name: str) -> None:
    assert domains.domain_name(given) == name


@pytest.mark.parametrize(
    "given",
    ["", ".", "school", "127.0.0.1", "[::1]", "a..b", "-a.example", "a_b.example", "a b.example", "a\x00.example",
     "http://a.example", "a.example:80", "*.example.org", "a" * 64 + ".example", ".".join(["a" * 60] * 4),
     "xn--a.example"],
)  # fmt: skip
def test_what_is_no_domain_is_refused(given: str) -> None:
    assert code_of(lambda: domains.domain_name(given)) == "invalid_domain"


@pytest.mark.parametrize("given", ["localhost.", "a.b.localhost", "console.localhost", "GREENWOOD.localhost"])
def test_the_platforms_own_domain_and_what_is_below_it_is_refused(settings: Any, given: str) -> None:
    settings.PLATFORM_DOMAIN = "lyceum.example"
    given = given.replace("localhost", "lyceum.example")
    assert code_of(lambda: domains.domain_name(given)) == "platform_domain"
    assert domains.domain_name("notlyceum.example"), "negative control: a name that merely ends alike"


def test_an_unproven_domain_leads_nowhere_and_a_proven_one_does(tenant: Tenant, zone: Zone) -> None:
    claim = claim_domain(tenant=tenant, domain="School.Example.org")
    assert leads_to(NAME) is None
    assert Asker(NAME).get("/").status_code == 404
    assert code_of(lambda: verify_domain(tenant=tenant, domain=NAME, asking=zone)) == "domain_unproven"
    assert leads_to(NAME) is None
    zone.prove(claim)
    verify_domain(tenant=tenant, domain=NAME, asking=zone)
    assert leads_to(NAME) == tenant.pk
    assert Asker(NAME).get("/").status_code == 200
    assert verify_domain(tenant=tenant, domain=NAME, asking=Zone()).domain == NAME, "once proven it stays"
    assert fresh(tenant).context.slug == "greenwood", "the slug is that of its host on the platform"


def test_the_proof_of_one_is_no_proof_for_another(tenant: Tenant, other: Tenant, zone: Zone) -> None:
    mine, theirs = claim_domain(tenant=tenant, domain=NAME), claim_domain(tenant=other, domain=NAME)
    assert mine.token != theirs.token
    zone.prove(theirs)
    assert code_of(lambda: verify_domain(tenant=tenant, domain=NAME, asking=zone)) == "domain_unproven"
    verify_domain(tenant=other, domain=NAME, asking=zone)
    assert leads_to(NAME) == other.pk, "a claim keeps nobody else from proving it"
    zone.prove(mine)
    assert code_of(lambda: verify_domain(tenant=tenant, domain=NAME, asking=zone)) == "domain_taken"
    assert leads_to(NAME) == other.pk


@pytest.mark.parametrize("text", ["", "lyceum-verification=", "{}x", "x{}", "LYCEUM-{}"])
def test_what_is_nearly_the_proof_is_none(tenant: Tenant, zone: Zone, text: str) -> None:
    name, expected = challenge(claim_domain(tenant=tenant, domain=NAME))
    zone.records[name] = [text.format(expected)]
    zone.records[NAME] = [expected]  # at the wrong name
    assert code_of(lambda: verify_domain(tenant=tenant, domain=NAME, asking=zone)) == "domain_unproven"


def test_a_released_domain_answers_no_more_and_cools_down(tenant: Tenant, other: Tenant, zone: Zone) -> None:
    zone.prove(claim_domain(tenant=tenant, domain=NAME))
    verify_domain(tenant=tenant, domain=NAME, asking=zone)
    make_primary(tenant=tenant, domain=NAME)
    assert fresh(tenant).host == NAME
    release_domain(tenant=tenant, domain=NAME)
    assert leads_to(NAME) is None
    assert fresh(tenant).host == "greenwood.localhost"
    zone.prove(claim_domain(tenant=other, domain=NAME))
    assert code_of(lambda: verify_domain(tenant=other, domain=NAME, asking=zone)) == "host_cools_down"
    assert leads_to(NAME) is None
    assert DomainClaim.objects.filter(tenant=other).exists(), "the claim stays for later"
    ReleasedHost.objects.update(free_at=datetime.now(UTC) - timedelta(seconds=1))
    verify_domain(tenant=other, domain=NAME, asking=zone)
    assert leads_to(NAME) == other.pk
    assert timedelta(days=30) <= COOL_DOWN


def test_one_primary_host_and_the_platforms_host_stays(tenant: Tenant, zone: Zone) -> None:
    zone.prove(claim_domain(tenant=tenant, domain=NAME))
    verify_domain(tenant=tenant, domain=NAME, asking=zone)
    for domain in (NAME, "greenwood.localhost", NAME):
        make_primary(tenant=tenant, domain=domain)
        assert [row.domain for row in Domain.objects.filter(tenant=tenant, is_primary=True)] == [domain]
    assert code_of(lambda: release_domain(tenant=tenant, domain="greenwood.localhost")) == "platform_host"
    assert code_of(lambda: make_primary(tenant=tenant, domain="lumiere.localhost")) == "no_domain"
    assert code_of(lambda: release_domain(tenant=tenant, domain="lumiere.localhost")) == "no_domain"
    assert leads_to("greenwood.localhost") == tenant.pk


def test_the_operators_tenant_has_no_other_domain(tenant: Tenant, console: InstitutionContext, zone: Zone) -> None:
    operators = Tenant.objects.get(pk=console.id)
    assert code_of(lambda: claim_domain(tenant=operators, domain=NAME)) == "operator_tenant"
    Domain.objects.create(tenant=operators, domain="operators.example.org", is_primary=False)
    assert code_of(lambda: claim_domain(tenant=tenant, domain="operators.example.org")) == "domain_taken"


def test_claims_are_bounded_and_withdrawn(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "MOST", 2)
    first = claim_domain(tenant=tenant, domain="a.example.org")
    assert claim_domain(tenant=tenant, domain="A.example.org").pk == first.pk
    claim_domain(tenant=tenant, domain="b.example.org")
    assert code_of(lambda: claim_domain(tenant=tenant, domain="c.example.org")) == "too_many_domains"
    release_domain(tenant=tenant, domain="b.example.org")
    assert not ReleasedHost.objects.exists(), "what was never answered needs no cool-down"
    claim_domain(tenant=tenant, domain="c.example.org")


def test_the_command_shows_the_record_and_claims_verifies_and_releases(
    tenant: Tenant, zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domains, "resolver", zone)

    def run(verb: str, *more: str) -> str:
        out = StringIO()
        call_command("tenant", verb, "greenwood", *more, stdout=out)
        return out.getvalue()

    told = run("claim-domain", "--domain", NAME)
    claim = DomainClaim.objects.get()
    assert f'_lyceum-challenge.{NAME} TXT "lyceum-verification={claim.token}"' in told
    with pytest.raises(CommandError, match="no record"):
        run("verify-domain", "--domain", NAME)
    zone.prove(claim)
    run("verify-domain", "--domain", NAME.upper())
    run("make-primary", "--domain", NAME)
    assert f"{NAME}  primary" in run("domains")
    run("release-domain", "--domain", NAME)
    assert NAME not in run("domains")


class NameServer(threading.Thread):
    """A name server on a port of its own, that answers as it is told."""

    def __init__(self, code: int, *texts: str) -> None:
        super().__init__(daemon=True)
        self._code, self._texts = code, texts
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    def run(self) -> None:
        raw, address = self._socket.recvfrom(4096)
        answer = dns.message.make_response(dns.message.from_wire(raw))
        answer.set_rcode(self._code)
        answer.flags |= dns.flags.RA
        if self._texts:
            answer.answer.append(dns.rrset.from_text(answer.question[0].name, 60, "IN", "TXT", *self._texts))
        self._socket.sendto(answer.to_wire(), address)


@pytest.mark.parametrize(
    ("code", "texts", "found"),
    [
        (dns.rcode.NOERROR, ['"one"', '"in " "two pieces"'], ["one", "in two pieces"]),
        (dns.rcode.NOERROR, [], []),
        (dns.rcode.NXDOMAIN, [], []),
    ],
)
def test_the_resolver_reads_what_a_name_server_says(code: int, texts: list[str], found: list[str]) -> None:
    server = NameServer(code, *texts)
    server.start()
    assert sorted(SystemResolver(["127.0.0.1"], server.port).txt("a.example.org")) == sorted(found)


def test_a_dns_that_does_not_answer_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared_apps.tenants.resolver.ANSWER_SECONDS", 0.2)
    silent = NameServer(dns.rcode.NOERROR)
    with pytest.raises(Unavailable):
        SystemResolver(["127.0.0.1"], silent.port).txt("a.example.org")
