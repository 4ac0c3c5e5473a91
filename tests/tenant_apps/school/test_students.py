"""The state of a student is a history."""

from datetime import UTC, date, datetime, timedelta
from threading import Barrier, Thread

import pytest
from django.db import IntegrityError, connections, transaction

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.errors import Conflict, Invalid
from tenant_apps.school.models import Student, StudentStatus
from tenant_apps.school.services import change_student_state, register_student
from tests import cast as casting
from tests.api import as_person

JOINED = date(2024, 9, 1)


@pytest.fixture
def ada(inside: InstitutionContext) -> Student:
    cast = casting.of(inside)
    return register_student(
        student_number="N1", given_name="Ada", family_name="Byron", campus_id=cast.id("campus"), joined_on=JOINED
    )


def history(student: Student) -> list[tuple[str, date, date | None]]:
    return list(StudentStatus.objects.filter(student=student).values_list("state", "starts_on", "ends_on"))


def test_a_new_student_has_a_history_from_the_day_of_joining(ada: Student) -> None:
    assert history(ada) == [("enrolled", JOINED, None)]


def test_each_change_of_state_is_kept(ada: Student) -> None:
    change_student_state(student=ada, to="left", on=date(2025, 3, 1), reason="Moved to Ghent")
    back = change_student_state(student=ada, to="enrolled", on=date(2025, 9, 1))
    assert history(ada) == [
        ("enrolled", JOINED, date(2025, 3, 1)),
        ("left", date(2025, 3, 1), date(2025, 9, 1)),
        ("enrolled", date(2025, 9, 1), None),
    ]
    assert (back.state, back.left_on) == ("enrolled", None)
    # Negative control: the flag alone has forgotten that she was away.
    assert Student.objects.get(pk=ada.pk).state == "enrolled"


def test_the_cached_state_is_that_of_the_open_row(ada: Student) -> None:
    change_student_state(student=ada, to="graduated", on=date(2025, 7, 1))
    ada.refresh_from_db()
    assert (ada.state, ada.left_on) == ("graduated", date(2025, 7, 1))
    assert StudentStatus.objects.get(student=ada, ends_on=None).state == ada.state


def test_a_state_corrected_on_its_first_day_leaves_an_empty_stretch(ada: Student) -> None:
    change_student_state(student=ada, to="left", on=JOINED)
    assert history(ada) == [("enrolled", JOINED, JOINED), ("left", JOINED, None)]


def test_a_move_that_does_not_exist_is_refused_and_changes_nothing(ada: Student) -> None:
    with pytest.raises(Conflict):
        change_student_state(student=ada, to="applied", on=date(2025, 3, 1))
    assert history(ada) == [("enrolled", JOINED, None)]


def test_a_change_before_the_present_state_or_in_the_future_is_refused(ada: Student) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=2)
    for day in (JOINED - timedelta(days=1), tomorrow):
        with pytest.raises(Invalid):
            change_student_state(student=ada, to="left", on=day)
    assert history(ada) == [("enrolled", JOINED, None)]


def test_the_database_refuses_two_states_on_one_day(ada: Student) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        StudentStatus.objects.create(student=ada, state="left", starts_on=date(2025, 1, 1))


def test_two_changes_at_once_leave_one_open_state(transactional_db: None, greenwood: InstitutionContext) -> None:
    cast = casting.of(greenwood)
    with institution(greenwood):
        student = Student.objects.get(pk=cast.id("ada"))
    gate, refused = Barrier(2), []

    def leave(to: str) -> None:
        try:
            with institution(greenwood), acting(command("test")):
                gate.wait()
                change_student_state(student=student, to=to, on=date(2025, 3, 1))
        except Conflict:
            refused.append(to)
        finally:
            connections.close_all()

    threads = [Thread(target=leave, args=(to,)) for to in ("left", "transferred")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with institution(greenwood):
        rows = history(student)
    assert len(refused) == 1
    assert [end for _, _, end in rows] == [date(2025, 3, 1), None]


def test_the_state_cannot_be_written_but_by_the_verb(ada: Student, greenwood: InstitutionContext) -> None:
    principal = as_person(greenwood, casting.of(greenwood).principal)
    address = f"/api/v1/school/students/{ada.pk}/"
    principal.patch(address, {"state": "left"})
    ada.refresh_from_db()
    assert ada.state == "enrolled"
    answer = principal.post(f"{address}change-state/", {"to": "left", "on": "2025-03-01", "reason": "Moved"})
    assert answer.status_code == 200, answer.content
    assert (answer.json()["state"], answer.json()["left_on"]) == ("left", "2025-03-01")
    listed = principal.get(f"/api/v1/school/student-statuses/?student={ada.pk}").json()["results"]
    assert [row["state"] for row in listed] == ["enrolled", "left"]


def test_the_api_makes_a_student_with_a_history(inside: InstitutionContext) -> None:
    cast = casting.of(inside)
    body = {
        "student_number": "N7",
        "given_name": "Zoë",
        "family_name": "Ångström",
        "campus": str(cast.id("campus")),
        "joined_on": "2025-01-07",
        "sourced_id": "",
    }
    answer = as_person(inside, cast.principal).post("/api/v1/school/students/", body)
    assert answer.status_code == 201, answer.content
    assert answer.json()["sourced_id"] is None
    student = Student.objects.get(student_number="N7")
    assert history(student) == [("enrolled", date(2025, 1, 7), None)]


def test_a_student_with_enrolments_cannot_be_deleted(inside: InstitutionContext) -> None:
    cast = casting.of(inside)
    answer = as_person(inside, cast.principal).delete(f"/api/v1/school/students/{cast.id('ada')}/")
    assert answer.status_code == 409, answer.content
    assert Student.objects.filter(pk=cast.id("ada")).exists()
