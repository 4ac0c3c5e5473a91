"""Runs over every resource: what is exported is what the list shows."""

import csv
import io

import pytest
from django.http import HttpResponse
from openpyxl import load_workbook

from shared_apps.core.context import InstitutionContext
from shared_apps.core.tables.exporting import parameters_of
from tests import cast as casting
from tests.api import Asker, as_person
from tests.contract.rights import may
from tests.contract.served import Resource, every_resource

ROLES = ("principal", "teacher")


@pytest.fixture
def askers(db: None, greenwood: InstitutionContext) -> dict[str, Asker]:
    cast = casting.of(greenwood)
    return {role: as_person(greenwood, getattr(cast, role)) for role in ROLES}


def content(answer: HttpResponse) -> bytes:
    return answer.getvalue()


def rows_of(answer: HttpResponse) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content(answer).decode("utf-8-sig"), newline="")))


@every_resource
@pytest.mark.parametrize("role", ROLES)
def test_an_export_holds_the_rows_of_the_list_in_both_formats(
    path: str, resource: Resource, askers: dict[str, Asker], role: str
) -> None:
    if not may(role, path, "export"):
        return
    page = askers[role].get(f"{path}?page_size=200").json()
    listed = page["results"]
    while page["next"]:
        page = askers[role].get(page["next"].partition("localhost")[2]).json()
        listed += page["results"]
    rows = rows_of(askers[role].get(f"{path}export/?format=csv"))
    assert [row["id"] for row in rows] == [row["id"] for row in listed]
    answer = askers[role].get(f"{path}export/?format=xlsx")
    book = load_workbook(io.BytesIO(content(answer)))
    sheet = book.active
    cells = list(sheet.iter_rows(values_only=True))
    assert cells[0] == resource.all_fields
    assert [row[0] for row in cells[1:]] == [row["id"] for row in listed]
    assert sheet.freeze_panes == "A2"
    assert {cell.data_type for line in sheet.iter_rows() for cell in line} <= {"s", "n", "d", "b", "inlineStr"}


@every_resource
def test_an_export_takes_the_lists_parameters_and_no_others(
    path: str, resource: Resource, askers: dict[str, Asker]
) -> None:
    principal, last = askers["principal"], resource.all_fields[-1]
    assert set(rows_of(principal.get(f"{path}export/?fields={last}"))[0] if rows_of(principal.get(f"{path}export/"))
               else {"id", last}) == {"id", last}  # fmt: skip
    for query in (
        "format=pdf",
        "format=",
        "nonsense=1",
        "page=1",
        "page_size=5",
        "count=true",
        "format=csv&format=csv",
    ):
        answer = principal.get(f"{path}export/?{query}")
        assert answer.status_code == 400, query
        assert answer.json()["errors"][0]["pointer"].startswith("?")
    assert principal.post(f"{path}export/").status_code == 405
    head = principal.ask("HEAD", f"{path}export/?format=xlsx")
    assert (head.status_code, content(head)) == (200, b"")
    assert "format" in parameters_of(resource)
