"""Exports of many rows: a worker writes them with the rights that the person has by then."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.tables import views
from tenant_apps.accounts.models import RolePermission
from tenant_apps.eventlog import jobs
from tenant_apps.eventlog.models import Job
from tenant_apps.files import tables
from tenant_apps.files.models import StoredFile
from tenant_apps.school.models import Campus, Student
from tests import cast as casting
from tests.api import Asker, as_person

STUDENTS = "/api/v1/school/students/export/"


@pytest.fixture
def principal(transactional_db: None, greenwood: InstitutionContext, settings: Any, tmp_path: Path) -> Asker:
    settings.MEDIA_ROOT = tmp_path
    return as_person(greenwood, casting.of(greenwood).principal)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MOST_AT_ONCE", 3)


def content(answer: Any) -> bytes:
    return answer.getvalue()


def test_many_rows_are_a_job_whose_result_names_the_file(
    principal: Asker, few: None, greenwood: InstitutionContext
) -> None:
    answer = principal.get(f"{STUDENTS}?format=csv&ordering=-student_number&fields=student_number,campus")
    assert answer.status_code == 202
    assert answer["Location"] == f"/api/v1/jobs/{answer.json()['job']}/"
    with institution(greenwood):
        jobs.run(answer.json()["job"])
    job = principal.get(answer["Location"]).json()
    assert (job["state"], job["result"]["rows"]) == ("succeeded", 6)
    rows = list(csv.reader(io.StringIO(content(principal.get(job["result"]["file"])).decode("utf-8-sig"))))
    assert rows[0] == ["id", "student_number", "campus"]
    assert [row[1:] for row in rows[1:]] == [[f"S{number}", "MAIN"] for number in (5, 4, 3, 2, 1, 0)]


def test_who_has_lost_the_right_by_then_gets_no_file(
    principal: Asker, few: None, greenwood: InstitutionContext
) -> None:
    job = principal.get(STUDENTS).json()["job"]
    with institution(greenwood):
        RolePermission.objects.filter(code="school.export_student").delete()
        jobs.run(job)
        assert not StoredFile.objects.exists()
    ended = principal.get(f"/api/v1/jobs/{job}/").json()
    assert (ended["state"], ended["errors"][0]["code"]) == ("failed", "permission_missing")


def test_one_person_has_a_few_at_a_time(principal: Asker, few: None) -> None:
    for _ in range(tables.MOST_OPEN):
        assert principal.get(STUDENTS).status_code == 202
    refused = principal.get(STUDENTS)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_jobs")
    assert refused["Retry-After"]


def test_to_ask_for_the_head_starts_no_job(principal: Asker, few: None, greenwood: InstitutionContext) -> None:
    assert principal.ask("HEAD", STUDENTS).status_code == 200
    with institution(greenwood):
        assert not Job.objects.exists()


def test_a_cell_is_never_a_formula(principal: Asker, greenwood: InstitutionContext) -> None:
    cast = casting.of(greenwood)
    evil = {"given_name": "=1+1", "family_name": "@SUM(A1)", "pronouns": "#REF!", "birth_place": "a\x07b_x0041_"}
    with institution(greenwood):
        Student.objects.filter(pk=cast.id("ada")).update(**evil)
        Campus.objects.update(code="-2+3")
    one = f"{STUDENTS}?student_number=S0&fields={','.join(evil)},campus&format="
    row = next(csv.DictReader(io.StringIO(content(principal.get(f"{one}csv")).decode("utf-8-sig"), newline="")))
    shown = (row["given_name"], row["family_name"], row["pronouns"], row["campus"])
    assert shown == ("'=1+1", "'@SUM(A1)", "#REF!", "'-2+3")
    cells = next(load_workbook(io.BytesIO(content(principal.get(f"{one}xlsx")))).active.iter_rows(min_row=2))
    assert {cell.data_type for cell in cells} == {"s"}
    assert "=1+1" in {cell.value for cell in cells}


def test_an_export_sees_no_other_institution(
    principal: Asker, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    with institution(lumiere):
        Student.objects.update(family_name="Elsewhere")
    text = content(principal.get(STUDENTS))
    assert b"Reed0" in text
    assert b"Elsewhere" not in text
