"""What an institution exports it can import: nothing changes, and in emptied tables everything comes back."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.academics.models import Course, Enrolment, Section, SectionTeacher, SectionTerm, Subject
from tenant_apps.school.models import (
    AcademicYear,
    Campus,
    Department,
    GradeLevel,
    Guardian,
    Room,
    Staff,
    Student,
    StudentGuardian,
    Term,
)
from tests import cast as casting
from tests.api import Asker, as_person
from tests.contract.served import SERVED
from tests.tenant_apps.files.sending import bring, content

ORDER = (
    "school/campuses", "school/rooms", "school/grade-levels", "school/academic-years", "school/terms",
    "school/students", "school/guardians", "school/staff", "school/departments",
    "school/student-guardians", "academics/subjects", "academics/courses", "academics/sections", "academics/enrolments",
)  # fmt: skip
CHILDREN_FIRST = (
    Department, SectionTeacher, SectionTerm, Enrolment, Section, Course, Subject, StudentGuardian, Guardian, Student,
    Staff, Term, AcademicYear, Room, GradeLevel, Campus,
)  # fmt: skip
STAMPS = {"created_at", "updated_at"}


@pytest.fixture
def principal(transactional_db: None, greenwood: InstitutionContext, settings: Any, tmp_path: Path) -> Asker:
    settings.MEDIA_ROOT = tmp_path
    with institution(greenwood):
        Student.objects.filter(student_number="S1").update(
            given_name="=cmd|' /C calc'!A0", middle_name="'=kept", family_name='Quote "and", comma', email="b@x.test"
        )
        Student.objects.filter(student_number="S2").update(student_number="0042", pronouns="-/-")
    return as_person(greenwood, casting.of(greenwood).principal)


def without_stamps(table: bytes) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(table.decode("utf-8-sig"), newline=""))
    return [{name: value for name, value in row.items() if name not in STAMPS} for row in rows]


def test_every_importable_resource_is_named_here() -> None:
    assert {f"/api/v1/{name}/" for name in ORDER} == {path for path, found in SERVED.items() if found.importable}


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_an_export_imports_as_nothing_and_into_emptied_tables_as_everything(
    principal: Asker, greenwood: InstitutionContext, form: str
) -> None:
    tables = {name: content(principal.get(f"/api/v1/{name}/export/?format={form}")) for name in ORDER}
    before = {name: without_stamps(content(principal.get(f"/api/v1/{name}/export/"))) for name in ORDER}
    for name, table in tables.items():
        told = bring(principal, greenwood, f"/api/v1/{name}/import/", table, name=f"t.{form}", dry_run="true")
        rows = len(before[name])
        assert told["state"] == "succeeded", (name, told["errors"])
        assert told["result"]["errors"] == [], name
        assert told["result"]["counts"] == {
            "rows": rows, "created": 0, "changed": 0, "unchanged": rows, "refused": 0,
        }, name  # fmt: skip
    with institution(greenwood):
        for model in CHILDREN_FIRST:
            model.objects.all().delete()
    for name, table in tables.items():
        told = bring(principal, greenwood, f"/api/v1/{name}/import/", table, name=f"t.{form}")
        assert told["state"] == "succeeded", (name, told["errors"])
        assert told["result"]["counts"]["created"] == len(before[name]), name
    after = {name: without_stamps(content(principal.get(f"/api/v1/{name}/export/"))) for name in ORDER}
    assert after == before
