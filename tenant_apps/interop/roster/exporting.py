"""A OneRoster 1.2 package (bulk) of what the institution holds: computed from its rows, never from an upload.

Rows are ordered by sourcedId and nothing in the package depends on the moment, so the same rows make the same bytes,
and a package that is imported into an empty institution is exported from there as the same package
(docs/domain/oneroster.md says what does not travel).
"""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from django.db.models import F, Q

from shared_apps.core.clock import local_date
from tenant_apps.academics.models import Course, Enrolment, Section, SectionTeacher, SectionTerm
from tenant_apps.interop.oneroster import layout
from tenant_apps.interop.oneroster.layout import FileLayout
from tenant_apps.interop.roster.people import PERSON, RELATIONS
from tenant_apps.interop.roster.places import TERM_KINDS
from tenant_apps.school.models import AcademicYear, Campus, Guardian, Institution, Staff, Student, StudentGuardian, Term
from tenant_apps.school.models.people import StudentState

LONGEST_ID = 255
EPOCH = (1980, 1, 1, 0, 0, 0)  # of a zip's entries: the earliest that the format knows
DAY = timedelta(days=1)
ROLE_OF_RELATION = {str(relation): role for role, relation in RELATIONS.items()}
SESSION_OF_KIND = {str(kind): name for name, kind in TERM_KINDS.items()}
STAFF_ROLE_OF_POSITION = {
    "".join(f" {sign.lower()}" if sign.isupper() else sign for sign in role).capitalize(): role
    for role in layout.STAFF_ROLES
}
Cells = dict[str, Any]


@dataclass(slots=True)
class Person:
    """A user of the package: one row of users.csv, and what they are."""

    cells: Cells
    roles: list[Cells] = field(default_factory=list)


def export_roster(target: Path) -> dict[str, int]:
    """Write the current institution's package to `target`; how many rows each file has. Runs in one transaction."""
    exported = _Export()
    counts: dict[str, int] = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        _write(package, layout.MANIFEST, (("propertyName", "value"), *_manifest()))
        for each, rows in exported.files():
            counts[each.file.removesuffix(".csv")] = _write(package, each.file, _table(each, rows)) - 1
    return counts


def _manifest() -> Iterator[tuple[str, str]]:
    yield "manifest.version", "1.0"
    yield "oneroster.version", "1.2"
    for name in sorted(layout.STANDARD_FILES):
        yield f"file.{name.removesuffix('.csv')}", "bulk" if name in layout.IMPORTED_FILES else "absent"
    yield "source.systemName", "Lyceum"


def _table(each: FileLayout[Any], rows: Iterable[Cells]) -> Iterator[tuple[str, ...]]:
    yield each.headers
    for row in rows:
        yield tuple(_cell(row.get(header)) for header in each.headers)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case date():
            return value.isoformat()
        case list() | tuple():
            return ",".join(value)
        case _:
            return str(value)


def _write(package: zipfile.ZipFile, name: str, rows: Iterable[tuple[str, ...]]) -> int:
    """One file of the package (RFC 4180), row by row; how many rows it has."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    count = 0
    with package.open(entry, "w") as raw, io.TextIOWrapper(raw, "utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\r\n")
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


class _Export:
    """The rows of every file. What others refer to is read once; enrolments are streamed."""

    def __init__(self) -> None:
        self.today = local_date()
        profile = Institution.objects.get()
        self.root = profile.sourced_id or str(profile.pk)
        self.root_name = profile.name
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
        yield layout.ORGS, self._orgs()
        yield layout.ACADEMIC_SESSIONS, _sorted(self._sessions())
        yield layout.COURSES, _sorted(self._courses())
        yield layout.CLASSES, _sorted(self._classes())
        yield layout.USERS, (people[key].cells for key in sorted(people))
        yield layout.ROLES_FILE, _sorted(role for person in people.values() for role in person.roles)
        yield layout.ENROLLMENTS, _sorted(self._enrolments())
        yield layout.DEMOGRAPHICS, _sorted(self._demographics())

    def _orgs(self) -> Iterator[Cells]:
        yield {"sourcedId": self.root, "name": self.root_name, "type": "district"}
        campuses = Campus.objects.values_list("id", "name", "code")
        yield from _sorted(
            {
                "sourcedId": self.campuses[key],
                "name": name,
                "type": "school",
                "identifier": code,
                "parentSourcedId": self.root,
            }
            for key, name, code in campuses
        )

    def _sessions(self) -> Iterator[Cells]:
        for key, name, starts_on, ends_on in AcademicYear.objects.values_list("id", "name", "starts_on", "ends_on"):
            yield _session(self.years[key], name, "schoolYear", starts_on, ends_on, None)
        columns = ("id", "name", "kind", "starts_on", "ends_on", "parent_id", "academic_year_id")
        for key, name, kind, starts_on, ends_on, parent, year in Term.objects.values_list(*columns):
            above = self.terms[parent] if parent else self.years[year]
            yield _session(self.terms[key], name, SESSION_OF_KIND[kind], starts_on, ends_on, above)

    def _courses(self) -> Iterator[Cells]:
        columns = ("id", "academic_year_id", "title", "code", "grade_level__code", "subject__name", "subject__code")
        for key, year, title, code, grade, subject, subject_code in Course.objects.values_list(*columns):
            yield {
                "sourcedId": self.courses[key],
                "schoolYearSourcedId": self.years.get(year),
                "title": title,
                "courseCode": code,
                "grades": grade,
                "orgSourcedId": self.root,
                "subjects": subject,
                "subjectCodes": subject_code,
            }

    def _classes(self) -> Iterator[Cells]:
        taught: dict[UUID, list[str]] = {}
        for section, term in SectionTerm.objects.values_list("section_id", "term_id"):
            taught.setdefault(section, []).append(self.terms[term])
        columns = ("id", "title", "code", "kind", "course_id", "campus_id", "course__academic_year_id")
        for key, title, code, kind, course, campus, year in Section.objects.values_list(*columns):
            # The standard asks for a term; a class in none is said to be in its course's year.
            terms = sorted(taught.get(key, ())) or ([self.years[year]] if year else sorted(self.years.values())[:1])
            yield {
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
        for row in _people_of(Student.objects.exclude(state=StudentState.APPLIED), *columns):
            number, campus, grade, state, joined_on, left_on = row.more
            ended = left_on if state != StudentState.ENROLLED else None
            sourced_id = self.students[row.key]
            here = ended is None or ended > self.today
            cells = _user(sourced_id, row, number, enabled=here, org=self.campuses[campus], grade=grade)
            cells["agentSourcedIds"] = sorted(agent for agent, _, _ in agents.get(row.key, ()))
            begins = joined_on if ended is None or joined_on is None or joined_on < ended else None
            role = _role(sourced_id, "student", self.campuses[campus], begins, ended)
            people[sourced_id] = Person(cells, [role])

    def _add_staff(self, people: dict[str, Person]) -> None:
        columns = ("staff_number", "campus_id", "position", "employed_from", "employed_until")
        for row in _people_of(Staff.objects.all(), *columns):
            number, campus, position, begins, ends = row.more
            sourced_id = self.staff[row.key]
            org = self.campuses[campus] if campus else self.root
            here = ends is None or ends > self.today
            role = _role(sourced_id, STAFF_ROLE_OF_POSITION.get(position, "teacher"), org, begins, ends)
            person = people.setdefault(
                sourced_id, Person(_user(sourced_id, row, number, enabled=here, org=self.campuses.get(campus)))
            )
            _give(person, role)

    def _add_guardians(
        self, people: dict[str, Person], children: dict[UUID, list[tuple[str, str, UUID]]], campus_of: dict[UUID, UUID]
    ) -> None:
        for row in _people_of(Guardian.objects.all()):
            sourced_id = self.guardians[row.key]
            own = sorted(children.get(row.key, ()))
            name = ROLE_OF_RELATION.get(own[0][1], "relative") if own else "guardian"
            org = self.campuses[campus_of[own[0][2]]] if own else self.root
            person = people.setdefault(sourced_id, Person(_user(sourced_id, row, "", enabled=True, org=None)))
            _give(person, _role(sourced_id, name, org, None, None))

    def _enrolments(self) -> Iterator[Cells]:
        """Of students and teachers. One that was planned and has no day left is none."""
        columns = ("sourced_id", "id", "section_id", "section__campus_id", "starts_on", "ends_on")
        days = Q(ends_on=None) | Q(ends_on__gt=F("starts_on"))
        students = Enrolment.objects.filter(days).exclude(student__state=StudentState.APPLIED)
        for sourced_id, key, section, campus, starts_on, ends_on, student in students.values_list(
            *columns, "student_id"
        ).iterator(5_000):
            yield self._enrolment(sourced_id or key, section, campus, self.students[student], starts_on, ends_on) | {
                "role": "student"
            }
        teachers = SectionTeacher.objects.filter(days).values_list(*columns, "staff_id", "role")
        for sourced_id, key, section, campus, starts_on, ends_on, person, role in teachers.iterator(5_000):
            yield self._enrolment(sourced_id or key, section, campus, self.staff[person], starts_on, ends_on) | {
                "role": "teacher",
                "primary": role == SectionTeacher.Role.PRIMARY,
            }

    def _enrolment(
        self, sourced_id: Any, section: UUID, campus: UUID, user: str, starts_on: date, ends_on: date | None
    ) -> Cells:
        return {
            "sourcedId": str(sourced_id),
            "classSourcedId": self.sections[section],
            "schoolSourcedId": self.campuses[campus],
            "userSourcedId": user,
            "beginDate": starts_on,
            "endDate": ends_on,
        }

    def _demographics(self) -> Iterator[Cells]:
        known = Student.objects.exclude(state=StudentState.APPLIED).exclude(birth_date=None, sex="", birth_place="")
        for key, born, sex, place in known.values_list("id", "birth_date", "sex", "birth_place"):
            yield {
                "sourcedId": self.students[key],
                "birthDate": born,
                "sex": sex if sex in layout.SEXES else "",
                "cityOfBirth": place,
            }


@dataclass(frozen=True, slots=True)
class _Row:
    """A person's row: key, the columns of `PERSON` by header, and what was asked for besides."""

    key: UUID
    person: Cells
    more: tuple[Any, ...]


def _people_of(queryset: Any, *columns: str) -> Iterator[_Row]:
    names = [column for column, _ in PERSON]
    headers = [header for _, header in PERSON]
    for key, *values in queryset.values_list("id", *names, *columns).iterator(2_000):
        cut = len(names)
        yield _Row(key, dict(zip(headers, values[:cut], strict=True)), tuple(values[cut:]))


def _user(
    sourced_id: str, row: _Row, number: str, *, enabled: bool, org: str | None, grade: str | None = None
) -> Cells:
    return {
        **row.person,
        "sourcedId": sourced_id,
        "enabledUser": enabled,
        "username": row.person["email"] or number or sourced_id,
        "identifier": number,
        "grades": grade,
        "primaryOrgSourcedId": org,
    }


def _role(user: str, role: str, org: str, begins: date | None, ends: date | None) -> Cells:
    key = f"{user}.{role}"
    return {
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
    person.roles.append(role)


def _session(key: str, name: str, kind: str, starts_on: date, ends_on: date, above: str | None) -> Cells:
    return {
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
