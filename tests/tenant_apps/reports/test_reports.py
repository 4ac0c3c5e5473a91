"""The enrolment report: its counts, its files, and who may have it."""

import io
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pypdf import PdfReader

from shared_apps.core.clock import local_date
from shared_apps.core.errors import Forbidden
from shared_apps.core.permissions import Scope
from tenant_apps.academics.models import Enrolment
from tenant_apps.accounts.models import UserRole
from tenant_apps.eventlog import jobs
from tenant_apps.eventlog.models import OutboxMessage
from tenant_apps.reports import enrolment, services, writing
from tenant_apps.reports.enrolment import Enrolments, GradeRow, SectionRow
from tenant_apps.reports.models import ReportArtifact, ReportDefinition, ReportRun, ReportSchedule
from tenant_apps.reports.reach import campuses_of
from tenant_apps.school.models import Campus, Student, StudentStatus
from tests import cast as casting
from tests.api import as_person

RUNS = "/api/v1/reports/runs/"
DAY = casting.YEAR[0] + timedelta(days=30)
ODD = ('#import "x": *', "$ x^2 $ @foo \\ *bold*", "=1+1", "Łukasz Ωμέγα")


def holds(row: Any, day: date) -> bool:
    return row.starts_on <= day and (row.ends_on is None or day < row.ends_on)


def naive(day: date) -> tuple[dict[tuple[str, str], int], dict[str, tuple[int, int]]]:
    """Counted by hand in Python: students of (section, grade), and (roll, unplaced) of a grade."""
    sections: dict[tuple[str, str], set[UUID]] = defaultdict(set)
    placed = set()
    for row in Enrolment.objects.select_related("section", "student__grade_level"):
        if holds(row, day):
            placed.add(row.student_id)
            sections[row.section.title, row.student.grade_level.name].add(row.student_id)
    grades: dict[str, list[UUID]] = defaultdict(list)
    for row in StudentStatus.objects.select_related("student__grade_level"):
        if row.state == "enrolled" and holds(row, day):
            grades[row.student.grade_level.name].append(row.student_id)
    return (
        {key: len(students) for key, students in sections.items()},
        {name: (len(students), len(set(students) - placed)) for name, students in grades.items()},
    )


def test_the_counts_are_those_of_a_naive_count_with_moves_leavers_and_returners(cast: casting.Cast) -> None:
    def ends(name: str, section: str, day: date) -> None:
        Enrolment.objects.filter(pk=cast.id(f"{name} in {section}")).update(ends_on=day)

    ends("ada", "maths", DAY)
    Enrolment.objects.create(student_id=cast.id("ada"), section_id=cast.id("science"), starts_on=DAY)
    ends("ben", "science", DAY)
    StudentStatus.objects.filter(student=cast.id("ben")).update(ends_on=DAY)
    StudentStatus.objects.create(student_id=cast.id("ben"), state="left", starts_on=DAY, ends_on=DAY + timedelta(3))
    StudentStatus.objects.create(student_id=cast.id("ben"), state="enrolled", starts_on=DAY + timedelta(3))
    seen = []
    for day in (DAY - timedelta(1), DAY, DAY + timedelta(2), DAY + timedelta(3)):
        counts = enrolment.count(on=day, campuses=None)
        sections, grades = naive(day)
        assert {(row.section, row.grade): row.students for row in counts.sections} == sections
        assert {row.grade: (row.students, row.unplaced) for row in counts.grades} == grades
        seen.append((sections, grades))
    assert seen[0] != seen[1], "the move is seen on its day"
    assert sum(unplaced for _, unplaced in seen[3][1].values()) == 1, "who came back is in no section yet"


def test_a_campus_counts_its_own_students_only(cast: casting.Cast) -> None:
    other = Campus.objects.create(code="EAST", name="East")
    Student.objects.filter(pk=cast.id("ada")).update(campus=other)
    assert sum(row.students for row in enrolment.count(on=DAY, campuses={other.pk}).grades) == 1
    assert enrolment.count(on=DAY, campuses={other.pk}).sections == []


def enrolment_report() -> ReportDefinition:
    return ReportDefinition.objects.get(code="enrolment")


def request(person: casting.Person) -> ReportRun:
    return services.request_run(definition=enrolment_report(), on=DAY, principal=_principal(person))


def finished(run: ReportRun) -> ReportRun:
    """The run after its job's body; the worker's own transaction is tested with the jobs."""
    quiet: Any = _Quiet()
    services.make(run.job, quiet)
    return run


class _Quiet:
    """Progress that nobody watches."""

    def __call__(self, percent: float, step: str = "") -> None: ...

    def check(self) -> None: ...


def test_a_principal_asks_for_a_report_and_downloads_its_files(cast: casting.Cast) -> None:
    asker = as_person(cast.institution, cast.principal)
    answer = asker.post(RUNS, {"definition": str(enrolment_report().pk), "on": DAY.isoformat()})
    assert answer.status_code == 201, answer.content
    assert answer.json()["job"] is not None
    run = finished(ReportRun.objects.get(pk=answer.json()["id"]))
    rows = asker.get(f"/api/v1/reports/artifacts/?run={run.pk}").json()["results"]
    files = {row["format"]: asker.get(f"/api/v1/reports/artifacts/{row['id']}/download/") for row in rows}
    assert set(files) == {"csv", "pdf"}
    assert b"".join(files["csv"].streaming_content).startswith(b"\xef\xbb\xbfcampus,section,grade_level,students")
    assert b"".join(files["pdf"].streaming_content).startswith(b"%PDF")


def test_a_day_left_out_is_today(cast: casting.Cast) -> None:
    answer = as_person(cast.institution, cast.principal).post(RUNS, {"definition": str(enrolment_report().pk)})
    assert answer.status_code == 201, answer.content
    assert answer.json()["on"] == local_date().isoformat()


def test_nobody_downloads_without_the_permission(cast: casting.Cast) -> None:
    run = finished(request(cast.principal))
    artifact = run.artifacts.first()
    address = f"/api/v1/reports/artifacts/{artifact.pk}/download/"
    assert as_person(cast.institution, cast.principal).get(address).status_code == 200
    assert as_person(cast.institution, cast.teacher).get(address).status_code == 403


def _principal(person: casting.Person) -> Any:
    return services.principal_for_user(person.user_id)


def narrow(cast: casting.Cast) -> None:
    """The principal's role reaches one campus from now on."""
    UserRole.objects.filter(user=cast.principal.user_id).update(scope=Scope.CAMPUS, scope_id=cast.id("campus"))


def test_a_campus_office_reports_its_campus_and_a_teacher_nothing(cast: casting.Cast) -> None:
    report = enrolment_report()
    assert campuses_of(_principal(cast.principal), report) is None
    narrow(cast)
    assert campuses_of(_principal(cast.principal), report) == {cast.id("campus")}
    with pytest.raises(Forbidden):
        campuses_of(_principal(cast.teacher), report)


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


COUNTS = Enrolments(
    grades=[GradeRow("Grade 5", 3, 1)],
    sections=[SectionRow("Main", title, "Grade 5", 3, 30) for title in ODD],
    campuses={"Main": 3},
)


def pdf(counts: Enrolments = COUNTS, name: str = "Green #wood $") -> bytes:
    return writing.as_pdf(counts, institution=name, title="Enrolment", on=DAY)


def test_names_that_look_like_markup_come_out_as_they_are() -> None:
    text = PdfReader(io.BytesIO(pdf())).pages[0].extract_text()
    for title in (*ODD, "Green #wood $"):
        assert title in text
    assert "1 / 1" in text


def test_the_same_counts_give_the_same_bytes() -> None:
    assert pdf() == pdf()


def test_a_pdf_is_tagged_and_claims_pdf_ua_unless_a_sign_is_lacking() -> None:
    lacking = Enrolments(COUNTS.grades, [SectionRow("Main", "李小龍", "", 1, None)], COUNTS.campuses)
    claims = []
    for made in (pdf(), pdf(lacking)):
        root: Any = PdfReader(io.BytesIO(made)).trailer["/Root"]
        assert root["/MarkInfo"]["/Marked"]
        claims.append(b"pdfuaid" in root["/Metadata"].get_object().get_data())
    assert claims == [True, False]


def test_no_cell_of_the_csv_is_a_formula() -> None:
    lines = writing.as_csv(COUNTS).decode("utf-8-sig").splitlines()
    assert lines[3] == "Main,'=1+1,Grade 5,3,30"
