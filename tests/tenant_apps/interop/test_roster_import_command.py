"""`manage.py import_oneroster`: the same import at the command line."""

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from shared_apps.core.context import InstitutionContext, State, institution, platform
from shared_apps.tenants.lifecycle import change_state
from shared_apps.tenants.services import find_tenant
from tenant_apps.school.models import Student
from tests.tenant_apps.interop.oneroster.reading import put
from tests.tenant_apps.interop.oneroster.rosters import Tables, write_roster

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def roster(tmp_path: Path) -> Path:
    return write_roster(tmp_path / "roster.zip")


def run(*words: str | Path) -> str:
    """What the command prints; entered from the platform, as manage.py does."""
    out = io.StringIO()
    with platform():
        call_command("import_oneroster", *map(str, words), stdout=out)
    return out.getvalue()


def students(context: InstitutionContext) -> int:
    with institution(context):
        return Student.objects.filter(sourced_id__isnull=False).count()


def test_a_dry_run_and_an_import_print_the_same_counts(
    roster: Path, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    preview = run("greenwood", roster, "--dry-run")
    assert students(greenwood) == 0
    printed = run("greenwood", roster)
    assert (students(greenwood), students(lumiere)) == (12, 0)
    assert preview.splitlines()[:-1] == printed.splitlines()[:-1]
    line = next(line for line in printed.splitlines() if "students" in line)
    assert [word for word in line.split() if word.isdigit()] == ["12", "0", "0", "0"]
    assert printed.splitlines()[-1] == "Imported. 0 warnings."


def test_each_finding_stands_with_its_place_and_the_command_fails(
    tmp_path: Path, greenwood: InstitutionContext, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_roster(
        tmp_path / "bad.zip", mutate=lambda tables: put(tables, "academicSessions.csv", 1, "endDate", "soon")
    )
    out = io.StringIO()
    with platform(), pytest.raises(SystemExit) as end:
        call_command("import_oneroster", "greenwood", str(path), stdout=out)
    assert end.value.code == 1
    assert "error: academicSessions.csv:2:endDate bad-date " in out.getvalue()
    assert "nothing was changed" in out.getvalue()
    assert students(greenwood) == 0


def test_a_thousand_errors_of_one_cause_begin_with_one_line(tmp_path: Path, greenwood: InstitutionContext) -> None:
    def spoil(tables: Tables) -> None:
        at = tables["enrollments.csv"][0].index("endDate")
        for row in tables["enrollments.csv"][1:]:
            row[at] = "0000-00-00"
        put(tables, "enrollments.csv", 3, "role", "pupil")

    path = write_roster(tmp_path / "bad.zip", students=700, sections=10, mutate=spoil)
    out = io.StringIO()
    with platform(), pytest.raises(SystemExit):
        call_command("import_oneroster", "greenwood", str(path), stdout=out)
    first, second = out.getvalue().splitlines()[:2]
    count = 700 * 2 + 10
    # The rows alone, of which 1,000 are shown, don't say how many there are.
    assert first == (
        f'{count:,} times from enrollments.csv:2:endDate: "0000-00-00" is no date: leave the cell empty where there is '
        "none."
    )
    assert second.startswith("error: enrollments.csv:2:endDate bad-date")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("greenwood", "/no/such/roster.zip"), "not there"),
        (("greenwood", "/tmp"), "is a directory"),
        (("nowhere", "ROSTER"), "no institution 'nowhere'"),
        (("console", "ROSTER"), "no school"),
    ],
    ids=["a missing file", "a directory", "an unknown institution", "the operators' tenant"],
)
def test_what_cannot_be_done_is_said_in_one_line(roster: Path, words: tuple[str, ...], told: str) -> None:
    with pytest.raises(CommandError, match=told) as refusal:
        run(*(roster if word == "ROSTER" else word for word in words))
    assert "\n" not in str(refusal.value)


def test_a_suspended_institution_is_not_written_to(roster: Path, greenwood: InstitutionContext) -> None:
    with platform():
        change_state(tenant=find_tenant("greenwood"), to=State.READ_ONLY, reason="test")
    with pytest.raises(CommandError, match="read-only"):
        run("greenwood", roster)
    assert "Dry run" in run("greenwood", roster, "--dry-run")
    assert students(greenwood) == 0


def test_a_file_that_is_no_zip_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "roster.zip").write_text("no zip")
    with pytest.raises(SystemExit):
        run("greenwood", tmp_path / "roster.zip")
