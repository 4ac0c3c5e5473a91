"""Uploading a roster over the API, and what the requester is told."""

import errno
import io
import os
import stat
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.http import HttpResponse
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.permissions import Scope
from tenant_apps.accounts.models import UserRole
from tenant_apps.communication.models import Notification
from tenant_apps.eventlog import jobs, outbox
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.services import cancel_job, sweep_jobs
from tenant_apps.eventlog.tasks import run_job
from tenant_apps.interop import services
from tenant_apps.interop.api import uploads
from tenant_apps.interop.models import RosterImport
from tenant_apps.school.models import Student
from tests import cast
from tests.api import Asker, as_person, host_of
from tests.tenant_apps.interop.importing import digests
from tests.tenant_apps.interop.oneroster.reading import put
from tests.tenant_apps.interop.oneroster.rosters import write_roster

PATH = "/api/v1/interop/roster-imports/"
Upload = Callable[..., HttpResponse]


@pytest.fixture
def roster(tmp_path: Path) -> bytes:
    return write_roster(tmp_path / "roster.zip").read_bytes()


@pytest.fixture
def bad_roster(tmp_path: Path) -> bytes:
    path = write_roster(
        tmp_path / "bad.zip", mutate=lambda tables: put(tables, "academicSessions.csv", 1, "endDate", "soon")
    )
    return path.read_bytes()


@pytest.fixture
def principal(db: None, greenwood: InstitutionContext) -> Asker:
    return as_person(greenwood, cast.of(greenwood).principal)


def send(asker: Asker, content: bytes | None, *, name: str = "roster.zip", **fields: Any) -> HttpResponse:
    """POST the form; None: without a file."""
    form: dict[str, Any] = dict(fields)
    if content is not None:
        form["file"] = SimpleUploadedFile(name, content, "application/zip")
    return asker.ask("POST", PATH, encode_multipart(BOUNDARY, form), CONTENT_TYPE=MULTIPART_CONTENT)


def stored(context: InstitutionContext) -> list[Path]:
    folder = settings.MEDIA_ROOT / str(context.id) / "roster-imports"
    return sorted(folder.iterdir()) if folder.is_dir() else []


@pytest.fixture(autouse=True)
def nothing_stored(greenwood: InstitutionContext) -> Iterator[None]:
    yield
    for path in stored(greenwood):
        path.unlink()


def problem(answer: HttpResponse) -> tuple[int, str, str]:
    body = answer.json()
    assert answer["Content-Type"] == "application/problem+json"
    pointer = body["errors"][0]["pointer"] if body["errors"] else ""
    return answer.status_code, body["errors"][0]["code"] if body["errors"] else body["code"], pointer


# The upload


def test_an_upload_is_stored_privately_and_answered_with_its_place(
    principal: Asker, roster: bytes, greenwood: InstitutionContext
) -> None:
    answer = send(principal, roster, name="Schüler 2026.zip", dry_run="true")
    assert answer.status_code == 202, answer.content
    body = answer.json()
    assert answer["Location"] == f"{PATH}{body['id']}/"
    assert (body["state"], body["progress"], body["counts"], body["errors"], body["warnings"]) == (
        "pending", 0, {}, [], [],
    )  # fmt: skip
    assert (body["file_name"], body["size"], body["dry_run"]) == ("Schüler 2026.zip", len(roster), True)
    [path] = stored(greenwood)
    assert path.name == f"{body['id']}.zip"
    assert path.read_bytes() == roster
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert principal.get(answer["Location"]).json() == body


@pytest.mark.parametrize(
    ("content", "fields", "expected"),
    [
        (None, {}, (400, "required", "/file")),
        (None, {"file": "text"}, (400, "not_a_file", "/file")),
        (b"x", {"dry_run": "yes"}, (400, "bad_boolean", "/dry_run")),
        (b"x", {"dry_run": ["true", "true"]}, (400, "bad_boolean", "/dry_run")),
        (b"x", {"close_missing": ""}, (400, "bad_boolean", "/close_missing")),
        (b"x", {"dryrun": "true"}, (400, "unknown_field", "/dryrun")),
        (b"x", {"other": SimpleUploadedFile("a.zip", b"x")}, (400, "unknown_field", "/other")),
        (b"x", {"dry_run": "\x00"}, (400, "bad_boolean", "/dry_run")),
        (b"x", {f"field{number}": "1" for number in range(2000)}, (400, "too_many_fields", "")),
        (b"x", {"dry_run": "t" * 3_000_000}, (413, "too_large", "")),
    ],
    ids=[
        "no file", "text for a file", "a bad boolean", "a boolean twice", "an empty boolean", "an unknown field",
        "an unknown file", "a NUL", "thousands of fields", "a huge field",
    ],
)  # fmt: skip
def test_a_form_that_is_none_is_refused_at_its_place_and_leaves_nothing(
    principal: Asker, greenwood: InstitutionContext, content: bytes | None, fields: Any, expected: tuple[int, str, str]
) -> None:
    answer = send(principal, content, **fields)
    assert problem(answer) == expected
    assert stored(greenwood) == []
    with institution(greenwood):
        assert not RosterImport.objects.exists()


def test_a_dry_run_asked_for_in_the_address_is_not_a_real_import(
    principal: Asker, roster: bytes, greenwood: InstitutionContext
) -> None:
    form = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile("roster.zip", roster)})
    answer = principal.ask("POST", f"{PATH}?dry_run=true", form, CONTENT_TYPE=MULTIPART_CONTENT)
    assert answer.status_code == 400, answer.content
    assert "dry_run" in answer.json()["detail"] + str(answer.json()["errors"])
    with institution(greenwood):
        # Negative control: taken without a word, it would have been an import with `dry_run` false.
        assert not RosterImport.objects.exists()
    assert stored(greenwood) == []


def test_two_files_are_refused(principal: Asker, roster: bytes, greenwood: InstitutionContext) -> None:
    files = [SimpleUploadedFile("a.zip", roster), SimpleUploadedFile("b.zip", roster)]
    form = encode_multipart(BOUNDARY, {"file": files})
    answer = principal.ask("POST", PATH, form, CONTENT_TYPE=MULTIPART_CONTENT)
    assert problem(answer) == (400, "two_files", "/file")
    assert stored(greenwood) == []


def test_json_and_a_form_without_a_boundary_are_refused(principal: Asker) -> None:
    answer = principal.post(PATH, {"file": "x"})
    assert answer.status_code == 415
    assert "Send multipart/form-data with the roster's zip as its field `file`." in answer.json()["detail"]
    assert principal.ask("POST", PATH, b"x", CONTENT_TYPE="multipart/form-data").status_code == 400
    assert principal.ask("POST", PATH, b"--x", CONTENT_TYPE="multipart/form-data; boundary=x").status_code == 400


@pytest.mark.parametrize("announced", [True, False], ids=["by its length", "while it comes"])
def test_a_file_that_is_too_large_is_413_and_leaves_nothing(
    principal: Asker, greenwood: InstitutionContext, settings: Any, announced: bool
) -> None:
    settings.ROSTER_UPLOAD_MAX_BYTES = 1024 * 1024
    more = uploads.FORM_BYTES if announced else 1
    answer = send(principal, b"x" * (1024 * 1024 + more))
    assert problem(answer) == (413, "too_large", "/file")
    assert stored(greenwood) == []
    assert send(principal, b"x" * 1024 * 1024).status_code == 202


def test_a_full_disk_is_503_and_one_clear_line(
    principal: Asker, roster: bytes, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(uploads.os, "write", full)
    answer = send(principal, roster)
    assert (answer.status_code, answer.json()["code"]) == (503, "no_room")
    assert stored(greenwood) == []
    with institution(greenwood):
        assert not Job.objects.exists()


def test_an_upload_that_breaks_off_is_refused_and_leaves_nothing(
    principal: Asker, greenwood: InstitutionContext
) -> None:
    form = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile("roster.zip", b"x" * 500_000)})
    broken: dict[str, Any] = {"wsgi.input": io.BytesIO(form[:300_000]), "CONTENT_LENGTH": str(len(form))}
    answer = principal.ask("POST", PATH, form, CONTENT_TYPE=MULTIPART_CONTENT, **broken)
    assert (answer.status_code, answer.json()["code"]) == (400, "broken_upload")
    assert stored(greenwood) == []


def test_a_name_cannot_lead_outside(principal: Asker, roster: bytes, greenwood: InstitutionContext) -> None:
    answer = send(principal, roster, name="../../../../etc/passwd")
    assert answer.json()["file_name"] == "passwd"
    [path] = stored(greenwood)
    assert path.name == f"{answer.json()['id']}.zip"


# Who may


@pytest.mark.parametrize("role", ["teacher", "guardian", "student"])
def test_only_a_principal_may(role: str, db: None, roster: bytes, greenwood: InstitutionContext) -> None:
    asker = as_person(greenwood, getattr(cast.of(greenwood), role))
    assert send(asker, roster).status_code == 403
    assert asker.get(PATH).status_code == 403
    assert asker.get(f"{PATH}{uuid4()}/").status_code == 403
    assert stored(greenwood) == []


def test_nobody_may_without_signing_in(db: None, roster: bytes, greenwood: InstitutionContext) -> None:
    assert send(Asker(host_of(greenwood)), roster).status_code == 401
    assert stored(greenwood) == []


def test_a_principal_of_one_campus_does_not_reach_the_whole_institution(
    principal: Asker, roster: bytes, greenwood: InstitutionContext
) -> None:
    people = cast.of(greenwood)
    with institution(greenwood):
        held = UserRole.objects.filter(user_id=people.principal.user_id)
        held.update(scope=Scope.CAMPUS, scope_id=people.id("campus"))
    assert problem(send(principal, roster))[:2] == (403, "outside_scope")
    assert principal.get(PATH).status_code == 403


def test_an_import_of_another_institution_is_404_under_its_id(
    principal: Asker, roster: bytes, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    location = send(principal, roster)["Location"]
    outsider = as_person(lumiere, cast.of(lumiere).principal)
    assert principal.get(location).status_code == 200
    assert outsider.get(location).status_code == 404
    assert outsider.get(PATH).json()["results"] == []
    assert principal.get(f"{PATH}{uuid4()}/").status_code == 404
    assert principal.get(f"{PATH}1/").status_code == 400


# The list


def test_the_list_runs_from_the_newest_by_cursor(principal: Asker, roster: bytes) -> None:
    ids = [send(principal, roster, dry_run=str(number % 2 == 0)).json()["id"] for number in range(5)][::-1]
    first = principal.get(f"{PATH}?page_size=2&count=true").json()
    assert ([row["id"] for row in first["results"]], first["count"], first["previous"]) == (ids[:2], 5, None)
    second = principal.get(first["next"].partition("localhost")[2]).json()
    third = principal.get(second["next"].partition("localhost")[2]).json()
    assert [row["id"] for row in (*second["results"], *third["results"])] == ids[2:]
    assert third["next"] is None
    back = principal.get(third["previous"].partition("localhost")[2]).json()
    assert [row["id"] for row in back["results"]] == ids[2:4]
    assert "errors" not in first["results"][0]
    dry = principal.get(f"{PATH}?dry_run=true").json()["results"]
    assert [row["id"] for row in dry] == [ids[0], ids[2], ids[4]]


@pytest.mark.parametrize("query", ["page=1", "ordering=id", "cursor=abc", "page_size=0", "nonsense=1", "dry_run=maybe"])
def test_a_bad_parameter_is_400(principal: Asker, query: str) -> None:
    assert principal.get(f"{PATH}?{query}").status_code == 400


def test_a_list_costs_one_query(principal: Asker, roster: bytes, django_assert_num_queries: Any) -> None:
    for _ in range(3):
        send(principal, roster)
    principal.get(PATH)
    with django_assert_num_queries(1):
        principal.get(PATH)


# The job


@pytest.fixture
def finish(
    transactional_db: None, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> Callable[[HttpResponse], dict[str, Any]]:
    """Carries out an upload's job as a worker does, and then what it announced; the import as it then stands."""
    monkeypatch.setattr(run_job, "delay", lambda job_id: None)
    asker = as_person(greenwood, cast.of(greenwood).principal)

    def finisher(answer: HttpResponse) -> dict[str, Any]:
        assert answer.status_code == 202, answer.content
        with institution(greenwood):
            jobs.run(answer.json()["job"])
            outbox.carry_out()
        body: dict[str, Any] = asker.get(answer["Location"]).json()
        return body

    return finisher


def notifications(context: InstitutionContext) -> list[tuple[str, str, Any]]:
    with institution(context):
        rows = Notification.objects.filter(recipient_id=cast.user_id("principal")).order_by("created_at")
        return [(row.kind, row.title, row.data["roster_import"]) for row in rows]


def test_a_principal_checks_imports_and_imports_again(
    finish: Callable[[HttpResponse], dict[str, Any]], roster: bytes, greenwood: InstitutionContext
) -> None:
    asker = as_person(greenwood, cast.of(greenwood).principal)
    with institution(greenwood):
        before = digests()
    checked = finish(send(asker, roster, dry_run="true"))
    with institution(greenwood):
        after = digests()
    assert {
        name for name in before if name.split("_")[0] in ("school", "academics") and before[name] != after[name]
    } == set()
    imported = finish(send(asker, roster))
    again = finish(send(asker, roster))
    assert (checked["state"], imported["state"], again["state"]) == ("succeeded",) * 3
    assert (imported["progress"], imported["counts"]) == (100, checked["counts"])
    assert imported["counts"]["students"]["created"] == again["counts"]["students"]["unchanged"] == 12
    students = asker.get("/api/v1/school/students/?student_number=student-7").json()["results"]
    assert [row["given_name"] for row in students] != []
    assert notifications(greenwood) == [
        ("roster.checked", "Roster checked", checked["id"]),
        ("roster.imported", "Roster imported", imported["id"]),
        ("roster.imported", "Roster imported", again["id"]),
    ]
    assert stored(greenwood) == []


def test_a_dry_run_with_errors_succeeds_and_an_import_with_errors_fails(
    finish: Callable[[HttpResponse], dict[str, Any]], bad_roster: bytes, greenwood: InstitutionContext
) -> None:
    asker = as_person(greenwood, cast.of(greenwood).principal)
    checked, failed = finish(send(asker, bad_roster, dry_run="true")), finish(send(asker, bad_roster))
    assert (checked["state"], failed["state"]) == ("succeeded", "failed")
    for body in (checked, failed):
        [error] = body["errors"]
        assert (error["file"], error["line"], error["column"]) == ("academicSessions.csv", 2, "endDate")
        assert (error["code"], body["error_count"]) == ("bad-date", 1)
        assert set(error) == {"file", "line", "column", "code", "detail"}
        assert body["causes"] == [{"severity": "error", "count": 1, **error}]
    with institution(greenwood):
        assert not Student.objects.filter(sourced_id__isnull=False).exists()
    assert [kind for kind, _, _ in notifications(greenwood)] == ["roster.checked", "roster.failed"]
    assert stored(greenwood) == []


def test_what_the_database_refuses_fails_the_job_and_changes_nothing(
    finish: Callable[[HttpResponse], dict[str, Any]],
    roster: bytes,
    greenwood: InstitutionContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody enters a student by hand between the comparison and the writing."""
    writing = services.write_plan

    def meanwhile(plan: Any, steps: Any) -> None:
        campus = cast.of(greenwood).id("campus")
        hand = {"given_name": "By", "family_name": "Hand", "student_number": "student-7", "campus_id": campus}
        beside = jobs.SecondConnection()
        beside.run(lambda: Student.objects.create(**hand)).result()
        beside.close()
        writing(plan, steps)

    monkeypatch.setattr(services, "write_plan", meanwhile)
    body = finish(send(as_person(greenwood, cast.of(greenwood).principal), roster))
    assert (body["state"], len(body["errors"]), body["errors"][0]["file"]) == ("failed", 1, None)
    with institution(greenwood):
        assert not Student.objects.filter(sourced_id__isnull=False).exists()
    assert [kind for kind, _, _ in notifications(greenwood)] == ["roster.failed"], "who waits for the end is told of it"
    assert stored(greenwood) == []


def test_a_cancelled_import_changes_nothing_and_leaves_no_file(
    finish: Callable[[HttpResponse], dict[str, Any]],
    roster: bytes,
    greenwood: InstitutionContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "PROGRESS_SECONDS", 0.0)
    writing = services.write_plan

    def cancelled(plan: Any, steps: Any) -> None:
        beside = jobs.SecondConnection()
        beside.run(lambda: cancel_job(job=Job.objects.get(state="running"))).result()
        beside.close()
        for _ in range(50):
            steps.check()
            time.sleep(0.02)
        writing(plan, steps)

    monkeypatch.setattr(services, "write_plan", cancelled)
    body = finish(send(as_person(greenwood, cast.of(greenwood).principal), roster))
    assert (body["state"], body["errors"]) == ("cancelled", [])
    with institution(greenwood):
        assert not Student.objects.filter(sourced_id__isnull=False).exists()
    assert stored(greenwood) == []


def test_an_upload_that_is_sent_twice_with_a_key_is_imported_once(
    principal: Asker, roster: bytes, bad_roster: bytes, greenwood: InstitutionContext
) -> None:
    def upload(content: bytes, key: str, **fields: str) -> HttpResponse:
        form = {**fields, "file": SimpleUploadedFile("roster.zip", content, "application/zip")}
        body = encode_multipart(BOUNDARY, form)
        return principal.ask("POST", PATH, body, CONTENT_TYPE=MULTIPART_CONTENT, HTTP_IDEMPOTENCY_KEY=key)

    first, again = upload(roster, "one"), upload(roster, "one")
    assert (again.status_code, again.json(), again["Location"]) == (202, first.json(), first["Location"])
    assert again["Idempotency-Replayed"] == "true"
    for other in (upload(bad_roster, "one"), upload(roster, "one", dry_run="true")):
        assert problem(other)[:2] == (422, "idempotency_key_reused")
    assert len(stored(greenwood)) == 1
    assert upload(roster, "two").json()["id"] != first.json()["id"]  # without the key, or under another, it is twice


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The database goes away while a roster is imported; the answer brings it back."""
    importing = services.import_roster

    def gone(**given: Any) -> Any:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(services, "import_roster", gone)
    return lambda: monkeypatch.setattr(services, "import_roster", importing)


def test_an_upload_outlives_the_database_s_absence(
    away: Callable[[], None],
    finish: Callable[[HttpResponse], dict[str, Any]],
    roster: bytes,
    greenwood: InstitutionContext,
) -> None:
    answer = send(as_person(greenwood, cast.of(greenwood).principal), roster)
    with pytest.raises(OperationalError):
        finish(answer)
    assert len(stored(greenwood)) == 1
    assert notifications(greenwood) == [], "nobody is told of a failure that is none"
    away()
    with institution(greenwood):
        assert sweep_jobs() == 1
    assert finish(answer)["state"] == "succeeded"
    assert stored(greenwood) == []


def test_an_import_whose_worker_is_lost_again_and_again_is_told_of(
    away: Callable[[], None],
    finish: Callable[[HttpResponse], dict[str, Any]],
    roster: bytes,
    greenwood: InstitutionContext,
) -> None:
    answer = send(as_person(greenwood, cast.of(greenwood).principal), roster)
    for _ in range(3):
        with pytest.raises(OperationalError):
            finish(answer)
        with institution(greenwood):
            sweep_jobs()
            outbox.carry_out()
    body = as_person(greenwood, cast.of(greenwood).principal).get(answer["Location"]).json()
    assert (body["state"], body["errors"][0]["code"]) == ("failed", "worker_lost")
    assert [kind for kind, _, _ in notifications(greenwood)] == ["roster.failed"]
    assert stored(greenwood) == []


def test_uploads_that_nobody_needs_are_swept(principal: Asker, roster: bytes, greenwood: InstitutionContext) -> None:
    needed, done, young = (send(principal, roster).json() for _ in range(3))
    folder = settings.MEDIA_ROOT / str(greenwood.id) / "roster-imports"
    abandoned = folder / f"{uuid4()}.zip"
    abandoned.write_bytes(b"half")
    old = (timezone.now() - timedelta(hours=2)).timestamp()
    for path in stored(greenwood):
        if path.name != f"{young['id']}.zip":
            os.utime(path, (old, old))
    with institution(greenwood):
        Job.objects.filter(pk__in=(done["job"], young["job"])).update(state="failed")
        assert services.sweep_uploads() == 2
    assert {path.name for path in stored(greenwood)} == {f"{needed['id']}.zip", f"{young['id']}.zip"}
