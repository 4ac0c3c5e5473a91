"""Years and terms: half-open, within their year, and of one kind never two at once by hand."""

from datetime import date

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from shared_apps.core.context import InstitutionContext
from tenant_apps.school.models import AcademicYear, Term
from tenant_apps.school.services import save_term
from tests import cast as casting
from tests.api import as_person


@pytest.fixture
def year(inside: InstitutionContext) -> AcademicYear:
    return AcademicYear.objects.create(name="2030/31", starts_on=date(2030, 9, 1), ends_on=date(2031, 9, 1))


def term(year: AcademicYear, starts_on: date, ends_on: date, kind: str = "term", **more: object) -> Term:
    values = {"academic_year": year, "name": "T", "kind": kind, "starts_on": starts_on, "ends_on": ends_on, **more}
    return save_term(term=Term(), values=values)


def code_of(refused: pytest.ExceptionInfo[ValidationError]) -> set[str | None]:
    return {error.code for errors in refused.value.error_dict.values() for error in errors}


def test_a_term_may_begin_on_the_day_on_which_another_ends(year: AcademicYear) -> None:
    first = term(year, date(2030, 9, 1), date(2031, 1, 1))
    second = term(year, date(2031, 1, 1), date(2031, 9, 1))
    # Negative control: with inclusive ends these two would overlap on the first of January.
    assert second.starts_on <= first.ends_on


@pytest.mark.parametrize(
    ("starts_on", "ends_on"),
    [
        (date(2030, 10, 1), date(2030, 11, 1)),  # inside
        (date(2030, 9, 1), date(2031, 9, 1)),  # around: neither end lies within the other, as a naive check asks
        (date(2030, 9, 15), date(2031, 2, 1)),  # over its end
        (date(2030, 10, 1), date(2031, 1, 1)),  # the same days
    ],
)
def test_terms_of_one_kind_that_overlap_are_refused_by_hand(year: AcademicYear, starts_on: date, ends_on: date) -> None:
    term(year, date(2030, 10, 1), date(2031, 1, 1))
    with pytest.raises(ValidationError) as refused:
        term(year, starts_on, ends_on)
    assert code_of(refused) == {"term_overlap"}
    assert term(year, starts_on, ends_on, kind="semester").pk


def test_an_import_may_write_terms_that_overlap(year: AcademicYear) -> None:
    Term.objects.bulk_create(
        Term(academic_year=year, name=name, starts_on=date(2030, 9, 1), ends_on=date(2031, 1, 1)) for name in "AB"
    )
    assert Term.objects.filter(academic_year=year).count() == 2


def test_a_term_that_is_changed_does_not_overlap_with_itself(year: AcademicYear) -> None:
    known = term(year, date(2030, 9, 1), date(2031, 1, 1))
    save_term(term=known, values={"ends_on": date(2031, 1, 10)})
    known.refresh_from_db()
    assert known.ends_on == date(2031, 1, 10)


def test_a_term_lies_within_its_year(year: AcademicYear) -> None:
    with pytest.raises(ValidationError) as refused:
        term(year, date(2030, 8, 31), date(2031, 1, 1))
    assert code_of(refused) == {"outside"}
    with pytest.raises(ValidationError):
        term(year, date(2031, 1, 1), date(2031, 9, 2))
    assert term(year, date(2031, 1, 1), date(2031, 9, 1)).pk


def test_a_year_cannot_be_cut_shorter_than_its_terms(year: AcademicYear) -> None:
    term(year, date(2031, 1, 1), date(2031, 9, 1))
    year.ends_on = date(2031, 8, 1)
    with pytest.raises(ValidationError) as refused:
        year.full_clean()
    assert code_of(refused) == {"term_outside"}


def test_a_grading_period_lies_within_its_term_and_no_term_in_itself(year: AcademicYear) -> None:
    whole = term(year, date(2030, 9, 1), date(2031, 1, 1))
    part = term(year, date(2030, 9, 1), date(2030, 11, 1), kind="grading_period", parent=whole)
    with pytest.raises(ValidationError):
        term(year, date(2030, 12, 1), date(2031, 2, 1), kind="grading_period", parent=whole)
    with pytest.raises(ValidationError) as refused:
        save_term(term=whole, values={"parent": part})
    assert code_of(refused) == {"circle"}


def test_a_term_that_is_changed_still_holds_its_parts(year: AcademicYear) -> None:
    whole = term(year, date(2030, 9, 1), date(2031, 1, 1))
    term(year, date(2030, 11, 1), date(2031, 1, 1), kind="grading_period", parent=whole)
    for values in ({"ends_on": date(2030, 12, 1)}, {"starts_on": date(2030, 12, 1)}):
        with pytest.raises(ValidationError) as refused:
            save_term(term=Term.objects.get(pk=whole.pk), values=values)
        assert code_of(refused) == {"part_outside"}
    other = AcademicYear.objects.create(name="Beside", starts_on=date(2030, 9, 1), ends_on=date(2031, 9, 1))
    with pytest.raises(ValidationError) as refused:
        save_term(term=Term.objects.get(pk=whole.pk), values={"academic_year": other})
    assert code_of(refused) == {"part_outside"}
    # Negative control: what still holds the part may be cut.
    assert save_term(term=Term.objects.get(pk=whole.pk), values={"starts_on": date(2030, 11, 1)}).pk


def test_a_term_lies_within_its_year_as_it_is_now(year: AcademicYear) -> None:
    read_before = AcademicYear.objects.get(pk=year.pk)
    AcademicYear.objects.filter(pk=year.pk).update(ends_on=date(2031, 7, 1))
    with pytest.raises(ValidationError) as refused:
        term(read_before, date(2031, 1, 1), date(2031, 9, 1))
    assert code_of(refused) == {"outside"}
    # Negative control: by the year that the caller has in hand it would lie within.
    assert read_before.ends_on == date(2031, 9, 1)


def test_the_database_refuses_a_term_that_ends_before_it_starts(year: AcademicYear) -> None:
    backwards = Term(academic_year=year, name="T", starts_on=date(2031, 1, 1), ends_on=date(2030, 9, 1))
    with pytest.raises(IntegrityError), transaction.atomic():
        backwards.save()


def test_the_api_names_the_place_of_an_overlap(year: AcademicYear, greenwood: InstitutionContext) -> None:
    term(year, date(2030, 10, 1), date(2031, 1, 1))
    principal = as_person(greenwood, casting.of(greenwood).principal)
    body = {"academic_year": str(year.pk), "name": "Again", "starts_on": "2030-12-31", "ends_on": "2031-02-01"}
    answer = principal.post("/api/v1/school/terms/", body)
    assert answer.status_code == 409, answer.content
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [("/starts_on", "term_overlap")]
    body["starts_on"] = "2031-01-01"
    assert principal.post("/api/v1/school/terms/", body).status_code == 201
