"""Runs over every resource: what may be exported by whom, and that it is what the list shows."""

import csv
import io
from typing import Any

import pytest
from django.http import HttpResponse
from openpyxl import load_workbook

from shared_apps.core.context import InstitutionContext
from shared_apps.core.tables.exporting import parameters_of
from tests import cast as casting
from tests.api import Asker, as_person, nobody
from tests.contract.rights import EXPORTS, RIGHTS
from tests.contract.test_resources import ROLES, Resource, every_resource

OWN = ("/api/v1/jobs/", "/api/v1/communication/notifications/")


@pytest.fixture
def askers(db: None, greenwood: InstitutionContext) -> dict[str, Asker]:
    cast = casting.of(greenwood)
    return {role: as_person(greenwood, getattr(cast, role)) for role in ROLES}


def content(answer: HttpResponse) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]


def rows_of(answer: HttpResponse) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content(answer).decode("utf-8-sig"), newline="")))


def test_the_table_of_exports_names_served_resources_only() -> None:
    assert set(EXPORTS) <= set(RIGHTS)


@every_resource
def test_each_role_may_export_what_the_table_says(path: str, resource: Resource, askers: dict[str, Asker]) -> None:
    for role, asker in askers.items():
        answer = asker.get(f"{path}export/?format=csv")
        allowed = role in EXPORTS.get(path, ())
        assert answer.status_code == (200 if allowed else 403), (role, content(answer))
    assert nobody(casting_of(askers)).get(f"{path}export/").status_code == 401


def casting_of(askers: dict[str, Asker]) -> Any:
    class Here:
        slug = askers["principal"].host.partition(".")[0]

    return Here


@every_resource
@pytest.mark.parametrize("role", ["principal", "teacher"])
def test_an_export_holds_the_rows_of_the_list_in_both_formats(
    path: str, resource: Resource, askers: dict[str, Asker], role: str
) -> None:
    if role not in EXPORTS.get(path, ()):
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
