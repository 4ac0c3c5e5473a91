"""What an institution may use: by its plan, by an operator, by the standard; told to every process, shown to whom."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import TestCase

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, platform
from shared_apps.core.errors import Conflict, Invalid
from shared_apps.core.limits import UNLIMITED, standard
from shared_apps.tenants import hosts, plans
from shared_apps.tenants.entitlements import allow, save_plan
from shared_apps.tenants.models import Tenant
from shared_apps.tenants.plans import Plan
from shared_apps.tenants.services import change_institution
from tests import cast as casting
from tests.api import Asker, as_person, host_of

OWN = "/api/v1/school/entitlements/"


@pytest.fixture
def tenant(db: None, greenwood: InstitutionContext) -> Tenant:
    with platform():
        return Tenant.objects.prefetch_related("domains").get(pk=greenwood.id)


@pytest.fixture
def anna(db: None, console: InstitutionContext) -> Asker:
    return as_person(console, casting.of(console).operator)


def told(work: Any) -> Any:
    with TestCase.captureOnCommitCallbacks(execute=True), acting(command("test")):
        return work()


def address(context: InstitutionContext) -> str:
    return f"/api/v1/platform/institutions/{context.id}/entitlements/"


def by_name(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    return {limit["name"]: (limit["allowed"], limit["source"]) for limit in answer.json()["limits"]}


# Who says what


def test_an_institution_of_which_nobody_says_anything_has_the_standard_limits(tenant: Tenant) -> None:
    assert tenant.context.limits == standard()
    assert None not in (standard().students, standard().storage_bytes, standard().requests_per_minute)


def test_a_plan_without_a_limit_is_unlimited_only_if_it_says_so(tenant: Tenant) -> None:
    told(lambda: save_plan(code="silent", wanted={}))
    told(lambda: save_plan(code="generous", wanted={"students": None}))
    tenant.plan = "silent"
    assert tenant.context.limits.students == standard().students
    tenant.plan = "made-up"
    assert tenant.context.limits.students == standard().students
    tenant.plan = "generous"
    assert tenant.context.limits.students is None
    assert tenant.context.limits.storage_bytes == standard().storage_bytes


def test_the_institutions_own_comes_before_its_plans(tenant: Tenant) -> None:
    told(lambda: save_plan(code="small", wanted={"students": 100, "concurrent_jobs": 1}))
    told(lambda: change_institution(tenant=tenant, plan="small"))
    changed = told(lambda: allow(tenant=tenant, wanted={"students": 150}))
    assert (changed.context.limits.students, changed.context.limits.concurrent_jobs) == (150, 1)
    back = told(lambda: allow(tenant=tenant, wanted={}))
    assert back.context.limits.students == 100


def test_the_operators_own_tenant_has_no_limits(db: None, console: InstitutionContext) -> None:
    with platform():
        operators = Tenant.objects.get(pk=console.id)
        assert operators.context.limits == UNLIMITED
        with pytest.raises(Conflict):
            told(lambda: allow(tenant=operators, wanted={"students": 1}))


@pytest.mark.parametrize(
    "wanted", [{"pupils": 5}, {"students": 0}, {"students": True}, {"students": 1.5}, {"statement_seconds": 3601}]
)
def test_what_is_no_limit_is_refused(tenant: Tenant, wanted: Any) -> None:
    with pytest.raises(Invalid):
        allow(tenant=tenant, wanted=wanted)


# Remembered, and forgotten when it changes


def test_a_host_is_known_with_its_limits_and_anew_after_each_change(
    tenant: Tenant, greenwood: InstitutionContext, deaf: None
) -> None:
    host = host_of(greenwood)

    def known() -> int | None:
        found = hosts.find(host)
        assert found is not None
        assert found.limits is not None
        return found.limits.students

    told(lambda: save_plan(code="small", wanted={"students": 100}))
    told(lambda: change_institution(tenant=tenant, plan="small"))
    assert known() == 100
    told(lambda: save_plan(code="small", wanted={"students": 120}))
    assert known() == 120
    told(lambda: allow(tenant=tenant, wanted={"students": 7}))
    assert known() == 7
    with platform():  # negative control: what nobody is told of stays remembered
        Tenant.objects.filter(pk=tenant.pk).update(entitlements={"students": 8})
    assert known() == 7


def test_tasks_see_the_limits_of_now(tenant: Tenant) -> None:
    told(lambda: allow(tenant=tenant, wanted={"concurrent_jobs": 5}))
    found = hosts.by_id(str(tenant.pk))
    assert found is not None
    assert found.limits is not None
    assert found.limits.concurrent_jobs == 5


def test_a_thousand_institutions_cost_one_reading_of_the_plans(
    tenant: Tenant, deaf: None, django_assert_num_queries: Any
) -> None:
    plans._forget()
    with platform(), django_assert_num_queries(1):
        for _ in range(50):
            assert tenant.context.limits


# Over the API


def test_a_principal_reads_what_the_institution_may_use_and_uses(db: None, greenwood: InstitutionContext) -> None:
    people = casting.of(greenwood)
    answer = as_person(greenwood, people.principal).get(OWN)
    assert by_name(answer)["students"] == (100_000, "standard")
    used = {limit["name"]: limit["used"] for limit in answer.json()["limits"]}
    assert (used["students"], used["storage_bytes"], used["concurrent_jobs"], used["statement_seconds"]) == (
        6,
        0,
        0,
        None,
    )
    assert used["requests_per_minute"] >= 1
    for other in (people.teacher, people.guardian, people.student):
        assert as_person(greenwood, other).get(OWN).status_code == 403


def test_nobody_in_an_institution_changes_its_limits(db: None, greenwood: InstitutionContext) -> None:
    principal = as_person(greenwood, casting.of(greenwood).principal)
    assert principal.put(OWN, {"students": None}).status_code == 405
    assert principal.put(address(greenwood), {"students": None}).status_code == 404


def test_an_operator_reads_and_changes_them(anna: Asker, greenwood: InstitutionContext) -> None:
    with TestCase.captureOnCommitCallbacks(execute=True):
        answer = anna.put(address(greenwood), {"students": 800, "storage_bytes": None})
    assert by_name(answer)["students"] == (800, "institution")
    assert by_name(answer)["storage_bytes"] == (None, "institution")
    assert by_name(anna.get(address(greenwood))) == by_name(answer)
    done = anna.get(f"/api/v1/platform/institutions/{greenwood.id}/history/").json()["results"][0]
    assert (done["verb"], done["reason"]) == ("limits", "students 800, storage_bytes unlimited")
    with TestCase.captureOnCommitCallbacks(execute=True):
        assert by_name(anna.put(address(greenwood), {}))["students"] == (100_000, "standard")


@pytest.mark.parametrize("body", [{"pupils": 5}, {"students": 0}, {"students": "many"}, {"statement_seconds": 10**6}])
def test_what_is_no_limit_is_a_bad_request(anna: Asker, greenwood: InstitutionContext, body: Any) -> None:
    answer = anna.put(address(greenwood), body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == f"/{next(iter(body))}"


def test_an_operator_adds_and_changes_plans(anna: Asker) -> None:
    plan = "/api/v1/platform/plans/small/"
    assert anna.put(plan, {"students": 300}).json() == {"code": "small", "limits": {"students": 300}}
    assert anna.put(plan, {"students": None}).json() == {"code": "small", "limits": {"students": None}}
    assert anna.get("/api/v1/platform/plans/").json() == {"results": [{"code": "small", "limits": {"students": None}}]}
    assert anna.put("/api/v1/platform/plans/UP%20per/", {}).json()["code"] == "bad_plan"


# At the command line


def lines(*arguments: str) -> list[str]:
    out = StringIO()
    with platform():
        told(lambda: call_command("tenant", *arguments, stdout=out))
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_the_command_shows_and_changes_limits(db: None, greenwood: InstitutionContext) -> None:
    assert lines("limits", "greenwood")[0] == "students 100000 standard 6 used"
    changed = lines("limits", "greenwood", "--set", "students=500", "storage_bytes=unlimited")
    assert changed[:2] == ["students 500 institution 6 used", "storage_bytes unlimited institution 0 used"]
    assert lines("limits", "greenwood", "--unset", "students")[0] == "students 100000 standard 6 used"
    assert lines("limits", "greenwood")[1] == "storage_bytes unlimited institution 0 used"
    for wrong in ("students=many", "students", "pupils=5"):
        with pytest.raises(CommandError):
            lines("limits", "greenwood", "--set", wrong)


def test_the_command_adds_and_changes_plans(db: None) -> None:
    with pytest.raises(CommandError, match="--set makes it"):
        lines("plan", "small")
    assert lines("plan", "small", "--set", "students=300", "concurrent_jobs=1") == ["students 300, concurrent_jobs 1"]
    assert lines("plan", "small", "--unset", "students") == ["concurrent_jobs 1"]
    with platform():
        assert Plan.objects.get(code="small").limits == {"concurrent_jobs": 1}
