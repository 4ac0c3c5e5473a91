"""Cells that a spreadsheet cannot take for formulas, and texts that come back as they were."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_apps.core.tables.formats import guarded, unguarded

DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
INJECTIONS = ("=1+1", '=HYPERLINK("http://x","y")', "+1 518 555 0100", "-2", "@SUM(A1)", "\t=1", "\r=1")


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_text_that_looks_like_a_formula_begins_with_an_apostrophe(text: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([text])
    assert next(csv.reader(io.StringIO(out.getvalue(), newline="")))[0].startswith(DANGEROUS)  # the naive way
    assert guarded(text).startswith("'")
    assert unguarded(guarded(text)) == text


@given(st.text())
def test_every_text_comes_back(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert not guarded(text).startswith(DANGEROUS)


@given(st.sampled_from(["'", "''", ""]), st.sampled_from(INJECTIONS))
def test_an_apostrophe_of_the_text_s_own_comes_back(quotes: str, text: str) -> None:
    assert unguarded(guarded(quotes + text)) == quotes + text
