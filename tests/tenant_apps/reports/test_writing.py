"""A report's files: the same counts are the same bytes, and a name is never markup, code or a formula."""

import io
from typing import Any

from pypdf import PdfReader

from tenant_apps.reports import writing
from tenant_apps.reports.enrolment import Enrolments, GradeRow, SectionRow
from tests.tenant_apps.reports.running import DAY

ODD = ('#import "x": *', "$ x^2 $ @foo \\ *bold*", "=1+1", "Łukasz Ωμέγα")
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
