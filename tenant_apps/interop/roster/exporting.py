"""The institution's rows as a OneRoster package: computed from them, never from an upload.

Rows are ordered by sourcedId and nothing in a bulk package depends on the moment, so the same rows make the same bytes,
and a package that is imported into an empty institution is exported from there as the same package
(docs/domain/oneroster.md says what does not travel). A delta holds what was written since, and what was deleted, which
the log knows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from django.db import models
from django.db.models import F, Max, Min, Q
from django.db.models.functions import Greatest
from django.utils import timezone

from shared_apps.core.clock import local_date
from tenant_apps.academics.models import Course, Enrolment, Section, SectionTeacher, SectionTerm
from tenant_apps.audit import past
from tenant_apps.interop.oneroster import layout
from tenant_apps.interop.oneroster.layout import FileLayout
from tenant_apps.interop.roster.packing import Cells, write_package
from tenant_apps.interop.roster.people import PERSON, RELATIONS
from tenant_apps.interop.roster.places import TERM_KINDS
from tenant_apps.interop.roster.teaching import grade_code
from tenant_apps.school.models import AcademicYear, Campus, Guardian, Institution, Staff, Student, StudentGuardian, Term
from tenant_apps.school.models.people import StudentState

LONGEST_ID = 255
DAY = timedelta(days=1)
# A row is stamped when it is written and seen when its transaction has been committed; an import takes minutes.
UNSEEN_FOR = timedelta(minutes=15)
DELETIONS_AT_ONCE = 1_000
ROLE_OF_RELATION = {str(relation): role for role, relation in RELATIONS.items()}
SESSION_OF_KIND = {str(kind): name for name, kind in TERM_KINDS.items()}
STAFF_ROLE_OF_POSITION = {
    "".join(f" {sign.lower()}" if sign.isupper() else sign for sign in role).capitalize(): role
    for role in layout.STAFF_ROLES
}


@dataclass(slots=True)
class Person:
    """A user of the package: one row of users.csv, and what they are."""

    cells: Cells
    roles: list[Cells] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Exported:
    """`counts`: rows of each file. `as_of`: a delta since then holds what this package lacks."""

    counts: dict[str, int]
    as_of: datetime


def export_roster(target: Path, *, version: str = "1.2", since: datetime | None = None) -> Exported:
    """Write the current institution's package to `target`: all of it, or what has changed `since`."""
    as_of = timezone.now() - UNSEEN_FOR
    exported = _Export(since)
    return Exported(write_package(target, exported.files(), version=version, since=since), as_of)


class _Export:
    """The rows of every file. What others refer to is read once; enrolments are streamed."""

    def __init__(self, since: datetime | None) -> None:
        self.since = since
        self.today = local_date()
        self.profile = Institution.objects.get()
        self.root = self.profile.sourced_id or str(self.profile.pk)
        self.campuses = _ids(Campus)
        self.years = _ids(AcademicYear)
        self.terms = _ids(Term)
        self.courses = _ids(Course)
        self.sections = _ids(Section)
        self.students = _ids(Student)
        self.guardians = _ids(Guardian)
        self.staff = _ids(Staff)

    def files(self) -> Iterator[tuple[FileLayout[Any], Iterable[Cells]]]:
        """Every file that has rows of ours, in the standard's reading order."""
        people = self._people()
        yield layout.ORGS, [*self._orgs(), *self._gone(Campus, lambda old: {"name": old["name"], "type": "school"})]
        yield layout.ACADEMIC_SESSIONS, _sorted((*self._sessions(), *self._gone(AcademicYear), *self._gone(Term)))
        yield layout.COURSES, _sorted((*self._courses(), *self._gone(Course)))
        yield layout.CLASSES, _sorted((*self._classes(), *self._gone(Section)))
        yield layout.USERS, _sorted((*(person.cells for person in people.values()), *self._gone_users(people)))
        roles = (role for person in people.values() for role in person.roles)
        yield layout.ROLES_FILE, _sorted((*roles, *self._gone_roles(people)))
        yield layout.ENROLLMENTS, _sorted(self._enrolments())
        yield layout.DEMOGRAPHICS, _sorted(self._demographics())

    def _orgs(self) -> Iterator[Cells]:
        profile = self.profile
        yield {"at": profile.updated_at, "sourcedId": self.root, "name": profile.name, "type": "district"}
        campuses = Campus.objects.values_list("id", "updated_at", "name", "code")
        yield from _sorted(
            {
                "at": at,
                "sourcedId": self.campuses[key],
                "name": name,
                "type": "school",
                "identifier": code,
                "parentSourcedId": self.root,
            }
            for key, at, name, code in campuses
        )

    def _sessions(self) -> Iterator[Cells]:
        columns: tuple[str, ...] = ("id", "updated_at", "name", "starts_on", "ends_on")
        for key, at, *named in AcademicYear.objects.values_list(*columns):
            yield _session(at, self.years[key], "schoolYear", None, *named)
        columns = ("id", "updated_at", "kind", "parent_id", "academic_year_id", "name", "starts_on", "ends_on")
        for key, at, kind, parent, year, *named in Term.objects.values_list(*columns):
            above = self.terms[parent] if parent else self.years[year]
            yield _session(at, self.terms[key], SESSION_OF_KIND[kind], above, *named)

    def _courses(self) -> Iterator[Cells]:
        columns = ("id", "academic_year_id", "title", "code", "grade_level__code", "subject__name", "subject__code")
        written = Greatest("updated_at", "grade_level__updated_at", "subject__updated_at")
        for key, year, title, code, grade, subject, subject_code, at in Course.objects.values_list(*columns, written):
            yield {
                "at": at,
                "sourcedId": self.courses[key],
                "schoolYearSourcedId": self.years.get(year),
                "title": title,
                "courseCode": code,
                "grades": grade and grade_code(grade),
                "orgSourcedId": self.root,
                "subjects": subject,
                "subjectCodes": subject_code,
            }

    def _classes(self) -> Iterator[Cells]:
        taught: dict[UUID, list[str]] = {}
        taught_since: dict[UUID, datetime] = {}
        for section, term, at in SectionTerm.objects.values_list("section_id", "term_id", "updated_at"):
            taught.setdefault(section, []).append(self.terms[term])
            taught_since[section] = max(at, taught_since.get(section, at))
        for gone in self._deleted(SectionTerm):
            section = UUID(gone.before["section_id"])
            taught_since[section] = max(gone.at, taught_since.get(section, gone.at))
        columns = ("id", "updated_at", "title", "code", "kind", "course_id", "campus_id", "course__academic_year_id")
        for key, at, title, code, kind, course, campus, year in Section.objects.values_list(*columns):
            # The standard asks for a term; a class in none is said to be in its course's year.
            terms = sorted(taught.get(key, ())) or ([self.years[year]] if year else sorted(self.years.values())[:1])
            yield {
                "at": max(at, taught_since.get(key, at)),
                "sourcedId": self.sections[key],
                "title": title,
                "courseSourcedId": self.courses[course],
                "classCode": code,
                "classType": kind,
                "schoolSourcedId": self.campuses[campus],
                "termSourcedIds": terms,
            }

    def _people(self) -> dict[str, Person]:
        """Everybody by sourcedId; who is several things is one person with several roles."""
        people: dict[str, Person] = {}
        agents: dict[UUID, list[tuple[str, str, UUID]]] = {}
        children: dict[UUID, list[tuple[str, str, UUID]]] = {}
        current = Q(valid_until=None) | Q(valid_until__gt=self.today)
        links = StudentGuardian.objects.filter(current).values_list("student_id", "guardian_id", "relation")
        self.linked = {
            end: dict(StudentGuardian.objects.values_list(f"{end}_id").annotate(Max("updated_at")))
            for end in ("student", "guardian")
        }
        for student, guardian, relation in links:
            agents.setdefault(student, []).append((self.guardians[guardian], relation, guardian))
            children.setdefault(guardian, []).append((self.students[student], relation, student))
        campus_of = dict(Student.objects.values_list("id", "campus_id"))
        self._add_students(people, agents)
        self._add_staff(people)
        self._add_guardians(people, children, campus_of)
        return people

    def _add_students(self, people: dict[str, Person], agents: dict[UUID, list[tuple[str, str, UUID]]]) -> None:
        columns = ("student_number", "campus_id", "grade_level__code", "state", "joined_on", "left_on")
        enrolled_from = dict(_held(Enrolment).values_list("student_id").annotate(Min("starts_on")))
        for row in _people_of(Student.objects.exclude(state=StudentState.APPLIED), self.linked["student"], *columns):
            number, campus, grade, state, joined_on, left_on = row.more
            ended = left_on if state != StudentState.ENROLLED else None
            sourced_id = self.students[row.key]
            here = ended is None or ended > self.today
            cells = _user(sourced_id, row, number, enabled=here, org=self.campuses[campus], grade=grade)
            cells["agentSourcedIds"] = sorted(agent for agent, _, _ in agents.get(row.key, ()))
            # Whoever reads the package takes the first enrolment for the first day too, where none is said.
            begins = joined_on or enrolled_from.get(row.key)
            begins = begins if ended is None or begins is None or begins < ended else None
            role = _role(row.at, sourced_id, "student", self.campuses[campus], begins, ended)
            people[sourced_id] = Person(cells, [role])

    def _add_staff(self, people: dict[str, Person]) -> None:
        columns = ("staff_number", "campus_id", "position", "employed_from", "employed_until")
        for row in _people_of(Staff.objects.all(), {}, *columns):
            number, campus, position, begins, ends = row.more
            sourced_id = self.staff[row.key]
            org = self.campuses[campus] if campus else self.root
            here = ends is None or ends > self.today
            role = _role(row.at, sourced_id, STAFF_ROLE_OF_POSITION.get(position, "teacher"), org, begins, ends)
            person = people.setdefault(
                sourced_id, Person(_user(sourced_id, row, number, enabled=here, org=self.campuses.get(campus)))
            )
            _give(person, role)

    def _add_guardians(
        self, people: dict[str, Person], children: dict[UUID, list[tuple[str, str, UUID]]], campus_of: dict[UUID, UUID]
    ) -> None:
        for row in _people_of(Guardian.objects.all(), self.linked["guardian"]):
            sourced_id = self.guardians[row.key]
            own = sorted(children.get(row.key, ()))
            name = ROLE_OF_RELATION.get(own[0][1], "relative") if own else "guardian"
            org = self.campuses[campus_of[own[0][2]]] if own else self.root
            person = people.setdefault(sourced_id, Person(_user(sourced_id, row, "", enabled=True, org=None)))
            _give(person, _role(row.at, sourced_id, name, org, None, None))

    def _enrolments(self) -> Iterator[Cells]:
        """Of students and teachers. One that has come to hold no day is gone."""
        students = self._written(Enrolment).exclude(student__state=StudentState.APPLIED)
        for row, person in self._enrolled(students, "student_id"):
            yield row | {"userSourcedId": self.students[person], "role": "student"}
        for row, person, role in self._enrolled(self._written(SectionTeacher), "staff_id", "role"):
            primary = role == SectionTeacher.Role.PRIMARY
            yield row | {"userSourcedId": self.staff[person], "role": "teacher", "primary": primary}
        yield from self._gone(Enrolment, lambda old: self._enrolment_of_old(old, self.students, "student"))
        yield from self._gone(SectionTeacher, lambda old: self._enrolment_of_old(old, self.staff, "teacher"))

    def _enrolment_of_old(self, old: dict[str, Any], people: dict[UUID, str], role: str) -> Cells:
        return {
            "classSourcedId": self.sections.get(UUID(old["section_id"])),
            "userSourcedId": people.get(UUID(old["student_id" if role == "student" else "staff_id"])),
            "role": role,
        }

    def _written(self, model: type[models.Model]) -> Any:
        return model._default_manager.filter(updated_at__gte=self.since) if self.since else _held(model)

    def _enrolled(self, queryset: Any, *columns: str) -> Iterator[tuple[Any, ...]]:
        shared = ("sourced_id", "id", "updated_at", "section_id", "section__campus_id", "starts_on", "ends_on")
        for sourced_id, key, at, section, campus, starts_on, ends_on, *more in queryset.values_list(
            *shared, *columns
        ).iterator(5_000):
            row = {
                "at": at,
                "gone": ends_on is not None and ends_on <= starts_on,
                "sourcedId": sourced_id or str(key),
                "classSourcedId": self.sections[section],
                "schoolSourcedId": self.campuses[campus],
                "beginDate": starts_on,
                "endDate": ends_on,
            }
            yield row, *more

    def _demographics(self) -> Iterator[Cells]:
        known = Student.objects.exclude(state=StudentState.APPLIED).exclude(birth_date=None, sex="", birth_place="")
        for key, at, born, sex, place in known.values_list("id", "updated_at", "birth_date", "sex", "birth_place"):
            yield {
                "at": at,
                "sourcedId": self.students[key],
                "birthDate": born,
                "sex": sex if sex in layout.SEXES else "",
                "cityOfBirth": place,
            }

    def _deleted(self, model: type[models.Model]) -> Iterator[past.Past]:
        """Rows that have been deleted since, as the log keeps them."""
        before = None
        while self.since is not None:
            found = past.deleted(model, before=before, most=DELETIONS_AT_ONCE)
            yield from (entry for entry in found if entry.at >= self.since)
            if len(found) < DELETIONS_AT_ONCE or found[-1].at < self.since:
                return
            before = found[-1].id

    def _gone(
        self, model: type[models.Model], cells: Callable[[dict[str, Any]], Cells] = lambda old: {}
    ) -> Iterator[Cells]:
        for entry in self._deleted(model):
            yield {"at": entry.at, "gone": True, "sourcedId": _key_of(entry), **cells(entry.before)}

    def _gone_users(self, people: dict[str, Person]) -> Iterator[Cells]:
        """Who is nothing here any more."""
        found: dict[str, Cells] = {}
        for model in (Student, Staff, Guardian):
            for row in self._gone(
                model, lambda old: {"givenName": old["given_name"], "familyName": old["family_name"]}
            ):
                if row["sourcedId"] not in people:
                    found[row["sourcedId"]] = row | {"enabledUser": False}
        yield from found.values()

    def _gone_roles(self, people: dict[str, Person]) -> Iterator[Cells]:
        """Roles of those whom the log knows to have been more than they are."""
        for model, role in ((Student, "student"), (Staff, "teacher"), (Guardian, "guardian")):
            for entry in self._deleted(model):
                held = STAFF_ROLE_OF_POSITION.get(entry.before.get("position", ""), role)
                yield _role(entry.at, _key_of(entry), held, self.root, None, None) | {"gone": True}


def _key_of(entry: past.Past) -> str:
    return entry.before.get("sourced_id") or entry.key


@dataclass(frozen=True, slots=True)
class _Row:
    """A person's row: key, the columns of `PERSON` by header, and what was asked for besides."""

    at: datetime
    key: UUID
    person: Cells
    more: tuple[Any, ...]


def _held(model: Any) -> Any:
    """Enrolments that have a day: one that was planned and never came about is none."""
    return model.objects.filter(Q(ends_on=None) | Q(ends_on__gt=F("starts_on")))


def _people_of(queryset: Any, linked: dict[UUID, datetime], *columns: str) -> Iterator[_Row]:
    """`linked`: when somebody's links were last written."""
    names = [column for column, _ in PERSON]
    headers = [header for _, header in PERSON]
    for key, at, *values in queryset.values_list("id", "updated_at", *names, *columns).iterator(2_000):
        cut = len(names)
        at = max(at, linked.get(key, at))
        yield _Row(at, key, dict(zip(headers, values[:cut], strict=True)), tuple(values[cut:]))


def _user(
    sourced_id: str, row: _Row, number: str, *, enabled: bool, org: str | None, grade: str | None = None
) -> Cells:
    return {
        **row.person,
        "at": row.at,
        "sourcedId": sourced_id,
        "enabledUser": enabled,
        "username": row.person["email"] or number or sourced_id,
        "identifier": number,
        "grades": grade and grade_code(grade),
        "primaryOrgSourcedId": org,
    }


def _role(at: datetime, user: str, role: str, org: str, begins: date | None, ends: date | None) -> Cells:
    key = f"{user}.{role}"
    return {
        "at": at,
        "sourcedId": key if len(key) <= LONGEST_ID else str(uuid5(NAMESPACE_OID, key)),
        "userSourcedId": user,
        "roleType": "primary",
        "role": role,
        "beginDate": begins,
        "endDate": ends,
        "orgSourcedId": org,
    }


def _give(person: Person, role: Cells) -> None:
    if person.roles:
        role["roleType"] = "secondary"
        person.cells["at"] = max(person.cells["at"], role["at"])
    person.roles.append(role)


def _session(at: datetime, key: str, kind: str, above: str | None, name: str, starts_on: date, ends_on: date) -> Cells:
    return {
        "at": at,
        "sourcedId": key,
        "title": name,
        "type": kind,
        "startDate": starts_on,
        "endDate": ends_on,
        "parentSourcedId": above,
        "schoolYear": (ends_on - DAY).year,
    }


def _ids(model: Any) -> dict[UUID, str]:
    """The sourcedId of each row: the roster's own, else the row's id."""
    return {key: sourced_id or str(key) for key, sourced_id in model.objects.values_list("id", "sourced_id")}


def _sorted(rows: Iterable[Cells]) -> list[Cells]:
    return sorted(rows, key=lambda row: row["sourcedId"])
