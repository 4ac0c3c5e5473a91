"""Runs: asked for, made, told of, fetched by who may see them still, and kept for a while."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.utils import timezone

from shared_apps.core.clock import local_date
from shared_apps.core.errors import Forbidden
from shared_apps.core.permissions import Principal, Scope
from tasks.periodic import purge_institution
from tenant_apps.accounts.models import Role, RolePermission, UserRole
from tenant_apps.eventlog import jobs
from tenant_apps.eventlog.models import OutboxMessage
from tenant_apps.files.models import StoredFile
from tenant_apps.reports import api, services
from tenant_apps.reports.models import ReportArtifact, ReportRun, ReportSchedule
from tenant_apps.reports.reach import campuses_of, sees
from tests import cast as casting
from tests.api import as_person
from tests.tenant_apps.reports.running import DAY, enrolment_report, finished, narrow, principal_of, request

RUNS, ARTIFACTS = "/api/v1/reports/runs/", "/api/v1/reports/artifacts/"


def download(artifact: ReportArtifact | str) -> str:
    return f"{ARTIFACTS}{getattr(artifact, 'pk', artifact)}/download/"


def test_a_principal_asks_for_a_report_and_downloads_its_files(cast: casting.Cast) -> None:
    asker = as_person(cast.institution, cast.principal)
    answer = asker.post(RUNS, {"definition": str(enrolment_report().pk), "on": DAY.isoformat()})
    assert answer.status_code == 201, answer.content
    assert answer.json()["job"] is not None
    run = finished(ReportRun.objects.get(pk=answer.json()["id"]))
    rows = asker.get(f"/api/v1/reports/artifacts/?run={run.pk}").json()["results"]
    files = {row["format"]: asker.get(f"/api/v1/reports/artifacts/{row['id']}/download/") for row in rows}
    assert set(files) == {"csv", "pdf"}
    assert files["csv"].getvalue().startswith(b"\xef\xbb\xbfcampus,section,grade_level,students")
    assert files["pdf"].getvalue().startswith(b"%PDF")


def test_a_day_left_out_is_today(cast: casting.Cast) -> None:
    answer = as_person(cast.institution, cast.principal).post(RUNS, {"definition": str(enrolment_report().pk)})
    assert answer.status_code == 201, answer.content
    assert answer.json()["on"] == local_date().isoformat()


@pytest.mark.parametrize(
    ("day", "status"),
    [("1800-01-01", 400), ("1899-12-31", 400), ("1900-01-01", 201), ("2036-12-31", 201), ("2037-01-01", 400)],
)
def test_a_day_of_which_nobody_can_know_anything_is_refused(cast: casting.Cast, day: str, status: int) -> None:
    with time_machine.travel(datetime(2026, 5, 1, 12, tzinfo=UTC), tick=False):
        asker = as_person(cast.institution, cast.principal)
        answer = asker.post(RUNS, {"definition": str(enrolment_report().pk), "on": day})
    assert answer.status_code == status, answer.content
    assert [error["pointer"] for error in answer.json().get("errors", ())] == (["/on"] if status == 400 else [])


def test_a_campus_office_reports_its_campus_and_a_teacher_nothing(cast: casting.Cast) -> None:
    report = enrolment_report()
    assert campuses_of(principal_of(cast.principal), report) is None
    narrow(cast)
    assert campuses_of(principal_of(cast.principal), report) == {cast.id("campus")}
    with pytest.raises(Forbidden):
        campuses_of(principal_of(cast.teacher), report)


def test_a_nightly_report_is_told_once_and_only_to_whom_reaches_the_institution(
    cast: casting.Cast, of_long_ago: ReportSchedule
) -> None:
    assert services.start_due(now=datetime(2026, 5, 1, 12, tzinfo=UTC)) == 1
    run = ReportRun.objects.get()
    assert services.recipients(run) == [cast.principal.user_id]
    finished(run)
    services.notify(recipients=services.recipients(run), kind="x", title="again", key=f"report:{run.pk}")
    told = OutboxMessage.objects.get(topic="notify")
    assert told.payload["data"] == {"run": str(run.pk)}
    narrow(cast)
    assert services.recipients(run) == []


def test_a_run_that_is_made_twice_is_refused_by_the_database(cast: casting.Cast) -> None:
    run = finished(request(cast.principal))
    assert ReportArtifact.objects.filter(run=run).count() == 2
    assert jobs.body_of(services.RUN) is services.make


def test_a_run_keeps_what_it_was_asked_and_when_it_was_made(cast: casting.Cast) -> None:
    asker = as_person(cast.institution, cast.principal)
    asked = {"definition": str(enrolment_report().pk), "on": DAY.isoformat(), "formats": ["csv"]}
    made = asker.post(RUNS, asked).json()
    assert (made["started_at"], made["finished_at"], made["expires_at"]) == (None, None, None)
    run = ReportRun.objects.get(pk=made["id"])
    run.job.started_at = timezone.now()
    finished(run)
    row = asker.get(f"{RUNS}{run.pk}/").json()
    assert {name: row[name] for name in asked} == asked
    assert (row["campuses"], row["requested_by"]) == (None, str(cast.principal.user_id))
    assert row["started_at"] <= row["finished_at"] < row["expires_at"]
    (artifact,) = asker.get(f"{ARTIFACTS}?run={run.pk}").json()["results"]
    stored = ReportArtifact.objects.get().file
    assert (artifact["format"], artifact["size"], artifact["sha256"]) == ("csv", stored.size, stored.sha256)


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"formats": ["xlsx"]}, "/formats/0"),
        ({"formats": []}, "/formats"),
        ({"formats": ["pdf", "pdf"]}, "/formats"),
        ({"on": "2026-02-30"}, "/on"),
        ({"definition": str(uuid4())}, "/definition"),
        ({"campuses": []}, "/campuses"),
        ({"report": "enrolment"}, "/report"),
    ],
)
def test_a_run_that_cannot_be_is_refused_at_its_place(cast: casting.Cast, wrong: Any, pointer: str) -> None:
    asked = {"definition": str(enrolment_report().pk), **wrong}
    answer = as_person(cast.institution, cast.principal).post(RUNS, asked)
    assert answer.status_code == 400, answer.content
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert not ReportRun.objects.exists()


def test_two_runs_of_the_same_rows_are_the_same_files(cast: casting.Cast) -> None:
    digests = [dict(finished(request(cast.principal)).artifacts.values_list("format", "sha256")) for _ in range(2)]
    assert digests[0] == digests[1]
    assert set(digests[0]) == {"csv", "pdf"}


def lose_the_permission(cast: casting.Cast) -> None:
    RolePermission.objects.filter(role__code="principal", code="reports.view_reportartifact").delete()


def lose_what_is_counted(cast: casting.Cast) -> None:
    RolePermission.objects.filter(role__code="principal", code="school.view_student").delete()


def lose_the_role(cast: casting.Cast) -> None:
    UserRole.objects.filter(user=cast.principal.user_id).delete()


def owned(principal: Principal, run: ReportRun) -> bool:
    """The naive check: whoever asked for it may have it, for ever."""
    return run.requested_by_id == principal.user_id


LOSSES: list[tuple[Callable[[casting.Cast], None], int]] = [
    (narrow, 404), (lose_what_is_counted, 404), (lose_the_permission, 403), (lose_the_role, 403),
]  # fmt: skip


@pytest.mark.parametrize(("lose", "status"), LOSSES)
def test_who_sees_less_since_no_longer_fetches_what_they_asked_for(
    cast: casting.Cast, lose: Callable[[casting.Cast], None], status: int
) -> None:
    artifact = finished(request(cast.principal)).artifacts.first()
    assert as_person(cast.institution, cast.principal).get(download(artifact)).status_code == 200
    lose(cast)
    assert as_person(cast.institution, cast.principal).get(download(artifact)).status_code == status


@pytest.mark.parametrize("lose", [narrow, lose_what_is_counted])
def test_asked_only_whose_it_is_they_would_still(
    cast: casting.Cast, lose: Callable[[casting.Cast], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    artifact = finished(request(cast.principal)).artifacts.first()
    lose(cast)
    monkeypatch.setattr(api, "sees", owned)
    assert as_person(cast.institution, cast.principal).get(download(artifact)).status_code == 200


def test_a_campus_office_fetches_its_own_and_nobody_elses(cast: casting.Cast, of_long_ago: ReportSchedule) -> None:
    services.start_due(now=datetime(2026, 5, 1, 12, tzinfo=UTC))
    nightly = finished(ReportRun.objects.get())
    narrow(cast)
    own = finished(request(cast.principal))
    assert (nightly.campuses, own.campuses) == (None, [cast.id("campus")])
    asker = as_person(cast.institution, cast.principal)
    assert asker.get(download(own.artifacts.first())).status_code == 200
    assert asker.get(download(nightly.artifacts.first())).status_code == 404
    UserRole.objects.filter(user=cast.principal.user_id).update(scope=Scope.INSTITUTION, scope_id=None)
    whole = principal_of(cast.principal)
    assert sees(whole, own), "who sees all sees the part"
    assert sees(whole, nightly)


def test_a_teacher_fetches_nothing(cast: casting.Cast) -> None:
    artifact = finished(request(cast.principal)).artifacts.first()
    assert as_person(cast.institution, cast.teacher).get(download(artifact)).status_code == 403
    UserRole.objects.create(user_id=cast.teacher.user_id, role=Role.objects.get(code="principal"), scope=Scope.SECTION)
    assert as_person(cast.institution, cast.teacher).get(download(artifact)).status_code == 404


def test_files_go_after_their_time_and_the_run_says_so(cast: casting.Cast) -> None:
    run = finished(request(cast.principal))
    assert run.expires_at is not None
    assert run.expires_at - run.finished_at == services.KEPT
    past = timezone.now() - timedelta(seconds=1)
    StoredFile.objects.update(expires_at=past)
    ReportRun.objects.update(expires_at=past)
    asker = as_person(cast.institution, cast.principal)
    before = asker.get(f"{ARTIFACTS}?run={run.pk}").json()["results"]
    assert {asker.get(download(row["id"])).status_code for row in before} == {410}, "expired, not yet swept"
    purge_institution()
    assert not StoredFile.objects.exists()
    after = asker.get(f"{ARTIFACTS}?run={run.pk}").json()["results"]
    assert [(row["format"], row["size"], row["sha256"]) for row in after] == [
        (row["format"], row["size"], row["sha256"]) for row in before
    ], "what was made is still known"
    refused = asker.get(download(after[0]["id"]))
    assert (refused.status_code, refused.json()["code"]) == (410, "file_expired")
    assert asker.get(f"{RUNS}{run.pk}/").json()["expires_at"] < timezone.now().isoformat()
