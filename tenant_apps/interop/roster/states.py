"""The history of students' states: how new students begin, who comes back, and who lacks in the roster."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from shared_apps.core.context import current_institution
from shared_apps.core.ids import uuid7
from shared_apps.core.limits import STUDENTS
from shared_apps.core.quotas import exceeded, limits_of, used
from tenant_apps.interop.oneroster.findings import quoted
from tenant_apps.interop.oneroster.layout import STUDENT_ROLES
from tenant_apps.interop.roster.draft import Plan, StateMove
from tenant_apps.interop.roster.ending import Leaver, leaving_students, students_gone
from tenant_apps.interop.roster.findings import PlanCode
from tenant_apps.interop.roster.tables import TableChange, stored_rows
from tenant_apps.school.models import Student, StudentStatus
from tenant_apps.school.models.people import StudentState

USERS = "users.csv"
STATUS_COLUMNS = ("id", "student_id", "state", "starts_on", "ends_on", "reason")
IMPORTED = "Imported from a roster"
LACKED = "Missing in an imported roster"
DELETED = "Deleted in an imported roster"
OVER = "Left in an imported roster"
RETURNED = "In an imported roster again"


class Present(NamedTuple):
    """A stored student of a roster, with the open row of their history."""

    sourced_id: str
    id: UUID
    state: str
    joined_on: date | None
    since: date
    reason: str

    @property
    def first_day(self) -> date:
        """Of the present stay."""
        return max(self.since, self.joined_on or self.since)


def plan_states(plan: Plan) -> None:
    """First rows of the history of new students; who lacked in an earlier roster and is back; who lacks now."""
    change = plan.change_of(Student)
    _begin_histories(plan, change)
    present = _present()
    known = {row.user_sourced_id: row.line for row in plan.roster.roles if row.role in STUDENT_ROLES}
    known |= {row.sourced_id: row.line for row in plan.roster.users if row.sourced_id in plan.students}
    gone = students_gone(plan)
    taken = leaving_students(plan, gone)
    leaving = {each.id: taken[each.id] for each in present if each.id in taken and _leaves(each, taken[each.id])}
    changed = {row[0] for row in change.changed}
    differing: dict[str, list[int]] = defaultdict(list)
    for student in present:
        if student.sourced_id not in known or student.id in leaving:
            continue
        if student.state == StudentState.ENROLLED:
            if student.sourced_id in gone:
                differing[student.state].append(known[student.sourced_id])
            continue
        taken_out = student.state == StudentState.LEFT and student.reason in (LACKED, DELETED, OVER)
        if taken_out and student.since <= plan.today and student.sourced_id not in gone:
            plan.state_moves.append(StateMove(student.id, StudentState.ENROLLED, plan.today, RETURNED))
            change.moved += student.id not in changed
            continue
        if student.state != StudentState.APPLIED:
            plan.departed[student.id] = student.since
        if student.sourced_id not in gone:
            differing[student.state].append(known[student.sourced_id])
    for state, lines in sorted(differing.items()):
        detail = (
            f"{len(lines):,} students whose roles have all ended are enrolled here, and stay so: let them go by hand, "
            "or take them out of the roster and ask for close_missing."
            if state == StudentState.ENROLLED
            else f"{len(lines):,} students of the roster have the state {state} here, set by hand, and keep it: change "
            "it by hand, or take them out of the roster."
        )
        plan.log.note("warning", PlanCode.STATE_DIFFERS, detail, file=USERS, line=min(lines), column="sourcedId")
    for student in present:
        if student.id in leaving:
            ended_on = leaving[student.id].ended_on
            plan.leaving[student.id] = ended_on or plan.today
            _leave(plan, change, [student], OVER if ended_on else DELETED, plan.leaving[student.id])
    if plan.close_missing:
        _close(plan, change, [student for student in present if student.sourced_id not in known])
    _count_places(plan, change)


def _leaves(student: Present, leaver: Leaver) -> bool:
    """A role that ended before the present stay began says nothing of it, nor of who has left already."""
    if leaver.ended_on is None:
        return True
    return student.state == StudentState.ENROLLED and student.first_day < leaver.ended_on


def _count_places(plan: Plan, change: TableChange) -> None:
    """How many students more are enrolled then, and whether the institution may have so many."""
    state = change.created_columns.index("state")
    plan.enrolled_more = sum(row[state] == StudentState.ENROLLED for row in change.created)
    plan.enrolled_more += sum(1 if move.to == StudentState.ENROLLED else -1 for move in plan.state_moves)
    allowed = limits_of(current_institution()).students
    if allowed is None or plan.enrolled_more <= 0:
        return
    whole = used(STUDENTS) + plan.enrolled_more
    if whole > allowed:
        beyond = exceeded(STUDENTS, allowed=allowed, used=whole)
        plan.log.note("error", PlanCode.QUOTA_EXCEEDED, beyond.detail, file=USERS)


def _begin_histories(plan: Plan, change: TableChange) -> None:
    at = {column: place for place, column in enumerate(change.created_columns)}
    for row in change.created:
        student, state = row[at["id"]], row[at["state"]]
        joined_on, left_on = row[at["joined_on"]], row[at["left_on"]]
        if state == StudentState.LEFT:
            if joined_on is not None:
                plan.new_statuses.append(_status(student, StudentState.ENROLLED, joined_on, left_on))
            plan.new_statuses.append(_status(student, state, left_on, None))
        else:
            plan.new_statuses.append(_status(student, state, joined_on or plan.today, None))


def _status(
    student: UUID, state: str, starts_on: date, ends_on: date | None, reason: str = IMPORTED
) -> tuple[Any, ...]:
    return uuid7(), student, str(state), starts_on, ends_on, reason


def _present() -> list[Present]:
    open_rows = {
        student: (since, reason)
        for student, since, reason in stored_rows(
            StudentStatus, ("student_id", "starts_on", "reason"), "ends_on IS NULL"
        )
    }
    columns = ("sourced_id", "id", "state", "joined_on")
    students = stored_rows(Student, columns, "sourced_id IS NOT NULL")
    return [Present._make((*row, *open_rows[row[1]])) for row in students if row[1] in open_rows]


def _close(plan: Plan, change: TableChange, missing: list[Present]) -> None:
    """Students who lack in the roster have left today."""
    enrolled = [student for student in missing if student.state == StudentState.ENROLLED]
    if not enrolled:
        return
    if not plan.roster.delta.isdisjoint((USERS, "roles.csv")):
        detail = "What a delta lacks is unchanged, so no student leaves for lacking in it."
        plan.log.note("warning", PlanCode.NOTHING_TO_CLOSE_BY, detail, file=USERS)
    elif not plan.students:
        detail = f"The roster has no students at all, so {len(enrolled):,} stored ones stay enrolled."
        plan.log.note("warning", PlanCode.NOTHING_TO_CLOSE_BY, detail, file=USERS)
    else:
        _leave(plan, change, enrolled, LACKED, plan.today)


def _leave(plan: Plan, change: TableChange, students: list[Present], reason: str, on: date) -> None:
    """Those who are enrolled have left as of `on`."""
    for student in students:
        if student.state != StudentState.ENROLLED:
            continue
        if student.first_day >= on:
            joins = student.first_day
            detail = f"{quoted(student.sourced_id)} is to leave, but joins only on {joins}: change it by hand."
            plan.log.note("warning", PlanCode.NOT_CLOSED, detail, file=USERS, column="sourcedId")
            continue
        plan.state_moves.append(StateMove(student.id, StudentState.LEFT, on, reason))
        change.ended += 1


def statuses_of_moves(plan: Plan) -> list[tuple[Any, ...]]:
    """The rows that the moves open."""
    return [_status(move.student_id, move.to, move.on, None, move.reason) for move in plan.state_moves]
