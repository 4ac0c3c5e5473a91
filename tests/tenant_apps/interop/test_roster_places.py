"""A roster that brings more students than the institution may have is refused whole, and says so."""

from pathlib import Path

import pytest

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.errors import PaymentRequired
from tenant_apps.interop import services
from tenant_apps.interop.roster import Plan, Steps
from tenant_apps.interop.roster.writing import write_plan
from tenant_apps.school.services import enrolled_students, register_student
from tests import cast as casting
from tests.limited import limited
from tests.tenant_apps.interop.importing import bring_rows, digests, found


@pytest.fixture
def brought(inside: InstitutionContext, tmp_path: Path) -> int:
    """How many students more the roster of these tests brings."""
    plan = bring_rows(tmp_path, dry_run=True)
    assert plan.enrolled_more > 0
    return plan.enrolled_more


def test_a_roster_beyond_the_limit_writes_nothing_and_its_finding_says_why(
    inside: InstitutionContext, tmp_path: Path, brought: int
) -> None:
    whole = enrolled_students() + brought
    before = digests()
    with institution(limited(inside, students=whole - 1)):
        for dry_run in (True, False):
            plan = bring_rows(tmp_path, dry_run=dry_run)
            (finding,) = found(plan, "quota-exceeded")
            assert (finding.severity, finding.file, plan.error_count) == ("error", "users.csv", 1)
            assert f"{whole:,} enrolled students" in finding.detail
            assert "operators" in finding.detail
    assert digests() == before


def test_a_roster_that_just_fits_is_taken_and_taken_again(
    inside: InstitutionContext, tmp_path: Path, brought: int
) -> None:
    whole = enrolled_students() + brought
    with institution(limited(inside, students=whole)):
        for _ in range(2):
            assert bring_rows(tmp_path).error_count == 0
            assert enrolled_students() == whole


def test_places_that_others_take_while_it_is_compared_are_missed_at_the_end(
    inside: InstitutionContext, tmp_path: Path, brought: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: to the comparison alone it had room, and all was written when the last look was taken."""
    whole = enrolled_students() + brought
    before = enrolled_students()

    def late(plan: Plan, steps: Steps) -> None:
        assert plan.error_count == 0
        register_student(
            student_number="late", given_name="Too", family_name="Late", campus_id=casting.of(inside).id("campus")
        )
        write_plan(plan, steps)
        assert enrolled_students() == whole + 1

    monkeypatch.setattr(services, "write_plan", late)
    monkeypatch.setattr("tenant_apps.school.services.demand_room", lambda name: None)
    with institution(limited(inside, students=whole)), pytest.raises(PaymentRequired):
        bring_rows(tmp_path)
    assert enrolled_students() == before
