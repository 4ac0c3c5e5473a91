"""A report's files: the same counts are the same bytes, and a name is never markup, code or a formula."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import rest_framework
from pypdf import PdfReader

from tenant_apps.reports import writing
from tenant_apps.reports.enrolment import Enrolments, GradeRow, SectionRow
from tests.tenant_apps.reports.running import DAY

LONG_WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
ODD = ('#import "x": *', "$ x^2 $ @foo \\ *bold*", "=1+1", "Łukasz Ωμέγα")
COUNTS = Enrolments(
    grades=[GradeRow("Grade 5", 3, 1)],
    sections=[SectionRow("Main", title, "Grade 5", 3, 30) for title in ODD],
    campuses={"Main": 3},
)


def pdf(counts: Enrolments = COUNTS, name: str = "Green #wood $", campuses: Sequence[str] | None = None) -> bytes:
    return writing.as_pdf(counts, institution=name, title="Enrolment", on=DAY, campuses=campuses)


def pages(made: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(made)).pages]


def test_names_that_look_like_markup_come_out_as_they_are() -> None:
    (text,) = pages(pdf())
    for title in (*ODD, "Green #wood $"):
        assert title in text
    assert "1 / 1" in text


def test_the_same_counts_give_the_same_bytes() -> None:
    assert pdf() == pdf()


def claims_ua(made: bytes) -> bool:
    root: Any = PdfReader(io.BytesIO(made)).trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    return b"pdfuaid" in root["/Metadata"].get_object().get_data()


def in_a_section(title: str) -> Enrolments:
    return Enrolments(COUNTS.grades, [SectionRow("Main", title, "", 1, None)], COUNTS.campuses)


@pytest.mark.parametrize(
    ("title", "claims"),
    [
        ("Łukasz Ωμέγα Ярослав", True),
        ("مدرسة כיתה गणित", True),
        (LONG_WORD, True),
        ("李小龍", False),
        ("ภาษาไทย", False),
    ],
)
def test_a_pdf_is_tagged_and_claims_pdf_ua_unless_a_sign_is_lacking(title: str, claims: bool) -> None:
    assert claims_ua(pdf(in_a_section(title))) is claims


def test_a_folder_of_fonts_brings_the_signs_that_lack(settings: Any) -> None:
    """The icons of a library of ours stand for a script: no font of typst has them."""
    icons = in_a_section("\uf0a1 \uf013")
    assert not claims_ua(pdf(icons))
    settings.REPORT_FONTS = str(Path(rest_framework.__file__).parent / "static" / "rest_framework" / "fonts")
    with_fonts = pdf(icons)
    assert claims_ua(with_fonts)
    assert with_fonts == pdf(icons)
    fonts = {name for page in PdfReader(io.BytesIO(with_fonts)).pages for name in fonts_of(page)}
    assert any("FontAwesome" in name for name in fonts), fonts


def fonts_of(page: Any) -> list[str]:
    return [font.get_object()["/BaseFont"] for font in page["/Resources"]["/Font"].values()]


def test_a_word_that_no_column_could_hold_is_broken_and_any_other_is_not() -> None:
    """Else it would run over the grade level beside it."""
    (text,) = pages(pdf(in_a_section(f"{LONG_WORD} Ernährungswissenschaften")))
    lines = text.replace("\u200b", "").splitlines()
    assert not any(LONG_WORD in line for line in lines)
    assert any("Ernährungswissenschaften" in line for line in lines)


def test_a_table_over_several_pages_repeats_its_header_and_ends_in_its_total() -> None:
    rows = [SectionRow("Main", f"Section {number}", "Grade 5", 20, 30) for number in range(90)]
    found = pages(pdf(Enrolments([GradeRow("Grade 5", 1795, 7), GradeRow("", 5, 5)], rows, {"Main": 1788}), "Lycée"))
    assert len(found) == 3
    for number, text in enumerate(found, start=1):
        assert "Places in the room" in text
        assert "Lycée" in text
        assert f"{number} / 3" in text
    assert "1800" in found[0], "the total of the grade levels"
    assert "No grade level" in found[0]
    assert "Different students" in found[-1]
    assert "1788" in found[-1]


def test_nobody_is_a_sentence_and_not_an_empty_table() -> None:
    (text,) = pages(pdf(Enrolments([], [], {})))
    assert "Nobody is enrolled on this day." in text
    assert "Grade level" not in text


def test_a_narrowed_report_says_what_it_shows() -> None:
    assert f"On {DAY}; only Main, North" in pages(pdf(campuses=["Main", "North"]))[0]
    assert "only" not in pages(pdf())[0]


def test_no_cell_of_the_csv_is_a_formula() -> None:
    lines = writing.as_csv(COUNTS).decode("utf-8-sig").splitlines()
    assert lines[3] == "Main,'=1+1,Grade 5,3,30"
