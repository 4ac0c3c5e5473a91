"""Jobs over the API: who sees them, who may stop them."""

from shared_apps.core.context import InstitutionContext
from tenant_apps.eventlog.models import Job
from tests import cast
from tests.api import as_person

JOBS = "/api/v1/jobs/"


def test_people_see_the_jobs_they_started_and_a_principal_everybodys(inside: InstitutionContext) -> None:
    people = cast.of(inside)
    own = Job.objects.create(kind="test", requested_by_id=people.teacher.user_id)
    other = Job.objects.create(kind="test", requested_by_id=people.guardian.user_id)
    seen = {
        person.role: {job["id"] for job in as_person(inside, person).get(JOBS).json()["results"]}
        for person in people.people
    }
    assert seen == {
        "teacher": {str(own.pk)},
        "guardian": {str(other.pk)},
        "student": set(),
        "principal": {str(own.pk), str(other.pk)},
    }
    assert as_person(inside, people.student).get(f"{JOBS}{own.pk}/").status_code == 404


def test_a_job_shows_its_state_and_never_its_parameters(inside: InstitutionContext) -> None:
    people = cast.of(inside)
    job = Job.objects.create(kind="test", requested_by_id=people.teacher.user_id, parameters={"path": "/secret"})
    body = as_person(inside, people.teacher).get(f"{JOBS}{job.pk}/").json()
    assert (body["state"], body["progress"], body["result"], body["errors"]) == ("pending", 0, None, [])
    assert "secret" not in str(body)


def test_a_job_is_cancelled_by_who_started_it_and_only_while_it_is_open(inside: InstitutionContext) -> None:
    people = cast.of(inside)
    job = Job.objects.create(kind="test", requested_by_id=people.teacher.user_id)
    assert as_person(inside, people.student).post(f"{JOBS}{job.pk}/cancel/").status_code == 404
    teacher = as_person(inside, people.teacher)
    answer = teacher.post(f"{JOBS}{job.pk}/cancel/")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    again = teacher.post(f"{JOBS}{job.pk}/cancel/")
    assert (again.status_code, again.json()["code"]) == (409, "job_ended")
