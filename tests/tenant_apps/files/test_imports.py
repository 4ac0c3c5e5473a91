"""Imports: what a registrar sends, and what is said of it."""

import csv
import io
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from openpyxl import Workbook, load_workbook

from shared_apps.core.api.admission import forget_authorisations
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.permissions import Scope
from shared_apps.core.tables import grids
from tenant_apps.accounts.models import RolePermission, UserRole
from tenant_apps.eventlog import jobs
from tenant_apps.files import tables
from tenant_apps.files.models import StoredFile
from tenant_apps.school.models import Campus, GradeLevel, Student
from tests import cast as casting
from tests.api import Asker, as_person
from tests.tenant_apps.files.sending import SameConnection, bring, content, saved, send, workbook

CAMPUSES, STUDENTS, GRADES = (
    f"/api/v1/school/{name}/import/" for name in ("campuses", "students", "grade-levels")
)  # fmt: skip


@pytest.fixture
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def principal(db: None, greenwood: InstitutionContext, media: Path, monkeypatch: pytest.MonkeyPatch) -> Asker:
    monkeypatch.setattr(jobs, "SecondConnection", SameConnection)
    monkeypatch.setattr(tables, "SecondConnection", SameConnection)
    return as_person(greenwood, casting.of(greenwood).principal)


def table(*rows: str) -> bytes:
    return "\r\n".join(rows).encode()


def errors(told: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(error["row"], error["column"], error["code"]) for error in told["result"]["errors"]]


def test_a_table_adds_and_changes_and_a_dry_run_does_neither(
    principal: Asker, greenwood: InstitutionContext, media: Path
) -> None:
    sent = table("Code;NAME;Remarks;country", "MAIN;Main campus;x;", "NEW;Nouveau;y;FR")
    dry = bring(principal, greenwood, CAMPUSES, sent, dry_run="true")
    assert dry["result"]["counts"] == {"rows": 2, "created": 1, "changed": 0, "unchanged": 1, "refused": 0}
    assert [row["record"]["code"] for row in dry["result"]["preview"]] == ["MAIN", "NEW"]
    assert [(w["column"], w["code"]) for w in dry["result"]["warnings"]] == [("Remarks", "unknown")]
    with institution(greenwood):
        assert Campus.objects.count() == 1
    told = bring(principal, greenwood, CAMPUSES, sent.replace(b"Main campus", b"Renamed"))
    assert (told["result"]["counts"]["created"], told["result"]["counts"]["changed"]) == (1, 1)
    with institution(greenwood):
        assert set(Campus.objects.values_list("code", "name")) == {("MAIN", "Renamed"), ("NEW", "Nouveau")}
        assert not StoredFile.objects.exists()
    assert [path for path in media.rglob("*") if path.is_file()] == []


def test_all_or_nothing_keeps_nothing_and_valid_rows_only_keeps_the_good(
    principal: Asker, greenwood: InstitutionContext
) -> None:
    sent = table("code,name,country,email", "A,Good,,", "B,,,", "C,Bad,FRANCE,no mail", "A,Again,,", "D,=1+1,,")
    told = bring(principal, greenwood, CAMPUSES, sent)
    assert (told["state"], told["errors"][0]["code"]) == ("failed", "rows_refused")
    assert {row for row, _, _ in errors(told)} == {3, 4, 5}, errors(told)
    with institution(greenwood):
        assert Campus.objects.count() == 1
    told = bring(principal, greenwood, CAMPUSES, sent, mode="valid_rows_only")
    assert told["state"] == "succeeded"
    assert told["result"]["counts"] == {"rows": 5, "created": 2, "changed": 0, "unchanged": 0, "refused": 3}
    file = content(principal.get(told["result"]["error_file"])).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(file, newline="")))
    assert rows[0] == ["row", "code", "name", "country", "email", "error"]
    assert [row[0] for row in rows[1:]] == ["3", "4", "5"]
    assert all(row[-1] for row in rows[1:])


def test_references_dates_and_texts_of_a_sheet(principal: Asker, greenwood: InstitutionContext) -> None:
    campus = str(casting.of(greenwood).id("campus"))
    sent = workbook(
        ["student number", "given_name", "family_name", "campus", "grade_level", "birth_date", "joined_on"],
        ["007", "Ann", "One", "MAIN", "G5", date(2014, 5, 6), 45000],
        [1042, "Bob", "Two", campus, None, datetime(2014, 5, 6), "2023-03-15"],
    )
    told = bring(principal, greenwood, STUDENTS, sent, name="s.xlsx")
    assert told["state"] == "succeeded", told
    with institution(greenwood):
        ann, bob = (Student.objects.get(student_number=number) for number in ("007", "1042"))
        assert (ann.birth_date, ann.joined_on, ann.grade_level.code) == (date(2014, 5, 6), date(2023, 3, 15), "G5")
        assert (bob.birth_date, bob.campus_id, bob.grade_level) == (date(2014, 5, 6), ann.campus_id, None)
        assert bob.statuses.count() == 1, "the room's own way of registering a student was taken"
    assert [(w["row"], w["code"]) for w in told["result"]["warnings"]] == [(3, "number_in_text")]


@pytest.mark.parametrize(
    ("cell", "form", "wanted"),
    [
        ("2014-05-06", "YYYY-MM-DD", date(2014, 5, 6)),
        ("06.05.2014", "DD.MM.YYYY", date(2014, 5, 6)),
        ("5/6/2014", "MM/DD/YYYY", date(2014, 5, 6)),
        ("2014-05-06", "DD.MM.YYYY", date(2014, 5, 6)),
        ("06.05.2014", "YYYY-MM-DD", None),
        ("13/13/2014", "MM/DD/YYYY", None),
        ("2014-02-30", "YYYY-MM-DD", None),
    ],
)
def test_dates_are_read_as_declared_and_never_guessed(
    principal: Asker, greenwood: InstitutionContext, cell: str, form: str, wanted: date | None
) -> None:
    sent = table("student_number,birth_date", f"S0,{cell}")
    told = bring(principal, greenwood, STUDENTS, sent, date_format=form)
    if wanted is None:
        assert errors(told) == [(2, "birth_date", "bad_date")]
    else:
        with institution(greenwood):
            assert Student.objects.get(student_number="S0").birth_date == wanted


@pytest.mark.parametrize(
    ("encoding", "warned"), [("utf-8", False), ("utf-8-sig", False), ("utf-16", False), ("cp1252", True)]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_separators_of_spreadsheets(
    principal: Asker, greenwood: InstitutionContext, encoding: str, warned: bool, delimiter: str
) -> None:
    sent = (
        delimiter.join(("code", "name"))
        + "\r\n"
        + delimiter.join(("Z", "Zürich, Süd; Œ" if delimiter == "\t" else "Zürich Œ"))
    )
    told = bring(principal, greenwood, CAMPUSES, sent.encode(encoding), dry_run="true")
    assert told["result"]["preview"][0]["record"]["name"].startswith("Zürich"), told
    assert ("guessed_encoding" in {w["code"] for w in told["result"]["warnings"]}) is warned


def zipped(**parts: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return out.getvalue()


def merged() -> bytes:
    book = Workbook()
    book.active.append(["code", "name"])
    book.active.append(["A", "B"])
    book.active.merge_cells("A2:A3")
    return saved(book)


def two_sheets() -> bytes:
    book = Workbook()
    book.active.append(["x"])
    return workbook(["code", "name"], ["A", "B"], title="Second", book=book)


BAD_FILES = {
    "a name twice": (table("code,name,code", "A,B,C"), "duplicate_header"),
    "a field twice": (table("code,name,Na me", "A,B,C"), "ambiguous_columns"),
    "no name": (table("code,,name", "A,B,C"), "empty_header"),
    "no known column": (table("x,y", "1,2"), "no_columns"),
    "an open quote": (table("code,name", 'A,"B', "C,D"), "bad_csv"),
    "a zip": (zipped(**{"a.txt": b"x"}), "not_a_table"),
    "half a workbook": (workbook(["code"], ["A"])[:-200], "damaged_workbook"),
    "a hollow workbook": (zipped(**{"[Content_Types].xml": b"<x/>"}), "damaged_workbook"),
    "a formula": (workbook(["code", "name"], ["A", "=1+1"]), "formula"),
    "merged cells": (merged(), "merged"),
    "two sheets": (two_sheets(), "several_sheets"),
    "nothing in it": (workbook([None]), "empty_file"),
}


@pytest.mark.parametrize(("sent", "code"), BAD_FILES.values(), ids=list(BAD_FILES))
def test_a_file_that_cannot_be_read_says_why(
    principal: Asker, greenwood: InstitutionContext, sent: bytes, code: str, media: Path
) -> None:
    told = bring(principal, greenwood, CAMPUSES, sent)
    assert told["state"] == "failed"
    assert [error["code"] for error in told["errors"]] == [code], told["errors"]
    assert len(told["errors"][0]["detail"]) > 20
    assert [path for path in media.rglob("*") if path.is_file()] == [], "the upload goes once the job has failed"


REFUSED_AT_ONCE = {
    "an old workbook": (grids.OLE2 + b"x" * 600, {}, 400, "old_workbook"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00", {}, 400, "not_a_table"),
    "nothing": (b"", {}, 400, "empty_file"),
    "a bad option": (b"code\nA", {"dry_run": "maybe"}, 400, "bad_dry_run"),
    "an unknown option": (b"code\nA", {"dryrun": "true"}, 400, "unknown_field"),
    "a bad mapping": (b"code\nA", {"mapping": "[1]"}, 400, "bad_mapping"),
    "a bad mode": (b"code\nA", {"mode": "some"}, 400, "bad_mode"),
    "too much": (b"code\n" + b"A" * 3000, {}, 413, "too_large"),
}


@pytest.mark.parametrize(("sent", "form", "status", "code"), REFUSED_AT_ONCE.values(), ids=list(REFUSED_AT_ONCE))
def test_a_bad_form_is_refused_at_once_and_leaves_nothing(
    principal: Asker, settings: Any, media: Path, sent: bytes, form: dict[str, str], status: int, code: str
) -> None:
    settings.TABLE_UPLOAD_MAX_BYTES = 2048
    answer = send(principal, CAMPUSES, sent, **form)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    assert [path for path in media.rglob("*") if path.is_file()] == []


def test_a_form_with_no_file_or_two_is_refused(principal: Asker, media: Path) -> None:
    assert principal.post(CAMPUSES, {}).status_code == 415
    one = io.BytesIO(b"code\nA")
    one.name = "a.csv"
    two = send(principal, CAMPUSES, b"code\nA", other=one)
    assert two.json()["code"] == "unknown_field"
    assert [path for path in media.rglob("*") if path.is_file()] == []


def test_two_files_of_one_name_are_refused(principal: Asker, media: Path) -> None:
    files = [SimpleUploadedFile(f"{name}.csv", b"code,name\r\nA,B") for name in "ab"]
    answer = principal.ask(
        "POST", CAMPUSES, encode_multipart(BOUNDARY, {"file": files}), CONTENT_TYPE=MULTIPART_CONTENT
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "two_files"), answer.content
    assert [path for path in media.rglob("*") if path.is_file()] == []


def test_a_workbook_with_a_password_says_so(principal: Asker, media: Path) -> None:
    # MS-OFFCRYPTO: an OLE2 file with a stream whose name is written in UTF-16.
    locked = grids.OLE2 + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(600)
    answer = send(principal, CAMPUSES, locked, name="locked.xlsx")
    assert (answer.status_code, answer.json()["code"]) == (400, "old_workbook"), answer.content
    assert "password" in answer.json()["detail"]


def test_a_hidden_sheet_is_passed_over_and_named(principal: Asker, greenwood: InstitutionContext) -> None:
    book = Workbook()
    book.active.title = "Drafts"
    book.active.append(["code", "name"])
    book.active.append(["H", "Hidden"])
    book.active.sheet_state = "hidden"
    told = bring(principal, greenwood, CAMPUSES, workbook(["code", "name"], ["V", "Visible"], book=book))
    assert [(w["code"], "Drafts" in w["detail"]) for w in told["result"]["warnings"]] == [("hidden_sheet", True)]
    with institution(greenwood):
        assert Campus.objects.filter(code="V").exists()
        assert not Campus.objects.filter(code="H").exists()
    named = bring(
        principal, greenwood, CAMPUSES, workbook(["code", "name"], ["W", "x"], book=book, title="B"), sheet="Drafts"
    )
    assert named["result"]["counts"]["created"] == 1, "who names it means it"


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    principal: Asker, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids, "MOST_UNZIPPED", 1_000_000)
    bomb = zipped(**{"[Content_Types].xml": b"<x/>", "xl/worksheets/sheet1.xml": b"0" * 2_000_000})
    assert len(bomb) < 10_000
    assert bring(principal, greenwood, CAMPUSES, bomb)["errors"][0]["code"] == "too_large_unpacked"


def test_too_many_rows_are_refused(
    principal: Asker, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids, "MOST_ROWS", 3)
    sent = table("code,name", *(f"C{number},x" for number in range(4)))
    assert bring(principal, greenwood, CAMPUSES, sent)["errors"][0]["code"] == "too_many_rows"


def test_the_first_thousand_errors_are_shown_and_all_are_in_the_file(
    principal: Asker, greenwood: InstitutionContext
) -> None:
    sent = table("code,name", *(f"C{number}," for number in range(1_200)))
    told = bring(principal, greenwood, CAMPUSES, sent, dry_run="true")
    assert (told["state"], told["result"]["counts"]["refused"]) == ("succeeded", 1_200)
    assert len(told["result"]["errors"]) == 1_000
    assert content(principal.get(told["result"]["error_file"])).count(b"\r\n") == 1_201


def test_a_control_character_and_a_wrong_cell_are_named(principal: Asker, greenwood: InstitutionContext) -> None:
    sent = table("code,name,position", "A\x07,x,1", "B,x,1.5", "C,x,1,2")
    told = bring(principal, greenwood, GRADES, sent)
    assert errors(told) == [
        (2, "code", "control_character"), (3, "position", "bad_integer"), (4, None, "too_many_cells"),
    ]  # fmt: skip


def test_columns_are_named_by_the_mapping(principal: Asker, greenwood: InstitutionContext) -> None:
    sent = table("Kürzel,Bezeichnung,name", "K,Klein,ignored")
    mapping = '{"Kürzel": "code", "Bezeichnung": "name", "name": ""}'
    assert bring(principal, greenwood, CAMPUSES, sent, mapping=mapping)["result"]["counts"]["created"] == 1
    for wrong, code in (('{"Kurzel": "code"}', "no_such_column"), ('{"Kürzel": "kode"}', "no_such_field")):
        assert bring(principal, greenwood, CAMPUSES, sent, mapping=wrong)["errors"][0]["code"] == code


def test_the_template_can_be_filled_in_and_sent(principal: Asker, greenwood: InstitutionContext) -> None:
    text = content(principal.get(f"{GRADES}template/?format=csv")).decode("utf-8-sig")
    assert text.splitlines()[0] == "id,code,name,position"
    told = bring(principal, greenwood, GRADES, f"{text},G7,Grade 7,7\r\n".encode())
    assert told["result"]["counts"]["created"] == 1, told
    book = load_workbook(io.BytesIO(content(principal.get(f"{GRADES}template/?format=xlsx"))))
    book.active.append([None, "G8", "Grade 8", 8])
    told = bring(principal, greenwood, GRADES, saved(book), name="g.xlsx")
    assert told["result"]["counts"]["created"] == 1, told
    with institution(greenwood):
        assert GradeLevel.objects.filter(code__in=("G7", "G8")).count() == 2


def limit_to_campus(context: InstitutionContext, campus_id: Any) -> None:
    with institution(context):
        held = UserRole.objects.filter(user_id=casting.of(context).principal.user_id)
        held.update(scope=Scope.CAMPUS, scope_id=campus_id)


def test_no_row_passes_the_writers_scope(principal: Asker, greenwood: InstitutionContext) -> None:
    cast = casting.of(greenwood)
    with institution(greenwood):
        other = Campus.objects.create(code="EAST", name="East")
        Student.objects.filter(pk=cast.id("ben")).update(campus=other)
    limit_to_campus(greenwood, cast.id("campus"))
    sent = table(
        "student_number,given_name,family_name,campus",
        "N1,New,Here,MAIN", "N2,New,There,EAST", "S1,Not,Mine,EAST", "S0,Move,Away,EAST", "S2,My,Own,MAIN",
    )  # fmt: skip
    told = bring(principal, greenwood, STUDENTS, sent, mode="valid_rows_only")
    assert errors(told) == [(row, None, "outside_scope") for row in (3, 4, 5)], told["result"]
    with institution(greenwood):
        assert set(Student.objects.filter(student_number__startswith="N").values_list("student_number", flat=True)) == {
            "N1"
        }
        assert Student.objects.get(student_number="S0").campus.code == "MAIN"


def test_to_import_alone_is_not_to_add_or_to_change(principal: Asker, greenwood: InstitutionContext) -> None:
    with institution(greenwood):
        RolePermission.objects.filter(code__in=("school.add_campus", "school.change_campus")).delete()
    told = bring(principal, greenwood, CAMPUSES, table("code,name", "MAIN,Other", "NEW,New"))
    assert {code for _, _, code in errors(told)} == {"permission_missing"}
    with institution(greenwood):
        RolePermission.objects.filter(code="school.import_campus").delete()
        forget_authorisations(None)
    assert send(principal, CAMPUSES, table("code,name", "NEW,New")).status_code == 403


def test_only_the_office_imports(db: None, greenwood: InstitutionContext, media: Path) -> None:
    for role in ("teacher", "guardian", "student"):
        person = as_person(greenwood, getattr(casting.of(greenwood), role))
        assert send(person, CAMPUSES, b"code\nA").status_code == 403
        assert person.get(f"{CAMPUSES}template/").status_code == 403


def test_a_long_dry_run_finds_what_the_import_would_find(principal: Asker, greenwood: InstitutionContext) -> None:
    good = [f"N{number},Given,Family,MAIN,2014-01-01,A{number}" for number in range(600)]
    good[300], good[400], good[500] = (
        "N10,Twice,Within,MAIN,,", "M1,Bad,Campus,NOWHERE,,", "M2,Bad,Id,MAIN,,A7",
    )  # fmt: skip
    sent = table("student_number,given_name,family_name,campus,birth_date,sourced_id", *good)
    dry = bring(principal, greenwood, STUDENTS, sent, dry_run="true")
    assert errors(dry) == [
        (302, None, "duplicate_row"), (402, "campus", "does_not_exist"), (502, "sourced_id", "unique"),
    ], errors(dry)  # fmt: skip
    assert dry["result"]["counts"] == {"rows": 600, "created": 597, "changed": 0, "unchanged": 0, "refused": 3}
    with institution(greenwood):
        assert Student.objects.count() == 6
    told = bring(principal, greenwood, STUDENTS, sent, mode="valid_rows_only")
    assert errors(told) == errors(dry)
    assert told["result"]["counts"] == dry["result"]["counts"]


def test_an_upload_that_is_sent_twice_under_a_key_is_one_job(principal: Asker) -> None:
    file = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile("c.csv", table("code,name", "K,Key"))})

    def sent(body: bytes, **more: str) -> HttpResponse:
        return principal.ask("POST", CAMPUSES, body, CONTENT_TYPE=MULTIPART_CONTENT, **more)

    first, again = (sent(file, HTTP_IDEMPOTENCY_KEY="upload-1") for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert again["Idempotency-Replayed"] == "true"
    other = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile("c.csv", table("code,name", "K,Other"))})
    assert sent(other, HTTP_IDEMPOTENCY_KEY="upload-1").status_code == 422
    assert sent(file).json() != first.json(), "negative control: without the key it is another job"
