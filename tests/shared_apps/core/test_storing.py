"""What a write costs in messages, and what is said of a row that the database refuses."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from shared_apps.core import storing
from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.engine.base import ours
from shared_apps.core.storing import store
from tenant_apps.school.models import Campus, GradeLevel, Student, StudentStatus
from tests import cast as casting

RENAME = "UPDATE school_campus SET name = %s WHERE code = %s"


def a_student(cast: casting.Cast) -> Student:
    places = {"campus_id": cast.id("campus"), "grade_level": GradeLevel.objects.first()}
    return Student(given_name="Zoë", family_name="Quist", student_number="N-1", **places)


def first_status(student: Student, *, ends_on: date | None = None) -> StudentStatus:
    return StudentStatus(student=student, state=student.state, starts_on=date(2025, 9, 1), ends_on=ends_on)


def test_rows_that_make_one_thing_travel_together(inside: InstitutionContext) -> None:
    student = a_student(casting.of(inside))
    with acting(command("test")), transaction.atomic(), CaptureQueriesContext(connection) as asked:
        store(student, first_status(student))
    assert len(asked) == 1
    assert StudentStatus.objects.get(student=student).state == student.state
    student.refresh_from_db()


def test_of_two_rows_the_one_that_is_refused_is_explained_and_neither_stays(
    inside: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = a_student(casting.of(inside))
    backwards = first_status(student, ends_on=date(2025, 8, 1))
    with acting(command("test")), transaction.atomic():
        with pytest.raises(ValidationError, match="end"):
            store(student, backwards)
        assert not Student.objects.filter(pk=student.pk).exists()
        monkeypatch.setattr(storing, "_table_of", lambda refused: None)
        with pytest.raises(Exception) as blamed:
            store(student, backwards)
    assert not isinstance(blamed.value, ValidationError), "negative control: the first row's rules know nothing of it"


def named(place: InstitutionContext) -> str:
    """The campus' name as everybody else sees it now."""

    def read() -> str:
        try:
            with institution(place):
                return Campus.objects.get(code="NAMED").name
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as other:
        return other.submit(read).result()


@pytest.fixture
def campus(transactional_db: None, greenwood: InstitutionContext) -> InstitutionContext:
    with institution(greenwood), acting(command("test")):
        Campus.objects.create(code="NAMED", name="as it was")
    return greenwood


def test_the_last_statement_takes_its_commit_along(campus: InstitutionContext) -> None:
    after: list[str] = []
    with institution(campus), acting(command("test")):
        with transaction.atomic():
            transaction.on_commit(lambda: after.append(named(campus)))
            with connection.cursor() as cursor:
                cursor.execute(RENAME, ["first", "NAMED"])
            assert named(campus) == "as it was"
            ours().say_last(RENAME, ["last", "NAMED"])
            assert named(campus) == "last"
            assert after == []
        assert after == ["last"]
        with pytest.raises(RuntimeError), transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(RENAME, ["undone", "NAMED"])
            raise RuntimeError
        assert named(campus) == "last", "and the next transaction is one again"


def test_within_another_transaction_or_one_that_is_given_up_nothing_is_committed(campus: InstitutionContext) -> None:
    with institution(campus), acting(command("test")):
        with pytest.raises(RuntimeError), transaction.atomic():
            with transaction.atomic():
                ours().say_last(RENAME, ["inner", "NAMED"])
            raise RuntimeError
        assert named(campus) == "as it was"
        with pytest.raises(TransactionManagementError), transaction.atomic():
            transaction.set_rollback(True)
            ours().say_last(RENAME, ["given up", "NAMED"])
        assert named(campus) == "as it was"


def test_a_last_statement_that_fails_undoes_what_was_before_it(campus: InstitutionContext) -> None:
    with institution(campus), acting(command("test")):
        with pytest.raises(Exception, match="no_such_column"), transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(RENAME, ["half", "NAMED"])
            ours().say_last("UPDATE school_campus SET no_such_column = %s", [1])
        assert named(campus) == "as it was"


def test_the_first_statement_goes_with_begin_and_is_one_of_its_transaction(campus: InstitutionContext) -> None:
    with institution(campus), acting(command("test")):
        with pytest.raises(RuntimeError), transaction.atomic():
            with CaptureQueriesContext(connection) as asked:
                assert ours().say_first(RENAME, ["begun", "NAMED"]) == 1
            assert len(asked) == 0, "it has no message of its own"
            assert ours().say_first(RENAME, ["begun", "NOBODY"]) == 0, "later it is a statement like any other"
            assert Campus.objects.get(code="NAMED").name == "begun"
            raise RuntimeError
        assert named(campus) == "as it was"


def test_a_first_statement_that_is_refused_is_refused_as_any_other(campus: InstitutionContext) -> None:
    doubled = "UPDATE school_campus SET code = %s WHERE code <> %s"
    with institution(campus), acting(command("test")):
        Campus.objects.create(code="OTHER", name="Other")
        for say in (ours().say_first, ours().say_last):
            with pytest.raises(IntegrityError, match="unique"), transaction.atomic():
                say(doubled, ["NAMED", "NAMED"])
        assert named(campus) == "as it was"
