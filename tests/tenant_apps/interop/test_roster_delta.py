"""Importing a delta: rows that hold are written, those to be deleted end and stay, and twice changes nothing."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tenant_apps.academics.models import Enrolment, Section, SectionTeacher
from tenant_apps.interop import services
from tenant_apps.interop.roster import Plan
from tenant_apps.school.models import Guardian, Staff, Student, StudentGuardian, StudentStatus, Term
from tests.tenant_apps.interop.importing import bring_rows, digests, found, place, totals
from tests.tenant_apps.interop.oneroster.reading import put
from tests.tenant_apps.interop.oneroster.rosters import Tables, add
from tests.tenant_apps.interop.oneroster.versions import STAMP, as_delta

TODAY = date(2026, 3, 1)


@pytest.fixture(autouse=True)
def roster(inside: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the institution holds before: the whole roster, imported at the year's start."""
    monkeypatch.setattr(services, "local_date", lambda: TODAY)
    bring_rows(tmp_path)


def delta(tmp_path: Path, change: Callable[[Tables], Any] | None = None, **rows: Any) -> Plan:
    """Bring a delta of these rows, after `change` of its tables; a second time, which must change nothing."""

    def mutate(tables: Tables) -> None:
        as_delta(**rows)(tables)
        if change is not None:
            change(tables)

    plan = bring_rows(tmp_path, mutate=mutate)
    if not plan.error_count:
        before = digests()
        again = bring_rows(tmp_path, mutate=mutate)
        assert totals(again, "created", "updated", "closed") == (0, 0, 0)
        assert digests() == before
    return plan


def test_a_changed_row_is_changed_and_nothing_else(tmp_path: Path) -> None:
    others = digests()
    plan = delta(tmp_path, lambda tables: put(tables, "users.csv", 1, "givenName", "Ωmega"), active=["student-1"])
    assert plan.findings == []
    assert totals(plan, "created", "updated", "closed") == (0, 1, 0)
    student = Student.objects.get(sourced_id="student-1")
    assert (student.given_name, student.state) == ("Ωmega", "enrolled")
    changed = {name for name, digest in digests().items() if digest != others[name]}
    assert changed <= {"school_student", "audit_entry"}


def test_a_row_to_be_deleted_ends_today_and_stays(tmp_path: Path) -> None:
    count = Enrolment.objects.count()
    [enrolment] = Enrolment.objects.filter(sourced_id="enr-5")
    plan = delta(tmp_path, deleted=["enr-5"])
    assert plan.counts["enrolments"] == {"created": 0, "updated": 0, "unchanged": 0, "closed": 1}
    enrolment.refresh_from_db()
    assert (enrolment.ends_on, Enrolment.objects.count()) == (TODAY, count)


def test_the_same_row_in_a_bulk_file_is_refused(tmp_path: Path) -> None:
    """The naive way: a deletion is read past, and the enrolment goes on."""

    def mark(tables: Tables) -> None:
        put(tables, "enrollments.csv", 5, "status", "tobedeleted")

    assert [str(finding.code) for finding in bring_rows(tmp_path, mutate=mark).findings] == ["deletion-in-bulk"]


def test_an_enrolment_that_was_planned_holds_no_day(tmp_path: Path) -> None:
    Enrolment.objects.filter(sourced_id="enr-5").update(starts_on=date(2026, 5, 1), ends_on=None)
    delta(tmp_path, deleted=["enr-5"])
    assert Enrolment.objects.get(sourced_id="enr-5").ends_on == date(2026, 5, 1)


def test_a_deleted_student_leaves_with_all_enrolments_and_comes_back_when_named_again(tmp_path: Path) -> None:
    plan = delta(tmp_path, deleted=["student-1"])
    student = Student.objects.get(sourced_id="student-1")
    assert (student.state, student.left_on) == ("left", TODAY)
    assert plan.counts["students"]["closed"] == 1
    assert plan.counts["enrolments"]["closed"] == 2
    assert not Enrolment.objects.active_on(TODAY).filter(student=student).exists()
    states = StudentStatus.objects.filter(student=student).order_by("starts_on").values_list("state", flat=True)
    assert list(states) == ["enrolled", "left"]
    back = delta(tmp_path, active=["student-1"])
    student.refresh_from_db()
    assert (student.state, student.left_on, back.counts["students"]["updated"]) == ("enrolled", None, 1)


def test_a_student_whom_the_office_let_go_is_not_fetched_back(tmp_path: Path) -> None:
    """The naive way: whoever is named is enrolled."""
    student = Student.objects.get(sourced_id="student-1")
    StudentStatus.objects.filter(student=student).update(ends_on=TODAY)
    StudentStatus.objects.create(student=student, state="left", starts_on=TODAY, reason="Moved to Rouen")
    Student.objects.filter(pk=student.pk).update(state="left", left_on=TODAY)
    plan = delta(tmp_path, active=["student-1"])
    student.refresh_from_db()
    assert student.state == "left"
    assert [finding.line for finding in found(plan, "state-differs")] == [2]


def test_a_deleted_role_takes_the_student_out_of_that_school_alone(tmp_path: Path) -> None:
    def role_at(org: str) -> Callable[[Tables], None]:
        def change(tables: Tables) -> None:
            header = tables["users.csv"][0] if "users.csv" in tables else None
            assert header is None
            tables["roles.csv"] = [ROLES_HEADER]
            add(
                tables, "roles.csv", sourcedId="r", status="tobedeleted", dateLastModified=STAMP,
                userSourcedId="student-1", roleType="primary", role="student", orgSourcedId=org,
            )  # fmt: skip
            set_mode(tables, "roles")

        return change

    delta(tmp_path, role_at("school-2"))
    assert Student.objects.get(sourced_id="student-1").state == "enrolled"
    delta(tmp_path, role_at("school-1"))
    assert Student.objects.get(sourced_id="student-1").state == "left"


def test_a_student_who_changes_schools_stays(tmp_path: Path) -> None:
    """The old role is to be deleted and a new one holds, in one delta."""

    def move(tables: Tables) -> None:
        tables["roles.csv"] = [ROLES_HEADER]
        for key, status, org in (("old", "tobedeleted", "school-1"), ("new", "active", "school-2")):
            add(
                tables, "roles.csv", sourcedId=key, status=status, dateLastModified=STAMP,
                userSourcedId="student-1", roleType="primary", role="student", orgSourcedId=org,
            )  # fmt: skip
        set_mode(tables, "roles")

    delta(tmp_path, move, active=["student-1"])
    student = Student.objects.get(sourced_id="student-1")
    assert (student.state, student.campus.sourced_id) == ("enrolled", "school-2")


def role(end: str, *, held: str = "primary", org: str = "school-1") -> Callable[[Tables], None]:
    """The delta of one role of student-1."""

    def change(tables: Tables) -> None:
        tables.setdefault("roles.csv", [ROLES_HEADER])
        add(
            tables, "roles.csv", sourcedId=f"r{len(tables['roles.csv'])}", status="active", dateLastModified=STAMP,
            userSourcedId="student-1", roleType=held, role="student", endDate=end, orgSourcedId=org,
        )  # fmt: skip
        set_mode(tables, "roles")

    return change


def test_a_student_whose_role_has_ended_leaves_on_that_day(tmp_path: Path) -> None:
    plan = delta(tmp_path, role("2026-02-20"))
    student = Student.objects.get(sourced_id="student-1")
    left_on = date(2026, 2, 20)
    assert (student.state, student.left_on, plan.counts["students"]["closed"]) == ("left", left_on, 1)
    assert found(plan, "state-differs") == []
    assert set(Enrolment.objects.filter(student=student).values_list("ends_on", flat=True)) == {left_on}
    # A later delta in which the role goes on calls back whom a roster took out.
    delta(tmp_path, role(""))
    assert Student.objects.get(sourced_id="student-1").state == "enrolled"
    # The naive way, that a role which is over always takes out: an old one would end the stay that began after it.
    plan = delta(tmp_path, role("2026-02-20"))
    assert Student.objects.get(sourced_id="student-1").state == "enrolled"
    assert len(found(plan, "state-differs")) == 1


@pytest.mark.parametrize(
    "roles",
    [
        [role("2026-03-02")],
        [role("2026-02-20", held="secondary")],
        [role("2026-02-20", org="school-2")],
        [role("2026-02-20"), role("", held="secondary", org="school-2")],
    ],
    ids=["not yet", "secondary", "of another school", "beside another"],
)
def test_a_role_that_does_not_say_so_lets_nobody_go(tmp_path: Path, roles: list[Callable[[Tables], None]]) -> None:
    delta(tmp_path, lambda tables: [change(tables) for change in roles])
    assert Student.objects.get(sourced_id="student-1").state == "enrolled"


def test_in_a_bulk_file_a_role_that_has_ended_takes_nobody_away(tmp_path: Path) -> None:
    def end(tables: Tables) -> None:
        for row in tables["roles.csv"][1:]:
            row[ROLES_HEADER.index("endDate")] = "2026-02-20" if row[3] == "student-1" else ""

    plan = bring_rows(tmp_path, mutate=end)
    assert Student.objects.get(sourced_id="student-1").state == "enrolled"
    assert len(found(plan, "state-differs")) == 1


def test_a_deleted_teacher_s_employment_and_lessons_end(tmp_path: Path) -> None:
    teacher = SectionTeacher.objects.exclude(sourced_id=None).select_related("staff")[0].staff
    lessons = SectionTeacher.objects.filter(staff=teacher).count()
    plan = delta(tmp_path, deleted=[str(teacher.sourced_id)])
    assert Staff.objects.get(pk=teacher.pk).employed_until == TODAY
    assert set(SectionTeacher.objects.filter(staff=teacher).values_list("ends_on", flat=True)) == {TODAY}
    assert (plan.counts["staff"]["closed"], plan.counts["section_teachers"]["closed"]) == (1, lessons)


def test_a_deleted_guardian_s_links_end(tmp_path: Path) -> None:
    guardian = Guardian.objects.exclude(sourced_id=None).exclude(sourced_id__startswith="staff")[0]
    links = StudentGuardian.objects.filter(guardian=guardian)
    count = links.count()
    assert count
    plan = delta(tmp_path, deleted=[str(guardian.sourced_id)])
    assert set(links.values_list("valid_until", flat=True)) == {TODAY}
    assert plan.counts["student_guardians"]["closed"] == count


def test_a_deleted_class_is_left_by_everybody(tmp_path: Path) -> None:
    section = Section.objects.get(sourced_id="class-1")
    plan = delta(tmp_path, deleted=["class-1"])
    assert not Enrolment.objects.active_on(TODAY).filter(section=section).exists()
    assert not SectionTeacher.objects.filter(section=section).exclude(ends_on__lte=TODAY).exists()
    assert plan.counts["enrolments"]["closed"] == Enrolment.objects.filter(section=section).count() > 0
    assert Section.objects.filter(pk=section.pk).exists()


def test_what_has_no_end_of_its_own_stays_and_is_named(tmp_path: Path) -> None:
    plan = delta(tmp_path, deleted=["sem-2", "school-2", "course-school-1-0"])
    assert Term.objects.filter(sourced_id="sem-2").exists()
    assert {finding.file for finding in found(plan, "not-deleted")} == {
        "orgs.csv", "academicSessions.csv", "courses.csv",
    }  # fmt: skip


def test_what_is_not_here_cannot_end_and_is_named(tmp_path: Path) -> None:
    def strange(tables: Tables) -> None:
        tables["enrollments.csv"][1][0] = "enr-of-nobody"

    plan = delta(tmp_path, strange, deleted=["enr-5"])
    assert [place(finding) for finding in found(plan, "not-here")] == [("enrollments.csv", 2, "sourcedId")]
    assert plan.error_count == 0


def test_new_rows_may_refer_to_what_is_here(tmp_path: Path) -> None:
    def new(tables: Tables) -> None:
        tables["enrollments.csv"][1][0] = "enr-new"
        put(tables, "enrollments.csv", 1, "userSourcedId", "student-3")
        put(tables, "enrollments.csv", 1, "beginDate", "2026-08-25")
        put(tables, "enrollments.csv", 1, "endDate", "2027-07-01")

    plan = delta(tmp_path, new, active=["enr-5"])
    assert plan.findings == []
    made = Enrolment.objects.get(sourced_id="enr-new")
    assert made.student.sourced_id == "student-3"


@pytest.mark.parametrize(("column", "target"), [("userSourcedId", "users.csv"), ("classSourcedId", "classes.csv")])
def test_a_reference_to_nothing_is_an_error_with_its_place(tmp_path: Path, column: str, target: str) -> None:
    plan = delta(tmp_path, lambda tables: put(tables, "enrollments.csv", 1, column, "nobody"), active=["enr-5"])
    [finding] = found(plan, "dangling-reference")
    assert place(finding) == ("enrollments.csv", 2, column)
    assert target in finding.detail


def test_a_new_student_arrives_by_a_delta(tmp_path: Path) -> None:
    def new(tables: Tables) -> None:
        for file, at in (("users.csv", 0), ("roles.csv", 3), ("enrollments.csv", 5)):
            tables[file][1][at] = "student-new"
        tables["roles.csv"][1][0], tables["enrollments.csv"][1][0] = "role-new", "enr-new"
        put(tables, "users.csv", 1, "identifier", "N-1")

    with_role = [f"role-{number}" for number in range(1, 60)]
    plan = delta(
        tmp_path, lambda tables: (only_of(tables, "student-1"), new(tables)), active=["student-1", "enr-5", *with_role]
    )
    assert plan.error_count == 0, plan.findings
    student = Student.objects.get(sourced_id="student-new")
    assert (student.state, student.student_number, student.joined_on) == ("enrolled", "N-1", date(2025, 8, 25))
    assert Enrolment.objects.filter(student=student).count() == 1


def test_a_user_without_a_role_anywhere_is_left_out(tmp_path: Path) -> None:
    def rename(tables: Tables) -> None:
        tables["users.csv"][1][0] = "stranger"

    plan = delta(tmp_path, rename, active=["student-1"])
    assert [place(finding) for finding in found(plan, "user-without-role")] == [("users.csv", 2, "sourcedId")]
    assert not Student.objects.filter(sourced_id="stranger").exists()


def test_a_member_of_staff_becomes_a_guardian_by_a_role_alone(tmp_path: Path) -> None:
    staff = Staff.objects.exclude(sourced_id=None).exclude(
        sourced_id__in=Guardian.objects.exclude(sourced_id=None).values("sourced_id")
    )[0]

    def role(tables: Tables) -> None:
        tables["roles.csv"] = [ROLES_HEADER]
        add(
            tables, "roles.csv", sourcedId="r", status="active", dateLastModified=STAMP,
            userSourcedId=str(staff.sourced_id), roleType="secondary", role="parent", orgSourcedId="school-1",
        )  # fmt: skip
        set_mode(tables, "roles")

    plan = delta(tmp_path, role)
    assert plan.findings == []
    made = Guardian.objects.get(sourced_id=staff.sourced_id)
    assert (made.family_name, made.email) == (staff.family_name, staff.email)


def test_births_alone_may_change(tmp_path: Path) -> None:
    def only_births(tables: Tables) -> None:
        del tables["users.csv"]
        set_mode(tables, "users", "absent")
        put(tables, "demographics.csv", 1, "birthDate", "2011-11-11")

    delta(tmp_path, only_births, active=["student-1"])
    assert Student.objects.get(sourced_id="student-1").birth_date == date(2011, 11, 11)


def test_what_a_delta_lacks_is_never_closed(tmp_path: Path) -> None:
    before = digests()

    plan = bring_rows(tmp_path, mutate=as_delta(active=["enr-5", "student-1"]), close_missing=True)
    assert {finding.file for finding in found(plan, "nothing-to-close-by")} == {"users.csv", "enrollments.csv"}
    assert totals(plan, "closed") == (0,)
    assert digests() == before


def test_a_term_cannot_lie_below_itself_by_way_of_what_is_here(tmp_path: Path) -> None:
    first, second = (Term.objects.get(sourced_id=key) for key in ("sem-1", "sem-2"))
    second.parent = first
    second.save()
    plan = delta(
        tmp_path, lambda tables: put(tables, "academicSessions.csv", 1, "parentSourcedId", "sem-2"), active=["sem-1"]
    )
    assert [place(finding) for finding in found(plan, "reference-cycle")] == [
        ("academicSessions.csv", 2, "parentSourcedId")
    ]


ROLES_HEADER = (
    "sourcedId,status,dateLastModified,userSourcedId,roleType,role,beginDate,endDate,orgSourcedId,userProfileSourcedId"
).split(",")


def set_mode(tables: Tables, name: str, mode: str = "delta") -> None:
    for row in tables["manifest.csv"]:
        if row[0] == f"file.{name}":
            row[1] = mode


def only_of(tables: Tables, user: str) -> None:
    """Of the roles, the user's own."""
    tables["roles.csv"][1:] = [row for row in tables["roles.csv"][1:] if row[3] == user]
