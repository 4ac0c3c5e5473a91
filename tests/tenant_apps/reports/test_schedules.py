"""Definitions, schedules and subscriptions over the API, and how institutions come by their first ones."""

from datetime import UTC, datetime
from typing import Any

import pytest

from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.tenants.migrating import migrate_institutions
from shared_apps.tenants.models import Tenant
from tenant_apps.accounts.models import Role, User
from tenant_apps.reports import definitions, services
from tenant_apps.reports.models import ReportDefinition, ReportRun, ReportSchedule, ReportSubscription
from tests import cast as casting
from tests.api import Asker, as_person

SCHEDULES, SUBSCRIPTIONS, RUNS = (f"/api/v1/reports/{name}/" for name in ("schedules", "subscriptions", "runs"))
LATER = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def principal(cast: casting.Cast) -> Asker:
    return as_person(cast.institution, cast.principal)


@pytest.fixture
def report(cast: casting.Cast) -> ReportDefinition:
    return ReportDefinition.objects.get(code="enrolment")


def schedule(report: ReportDefinition, **more: Any) -> dict[str, Any]:
    return {"definition": str(report.pk), **more}


def test_the_reports_of_the_release_are_read_and_not_written(principal: Asker, report: ReportDefinition) -> None:
    (row,) = principal.get("/api/v1/reports/definitions/").json()["results"]
    declared = definitions.REPORTS["enrolment"]
    assert (row["code"], row["name"], row["formats"]) == ("enrolment", declared.name, ["csv", "pdf"])
    assert row["permissions"] == ["academics.view_enrolment", "school.view_student"]
    assert principal.post("/api/v1/reports/definitions/", {"code": "mine"}).status_code == 405


def test_a_schedule_says_when_and_as_what_and_is_every_night_unless_told(
    principal: Asker, report: ReportDefinition
) -> None:
    made = principal.post(SCHEDULES, schedule(report))
    assert made.status_code == 201, made.content
    values = made.json()
    assert (values["weekdays"], values["at"], values["formats"], values["active"]) == (
        [1, 2, 3, 4, 5, 6, 7], "02:00:00", ["csv", "pdf"], True,
    )  # fmt: skip
    changed = principal.patch(f"{SCHEDULES}{values['id']}/", {"weekdays": [5], "at": "18:30", "formats": ["pdf"]})
    assert changed.status_code == 200, changed.content
    assert (changed.json()["weekdays"], changed.json()["at"], changed.json()["formats"]) == ([5], "18:30:00", ["pdf"])


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"weekdays": []}, "/weekdays"),
        ({"weekdays": [0]}, "/weekdays/0"),
        ({"weekdays": [1, 8]}, "/weekdays/1"),
        ({"weekdays": ["monday"]}, "/weekdays/0"),
        ({"weekdays": [1, 1]}, "/weekdays"),
        ({"weekdays": "1,2"}, "/weekdays"),
        ({"at": "25:00"}, "/at"),
        ({"formats": []}, "/formats"),
        ({"formats": ["xlsx"]}, "/formats/0"),
        ({"formats": ["csv", "csv"]}, "/formats"),
        ({"definition": "01890000-0000-7000-8000-000000000000"}, "/definition"),
        ({"active": "maybe"}, "/active"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_at_its_place(
    principal: Asker, report: ReportDefinition, wrong: dict[str, Any], pointer: str
) -> None:
    own = ReportSchedule.objects.get()
    for answer in (
        principal.post(SCHEDULES, schedule(report) | wrong),
        principal.patch(f"{SCHEDULES}{own.pk}/", wrong),
    ):
        assert answer.status_code == 400, answer.content
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_a_report_is_not_asked_for_in_a_format_that_it_has_not(principal: Asker, report: ReportDefinition) -> None:
    ReportDefinition.objects.update(formats=["csv"])
    for path in (SCHEDULES, RUNS):
        answer = principal.post(path, schedule(report, formats=["csv", "pdf"]))
        assert answer.status_code == 400, answer.content
        assert (answer.json()["errors"][0]["pointer"], answer.json()["errors"][0]["code"]) == (
            "/formats", "no_such_format",
        )  # fmt: skip


def test_a_schedule_that_has_run_is_kept_for_its_runs_and_can_be_stopped(
    principal: Asker, of_long_ago: ReportSchedule
) -> None:
    assert services.start_due(now=LATER) == 1
    refused = principal.delete(f"{SCHEDULES}{of_long_ago.pk}/")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    assert principal.patch(f"{SCHEDULES}{of_long_ago.pk}/", {"active": False}).status_code == 200
    assert ReportRun.objects.count() == 1


def test_a_scheduled_run_has_the_formats_of_its_schedule_and_keeps_them(
    principal: Asker, of_long_ago: ReportSchedule
) -> None:
    principal.patch(f"{SCHEDULES}{of_long_ago.pk}/", {"formats": ["csv"]})
    services.start_due(now=LATER)
    principal.patch(f"{SCHEDULES}{of_long_ago.pk}/", {"formats": ["pdf"]})
    (row,) = principal.get(f"{RUNS}?schedule={of_long_ago.pk}").json()["results"]
    assert (row["formats"], row["requested_by"]) == (["csv"], None)


def test_a_subscription_names_a_role_or_a_person_once(cast: casting.Cast, principal: Asker) -> None:
    own, role = ReportSchedule.objects.get(), Role.objects.get(code="principal")
    person, row = str(cast.teacher.user_id), {"schedule": str(own.pk)}
    answers = [
        principal.post(SUBSCRIPTIONS, row),
        principal.post(SUBSCRIPTIONS, {**row, "role": str(role.pk), "user": person}),
        principal.post(SUBSCRIPTIONS, {**row, "user": person}),
        principal.post(SUBSCRIPTIONS, {**row, "user": person}),
        principal.post(SUBSCRIPTIONS, {**row, "role": str(role.pk)}),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 201, 409, 409], [a.content for a in answers]
    assert principal.delete(f"{SUBSCRIPTIONS}{answers[2].json()['id']}/").status_code == 204


def test_subscribers_are_told_who_may_see_it_all_and_nobody_twice(
    cast: casting.Cast, of_long_ago: ReportSchedule
) -> None:
    for person in (cast.principal, cast.teacher):
        ReportSubscription.objects.create(schedule=of_long_ago, user_id=person.user_id)
    services.start_due(now=LATER)
    run = ReportRun.objects.get()
    assert services.recipients(run) == [cast.principal.user_id], "by role and by name; the teacher sees a section"
    User.objects.filter(pk=cast.principal.user_id).update(is_active=False)
    assert services.recipients(run) == []


def test_a_role_that_is_over_is_told_no_more(cast: casting.Cast, of_long_ago: ReportSchedule) -> None:
    services.start_due(now=LATER)
    User.objects.get(pk=cast.principal.user_id).roles.update(valid_until=LATER)
    assert services.recipients(ReportRun.objects.get()) == []


def test_every_new_institution_has_the_definitions_and_a_night(inside: InstitutionContext) -> None:
    own = ReportSchedule.objects.get()
    assert (own.definition.code, own.formats, own.active) == ("enrolment", ["csv", "pdf"], True)
    assert [one.role.code for one in own.subscriptions.select_related("role")] == ["principal"]


def test_the_operators_have_no_reports(db: None, console: InstitutionContext) -> None:
    with institution(console):
        assert not ReportDefinition.objects.exists()


def test_a_definition_follows_the_release(cast: casting.Cast) -> None:
    ReportDefinition.objects.update(name="Old", formats=["csv"])
    definitions.sync()
    assert ReportDefinition.objects.values_list("name", "formats").get() == (
        definitions.REPORTS["enrolment"].name, ["csv", "pdf"],
    )  # fmt: skip


def test_an_institution_that_exists_gets_what_is_new_at_migration_and_what_it_removed_stays_removed(
    transactional_db: None, lumiere: InstitutionContext
) -> None:
    def migrated() -> tuple[int, int, int]:
        with platform():
            Tenant.objects.filter(pk=lumiere.id).update(template_rows="of an earlier release")
        assert migrate_institutions().failed == []
        with institution(lumiere):
            return tuple(m._default_manager.count() for m in kinds)

    kinds: Any = (ReportSubscription, ReportSchedule, ReportDefinition)
    with institution(lumiere):
        for model in kinds:
            model._default_manager.all().delete()
    assert migrated() == (1, 1, 1)
    with institution(lumiere):
        ReportSchedule.objects.all().delete()
    assert migrated() == (0, 0, 1)
