"""A roster travels: exported, imported into an empty institution, and exported from there, it is the same bytes."""

import zipfile
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.registry import NewInstitution
from shared_apps.tenants.services import create_institution
from tenant_apps.academics.models import Enrolment, Section
from tenant_apps.eventlog import jobs
from tenant_apps.interop.oneroster import layout
from tenant_apps.interop.roster.exporting import export_roster
from tenant_apps.school.models import Campus, GradeLevel, Guardian, Student
from tests import cast
from tests.api import as_person, nobody
from tests.tenant_apps.interop.importing import bring
from tests.tenant_apps.interop.oneroster.rosters import write_roster


@pytest.fixture
def schools(transactional_db: None) -> Any:
    """Two empty institutions of one name."""
    with platform(), acting(command("test")):
        made = [create_institution(new=NewInstitution("The School", slug)) for slug in ("first", "second")]
        yield [tenant.context for tenant in made]


def texts(package: Path) -> dict[str, str]:
    with zipfile.ZipFile(package) as found:
        return {name: found.read(name).decode() for name in found.namelist()}


def there_and_back(tmp_path: Path, schools: list[InstitutionContext]) -> tuple[Path, Path]:
    """Exports the first institution, imports that into the second, and exports the second."""
    one, two = tmp_path / "one.zip", tmp_path / "two.zip"
    with institution(schools[0]):
        export_roster(one)
    with institution(schools[1]):
        plan = bring(one)
        assert plan.error_count == 0, plan.findings[:5]
        export_roster(two)
    return one, two


def test_what_was_imported_comes_out_and_travels_unchanged(tmp_path: Path, schools: list[InstitutionContext]) -> None:
    with institution(schools[0]):
        assert bring(write_roster(tmp_path / "roster.zip", students=60, sections=8)).error_count == 0
    one, two = there_and_back(tmp_path, schools)
    assert texts(one) == texts(two)
    assert one.read_bytes() == two.read_bytes()
    assert texts(one)["users.csv"].count("\r\n") > 100


def test_odd_people_and_days_travel(tmp_path: Path, schools: list[InstitutionContext]) -> None:
    with institution(schools[0]):
        bring(write_roster(tmp_path / "roster.zip", students=12, sections=4))
        student, section = Student.objects.order_by("sourced_id")[0], Section.objects.order_by("sourced_id")[0]
        campus = Campus.objects.order_by("code")[0]
        names = ('Quote "Q" O’Neil', "Comma, the", "Émile 🎓", "=1+1", "Ünal-Şahin")
        for number, name in enumerate(names):
            Student.objects.create(
                student_number=f"ODD{number}", given_name=name, family_name=name, campus=campus, state="enrolled"
            )
        Enrolment.objects.filter(student=student, section=section).delete()
        for starts_on, ends_on in ((date(2020, 1, 1), date(2020, 2, 1)), (date(2020, 3, 1), None)):
            Enrolment.objects.create(student=student, section=section, starts_on=starts_on, ends_on=ends_on)
        Guardian.objects.create(given_name="Nobody's", family_name="Guardian")
    one, two = there_and_back(tmp_path, schools)
    first, second = texts(one), texts(two)
    assert {name: first[name] == second[name] for name in first} == dict.fromkeys(first, True)
    for name in names:
        assert name in first["users.csv"].replace('""', '"')


def test_grades_of_a_schools_own_travel(tmp_path: Path, schools: list[InstitutionContext]) -> None:
    """The naive way: "5e" arrives as "5E" and "9" as "09", so that the second package is another one."""
    with institution(schools[0]):
        bring(write_roster(tmp_path / "roster.zip", students=60, sections=8))
        codes = {level.code: level.pk for level in GradeLevel.objects.all()}
        with acting(command("test")):
            for there, own in (("01", "5e"), ("02", "Tle"), ("09", "9")):
                GradeLevel.objects.filter(pk=codes[there]).update(code=own)
    one, two = there_and_back(tmp_path, schools)
    assert one.read_bytes() == two.read_bytes()
    assert all(f",{grade}," in texts(one)["users.csv"] for grade in ("5e", "Tle", "09"))


def test_the_manifest_names_every_file_of_the_standard(tmp_path: Path, schools: list[InstitutionContext]) -> None:
    with institution(schools[0]):
        export_roster(tmp_path / "empty.zip")
    found = texts(tmp_path / "empty.zip")
    lines = dict(line.split(",") for line in found["manifest.csv"].splitlines())
    named = {name.removeprefix("file.") for name in lines if name.startswith("file.")}
    assert named == {name.removesuffix(".csv") for name in layout.STANDARD_FILES}
    assert {name for name in named if lines[f"file.{name}"] == "bulk"} == {
        name.removesuffix(".csv") for name in found if name != "manifest.csv"
    }
    for each in layout.IMPORTED:
        assert found[each.file].splitlines()[0] == ",".join(each.headers)


def test_the_same_rows_make_the_same_bytes_and_another_row_others(
    tmp_path: Path, schools: list[InstitutionContext]
) -> None:
    """The second half is the negative control."""
    with institution(schools[0]):
        bring(write_roster(tmp_path / "roster.zip"))
        for name in ("a.zip", "b.zip"):
            export_roster(tmp_path / name)
        Student.objects.filter(pk=Student.objects.earliest("id").pk).update(given_name="Changed")
        export_roster(tmp_path / "c.zip")
    contents = [(tmp_path / name).read_bytes() for name in ("a.zip", "b.zip", "c.zip")]
    assert contents[0] == contents[1] != contents[2]


EXPORTS = "/api/v1/interop/roster-exports/"


def test_a_worker_writes_the_roster_for_who_asks(
    transactional_db: None, greenwood: InstitutionContext, tmp_path: Path, settings: Any
) -> None:
    settings.MEDIA_ROOT = tmp_path
    people = cast.of(greenwood)
    principal = as_person(greenwood, people.principal)
    started = principal.post(EXPORTS, {}, HTTP_IDEMPOTENCY_KEY="one")
    assert started.status_code == 202, started.content
    assert principal.post(EXPORTS, {}, HTTP_IDEMPOTENCY_KEY="one").json() == started.json()
    with institution(greenwood):
        jobs.run(started.json()["job"])
    told = principal.get(started["Location"]).json()
    assert told["state"] == "succeeded", told
    answer = principal.get(told["result"]["file"])
    (tmp_path / "fetched.zip").write_bytes(answer.getvalue())
    assert told["result"]["counts"]["users"] == texts(tmp_path / "fetched.zip")["users.csv"].count("\r\n") - 1 > 5
    assert as_person(greenwood, people.teacher).get(told["result"]["file"]).status_code == 404


def test_only_who_reaches_the_whole_institution_exports_it(db: None, greenwood: InstitutionContext) -> None:
    people = cast.of(greenwood)
    for person in (people.teacher, people.guardian, people.student):
        assert as_person(greenwood, person).post(EXPORTS, {}).status_code == 403
    assert nobody(greenwood).post(EXPORTS, {}).status_code == 401
    assert as_person(greenwood, people.principal).post(EXPORTS, {"version": "0.9"}).status_code == 400


def test_the_command_writes_the_same_package(
    transactional_db: None, greenwood: InstitutionContext, tmp_path: Path
) -> None:
    with institution(greenwood):
        export_roster(tmp_path / "a.zip")
    with platform():
        call_command("export_oneroster", "greenwood", str(tmp_path / "b.zip"), stdout=StringIO())
        with pytest.raises(CommandError):
            call_command("export_oneroster", "nowhere", str(tmp_path / "c.zip"))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.zip", "b.zip"]
