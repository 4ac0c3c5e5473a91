"""What has changed since travels as a delta, deletions by the log; and a roster travels as OneRoster 1.1."""

import csv
import io
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, institution, platform
from tenant_apps.academics.models import Enrolment, Section
from tenant_apps.audit import past
from tenant_apps.eventlog import jobs
from tenant_apps.interop.oneroster import layout
from tenant_apps.interop.roster import exporting
from tenant_apps.interop.roster.exporting import export_roster
from tenant_apps.school.models import Campus, Guardian, Staff, Student, StudentGuardian
from tenant_apps.school.services import change_student_state
from tests import cast
from tests.api import as_person
from tests.tenant_apps.interop.importing import bring, digests
from tests.tenant_apps.interop.oneroster.rosters import HEADERS, Tables, write_roster
from tests.tenant_apps.interop.oneroster.versions import FILES_11, USERS_11
from tests.tenant_apps.interop.test_roster_export import schools, texts

__all__ = ["schools"]
Change = Callable[[], Any]


def rows(package: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(texts(package)[name])))


def cells(package: Path, file: str, *columns: str) -> list[tuple[str, ...]]:
    return [tuple(row[column] for column in columns) for row in rows(package, file)]


def after(package: Path, context: InstitutionContext, change: Change) -> datetime:
    """The moment of a bulk export, a change made after it. A delta since then holds the change."""
    with institution(context):
        export_roster(package)
        since = timezone.now()
        change()
        return since


def open_ended(tables: Tables) -> None:
    """Enrolments without an end, whatever today is."""
    at = tables["enrollments.csv"][0].index("endDate")
    for row in tables["enrollments.csv"][1:]:
        row[at] = ""


def renamed() -> None:
    student = Student.objects.get(sourced_id="student-1")
    student.family_name = "O'Brien-Łaska"
    student.save()


def left() -> None:
    student = Student.objects.get(sourced_id="student-2")
    change_student_state(student=student, to="left", on=date.today(), reason="Moved")


def erased() -> None:
    Enrolment.objects.filter(sourced_id="enr-5").delete()


def erased_guardian() -> None:
    guardian = Guardian.objects.exclude(sourced_id=None).exclude(sourced_id__startswith="staff")[0]
    StudentGuardian.objects.filter(guardian=guardian).delete()
    guardian.delete()


def enrolled() -> None:
    Enrolment.objects.create(
        student=Student.objects.get(sourced_id="student-1"),
        section=Section.objects.get(sourced_id="class-2"),
        starts_on=date(2027, 1, 1),
    )


def linked() -> None:
    student = Student.objects.get(sourced_id="student-1")
    guardian = Guardian.objects.create(given_name="New", family_name="Guardian")
    StudentGuardian.objects.create(student=student, guardian=guardian, relation="parent")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (renamed, {"users": 1, "roles": 1, "demographics": 1}),
        (left, {"users": 1, "roles": 1, "demographics": 1, "enrollments": 2}),
        (erased, {"enrollments": 1}),
        (erased_guardian, {"users": 1, "roles": 1}),
        (enrolled, {"enrollments": 1}),
        (linked, {"users": 2, "roles": 2}),
    ],
)
def test_a_delta_holds_what_has_changed_and_nothing_else(
    change: Change, expected: dict[str, int], tmp_path: Path, schools: list[InstitutionContext]
) -> None:
    with institution(schools[0]):
        bring(write_roster(tmp_path / "roster.zip", mutate=open_ended))
        since = after(tmp_path / "bulk.zip", schools[0], change)
        counts = export_roster(tmp_path / "delta.zip", since=since).counts
    if change is erased_guardian:  # Links that are no more are written nowhere; the reader ends them with the guardian.
        assert rows(tmp_path / "delta.zip", "users.csv")[0]["status"] == "tobedeleted"
    assert {file: count for file, count in counts.items() if count} == expected


def test_a_delta_brings_another_system_to_where_this_one_is(tmp_path: Path, schools: list[InstitutionContext]) -> None:
    """Bulk to the second institution, changes here, the delta there: both then write the same package."""
    with institution(schools[0]):
        bring(write_roster(tmp_path / "roster.zip", mutate=open_ended))
    since = after(tmp_path / "bulk.zip", schools[0], lambda: (renamed(), enrolled(), linked(), left()))
    with institution(schools[0]):
        export_roster(tmp_path / "delta.zip", since=since)
        export_roster(tmp_path / "one.zip")
    with institution(schools[1]):
        bring(tmp_path / "bulk.zip")
        export_roster(tmp_path / "before.zip")
        plan = bring(tmp_path / "delta.zip")
        assert plan.error_count == 0, plan.findings
        assert Student.objects.get(sourced_id="student-2").state == "left"
        export_roster(tmp_path / "two.zip")
        before = digests()
        bring(tmp_path / "delta.zip")
        assert digests() == before
    assert texts(tmp_path / "before.zip") == texts(tmp_path / "bulk.zip") != texts(tmp_path / "one.zip")
    assert texts(tmp_path / "two.zip") == texts(tmp_path / "one.zip")


def test_what_was_erased_here_ends_there(
    tmp_path: Path, schools: list[InstitutionContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    with institution(schools[0]):
        bring(write_roster(tmp_path / "roster.zip", mutate=open_ended))
    since = after(tmp_path / "bulk.zip", schools[0], erased)
    with institution(schools[0]):
        export_roster(tmp_path / "delta.zip", since=since)
        [row] = rows(tmp_path / "delta.zip", "enrollments.csv")
        assert (row["sourcedId"], row["status"], row["role"]) == ("enr-5", "tobedeleted", "student")
        # Without the log, from the rows alone, a deletion is not seen.
        monkeypatch.setattr(exporting.past, "deleted", lambda model, *, before, most: [])
        assert export_roster(tmp_path / "naive.zip", since=since).counts["enrollments"] == 0
    with institution(schools[1]):
        bring(tmp_path / "bulk.zip")
        assert bring(tmp_path / "delta.zip").counts["enrolments"]["closed"] == 1
        assert Enrolment.objects.get(sourced_id="enr-5").ends_on is not None


def test_every_row_of_a_delta_says_when_and_whether(tmp_path: Path, schools: list[InstitutionContext]) -> None:
    with institution(schools[0]):
        bring(write_roster(tmp_path / "roster.zip", mutate=open_ended))
        export_roster(tmp_path / "delta.zip", since=timezone.now() - timedelta(days=1))
    for name, text in texts(tmp_path / "delta.zip").items():
        if name != layout.MANIFEST:
            for row in csv.DictReader(io.StringIO(text)):
                assert row["status"] == "active"
                assert datetime.fromisoformat(row["dateLastModified"]).tzinfo is not None
    manifest = dict(csv.reader(io.StringIO(texts(tmp_path / "delta.zip")["manifest.csv"])))
    assert manifest["file.users"] == "delta"
    with institution(schools[1]):
        assert bring(tmp_path / "delta.zip").error_count == 0
        assert Student.objects.filter(sourced_id="student-1").exists()


def test_the_log_is_read_in_pages(
    tmp_path: Path, schools: list[InstitutionContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "DELETIONS_AT_ONCE", 2)
    asked: list[Any] = []
    read = past.deleted
    monkeypatch.setattr(exporting.past, "deleted", lambda model, **given: asked.append(model) or read(model, **given))
    with institution(schools[0]):
        bring(write_roster(tmp_path / "roster.zip", mutate=open_ended))
        since = timezone.now()
        chosen = Enrolment.objects.exclude(sourced_id=None).values_list("pk", flat=True)[:7]
        Enrolment.objects.filter(pk__in=list(chosen)).delete()
        assert export_roster(tmp_path / "delta.zip", since=since).counts["enrollments"] == 7
    assert asked.count(Enrolment) == 4


# 1.1


def test_a_package_of_11_has_its_files_and_headers(tmp_path: Path, schools: list[InstitutionContext]) -> None:
    with institution(schools[0]):
        bring(write_roster(tmp_path / "roster.zip", mutate=open_ended))
        export_roster(tmp_path / "old.zip", version="1.1")
    found = texts(tmp_path / "old.zip")
    manifest = dict(csv.reader(io.StringIO(found["manifest.csv"])))
    assert manifest["oneroster.version"] == "1.1"
    assert {name for name in manifest if name.startswith("file.")} == {f"file.{name}" for name in FILES_11}
    assert "roles.csv" not in found
    assert found["users.csv"].splitlines()[0] == USERS_11
    assert found["enrollments.csv"].splitlines()[0] == HEADERS["enrollments.csv"]
    roles = {role for (role,) in cells(tmp_path / "old.zip", "users.csv", "role")}
    assert roles == {"administrator", "guardian", "parent", "student", "teacher"}


def test_a_roster_travels_by_11_but_for_what_11_has_no_words_for(
    tmp_path: Path, schools: list[InstitutionContext]
) -> None:
    with institution(schools[0]):
        bring(write_roster(tmp_path / "roster.zip", students=40, sections=8))
        export_roster(tmp_path / "one.zip")
        export_roster(tmp_path / "old.zip", version="1.1")
    with institution(schools[1]):
        plan = bring(tmp_path / "old.zip")
        assert plan.error_count == 0, plan.findings
        export_roster(tmp_path / "two.zip")
    one, two = texts(tmp_path / "one.zip"), texts(tmp_path / "two.zip")
    differing = {name for name in one if one[name] != two[name]}
    assert differing == {"users.csv", "roles.csv", "demographics.csv"}
    users = set(HEADERS["users.csv"].split(",")) - {"agentSourcedIds"}
    assert cells(tmp_path / "one.zip", "users.csv", *users) == cells(tmp_path / "two.zip", "users.csv", *users)

    def roles(name: str) -> dict[tuple[str, str], str]:
        found = cells(tmp_path / name, "roles.csv", "userSourcedId", "roleType", "role")
        return {(user, held): role for user, held, role in found}

    first, second = roles("one.zip"), roles("two.zip")
    # A second role, and with it the children of a teacher, and the words for those who administer.
    assert {key for key in first if key not in second} == {key for key in first if key[1] == "secondary"} != set()
    changed = {(first[key], second[key]) for key in second if first[key] != second[key]}
    assert changed == {("principal", "siteAdministrator")}
    sexes = {
        (one_sex, two_sex)
        for (one_sex,), (two_sex,) in zip(
            cells(tmp_path / "one.zip", "demographics.csv", "sex"),
            cells(tmp_path / "two.zip", "demographics.csv", "sex"),
            strict=True,
        )
        if one_sex != two_sex
    }
    assert sexes == {("unspecified", "")}


def test_a_member_of_staff_without_a_campus_is_at_the_institution(
    tmp_path: Path, schools: list[InstitutionContext]
) -> None:
    with institution(schools[0]):
        Campus.objects.create(code="C", name="Campus")
        Staff.objects.create(given_name="A", family_name="B", staff_number="S1", position="Counselor")
        export_roster(tmp_path / "old.zip", version="1.1")
    assert [role for (role,) in cells(tmp_path / "old.zip", "users.csv", "role")] == ["aide"]
    with institution(schools[1]):
        assert bring(tmp_path / "old.zip").error_count == 0


# Over the API and at the command line


def test_a_worker_writes_a_delta_of_11(
    transactional_db: None, greenwood: InstitutionContext, tmp_path: Path, settings: Any
) -> None:
    settings.MEDIA_ROOT = tmp_path
    principal = as_person(greenwood, cast.of(greenwood).principal)
    since = timezone.now().isoformat()
    with institution(greenwood):
        student = Student.objects.all()[0]
        student.given_name = "Changed"
        student.save()
    answer = principal.post("/api/v1/interop/roster-exports/", {"version": "1.1", "since": since})
    assert answer.status_code == 202, answer.content
    with institution(greenwood):
        jobs.run(answer.json()["job"])
    job = principal.get(answer["Location"]).json()
    assert job["state"] == "succeeded", job
    assert job["result"]["counts"]["users"] == 1
    assert datetime.fromisoformat(job["result"]["as_of"]) < timezone.now()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"version": "1.0"}, "/version"),
        ({"since": "yesterday"}, "/since"),
        ({"since": "2999-01-01T00:00:00Z"}, "/since"),
        ({"until": "2026-01-01T00:00:00Z"}, "/until"),
    ],
)
def test_a_bad_wish_is_refused_at_its_place(
    body: dict[str, str], pointer: str, db: None, greenwood: InstitutionContext
) -> None:
    answer = as_person(greenwood, cast.of(greenwood).principal).post("/api/v1/interop/roster-exports/", body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)


def test_the_command_writes_deltas_and_says_how_to_go_on(
    tmp_path: Path, transactional_db: None, greenwood: InstitutionContext
) -> None:
    told = io.StringIO()
    arguments = ("export_oneroster", "greenwood", str(tmp_path / "delta.zip"), "--since")
    with platform():
        call_command(*arguments, timezone.now().isoformat(), "--oneroster", "1.1", stdout=told)
        with pytest.raises(CommandError, match="since"):
            call_command(*arguments, "yesterday", stdout=told)
    assert "The next delta: --since " in told.getvalue()
    assert rows(tmp_path / "delta.zip", "users.csv") == []
