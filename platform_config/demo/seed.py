"""Writes a demo school into its institution, in one transaction: all of it or nothing."""

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID, uuid5

from django.db import transaction

from platform_config.demo.people import Population
from platform_config.demo.schools import SchoolPlan
from shared_apps.core.clock import local_date
from shared_apps.core.permissions import Scope
from tenant_apps.academics.models import Course, Enrolment, Section, SectionTeacher, SectionTerm, Subject
from tenant_apps.accounts.models import Role, User, UserRole
from tenant_apps.interop.roster.teaching import POSITIONS
from tenant_apps.school.models import (
    AcademicYear,
    Campus,
    GradeLevel,
    Guardian,
    Institution,
    Room,
    Staff,
    Student,
    StudentGuardian,
    Term,
)
from tenant_apps.school.services import open_histories

PASSWORD = "lyceum-demo"  # noqa: S105  it is no secret: the start prints it
NAMESPACE = UUID("0a6f4f6e-5f0c-4b39-9a8e-1d1f2f0a7c55")
HOMEROOM_SIZE = 26
SECTIONS_PER_TEACHER = 5
# Every so many students one has changed the homeroom, this many days into the year.
MOVED_EVERY, MOVED_AFTER = 60, timedelta(days=45)
SCOPES = {
    "principal": Scope.INSTITUTION,
    "teacher": Scope.SECTION,
    "guardian": Scope.OWN_CHILDREN,
    "student": Scope.SELF,
}


def is_seeded() -> bool:
    """Whether the institution has students: then it is left as it is."""
    return Student.objects.exists()


@transaction.atomic
def seed_operator(password_hash: str) -> bool:
    """Make the operator's login in the operators' tenant. False when it was there."""
    if User.objects.filter(email="operator@lyceum.test").exists():
        return False
    user = User.objects.create(
        pk=uuid5(NAMESPACE, "operator"),
        email="operator@lyceum.test",
        full_name="Lyceum Operator",
        password=password_hash,
    )
    UserRole.objects.create(user=user, role=Role.objects.get(code="operator"), scope=Scope.INSTITUTION)
    return True


@transaction.atomic
def seed_school(plan: SchoolPlan, password_hash: str) -> bool:
    """Fill the institution that the code stands in. False when it has students already."""
    if is_seeded():
        return False
    School(plan, local_date(), password_hash).write()
    return True


class School:
    """One school on its way into the database. The rows of each table go in one statement, parents first."""

    def __init__(self, plan: SchoolPlan, today: date, password_hash: str) -> None:
        self.plan, self.password_hash = plan, password_hash
        self.starts_on = plan.year_start(today)
        self.people = Population(plan)
        self.homerooms = self.people.place_in_homerooms(HOMEROOM_SIZE)

    def key(self, kind: str, name: object) -> UUID:
        """The same id for the same row at every run."""
        return uuid5(NAMESPACE, f"{self.plan.slug}:{kind}:{name}")

    def write(self) -> None:
        self._profile()
        self._logins()
        self._places()
        self._calendar()
        self._staff()
        self._families()
        self._courses()
        self._teaching()
        self._enrolments()

    # Logins ---------------------------------------------------------------------------------------------------

    def _logins(self) -> None:
        users = [
            User(
                pk=self.key("user", role),
                email=f"{role}@{self.plan.slug}.test",
                full_name=self._full_name(role),
                language=self.plan.new.language,
                password=self.password_hash,
            )
            for role in SCOPES
        ]
        User.objects.bulk_create(users)
        roles = {role.code: role for role in Role.objects.filter(code__in=SCOPES)}
        UserRole.objects.bulk_create(
            UserRole(pk=self.key("user role", role), user_id=self.key("user", role), role=roles[role], scope=scope)
            for role, scope in SCOPES.items()
        )

    def _full_name(self, role: str) -> str:
        match role:
            case "guardian":
                known: Any = self.people.adults[0]
            case "student":
                known = self.people.children[self._demo_student]
            case _:
                given, family, _ = self._workforce[0 if role == "principal" else len(self.plan.positions)]
                return f"{given} {family}"
        return f"{known.given_name} {known.family_name}"

    @property
    def _demo_student(self) -> int:
        """The first child after the demo guardian's three."""
        return 3

    # Places and calendar --------------------------------------------------------------------------------------

    def _profile(self) -> None:
        profile = Institution.objects.get()
        profile.short_name, profile.country = self.plan.short_name, self.plan.country
        profile.save(update_fields=["short_name", "country", "updated_at"])

    def _places(self) -> None:
        plan = self.plan
        Campus.objects.bulk_create(
            Campus(
                pk=self.key("campus", campus.code),
                code=campus.code,
                name=campus.name,
                address_line1=campus.address,
                postal_code=campus.postal_code,
                city=campus.city,
                region=campus.region,
                country=plan.country,
                phone=plan.phone.format(index),
                email=f"{campus.code.lower()}@{plan.slug}.test",
            )
            for index, campus in enumerate(plan.campuses)
        )
        GradeLevel.objects.bulk_create(
            GradeLevel(
                pk=self.key("grade", grade.code), code=grade.code, name=grade.name, position=POSITIONS[grade.ceds]
            )
            for grade in plan.grades
        )
        Room.objects.bulk_create(
            Room(
                pk=self.key("room", number),
                campus_id=self.key("campus", plan.grades[grade].campus),
                name=plan.room.format(101 + number),
                capacity=30,
            )
            for number, (grade, _) in enumerate(self.homerooms)
        )

    def _calendar(self) -> None:
        """The year before, this one and the one to come, each with its terms."""
        years: list[AcademicYear] = []
        terms: list[Term] = []
        for year in (self.starts_on.year - 1, self.starts_on.year, self.starts_on.year + 1):
            starts_on, ends_on = self._first_day(year), self._first_day(year + 1)
            years.append(
                AcademicYear(pk=self.key("year", year), name=f"{year}/{year + 1}", starts_on=starts_on, ends_on=ends_on)
            )
            turns = [date(year + (term.starts < self.plan.year_starts), *term.starts) for term in self.plan.terms]
            terms += [
                Term(
                    pk=self.key("term", f"{year}:{number}"),
                    academic_year=years[-1],
                    kind=self.plan.term_kind,
                    name=term.name,
                    starts_on=turns[number],
                    ends_on=[*turns[1:], ends_on][number],
                )
                for number, term in enumerate(self.plan.terms)
            ]
        AcademicYear.objects.bulk_create(years)
        Term.objects.bulk_create(terms)

    def _first_day(self, year: int) -> date:
        return date(year, *self.plan.year_starts)

    # People ---------------------------------------------------------------------------------------------------

    @property
    def _teachers_per_subject(self) -> int:
        return -(-len(self.homerooms) // SECTIONS_PER_TEACHER)

    @cached_property
    def _workforce(self) -> list[tuple[str, str, str]]:
        """The office first, then the teachers, subject by subject."""
        teachers = self._teachers_per_subject * len(self.plan.subjects)
        return list(self.people.teachers(len(self.plan.positions) + teachers))

    def _staff(self) -> None:
        office = len(self.plan.positions)
        logins = {0: "principal", office: "teacher"}
        rows = []
        for number, (given, family, sex) in enumerate(self._workforce):
            login = logins.get(number)
            if number < office:
                position = self.plan.positions[number]
            else:
                position = self.plan.subjects[(number - office) // self._teachers_per_subject][1]
            rows.append(
                Staff(
                    pk=self.key("staff", number),
                    staff_number=f"T{number + 1:04}",
                    given_name=given,
                    family_name=family,
                    sex=sex,
                    email=f"{login}@{self.plan.slug}.test" if login else f"t{number + 1:04}@{self.plan.slug}.test",
                    phone=self.plan.phone.format(number % 100),
                    language=self.plan.new.language,
                    campus_id=self.key("campus", self.plan.campuses[number % len(self.plan.campuses)].code),
                    position=position,
                    employed_from=self._first_day(self.starts_on.year - 1 - number % 12),
                    user_id=self.key("user", login) if login else None,
                )
            )
        Staff.objects.bulk_create(rows)

    def _families(self) -> None:
        plan, chance = self.plan, self.people.chance
        Guardian.objects.bulk_create(
            Guardian(
                pk=self.key("guardian", adult.number),
                given_name=adult.given_name,
                family_name=adult.family_name,
                sex=adult.sex,
                email=f"guardian@{plan.slug}.test" if adult.number == 0 else f"g{adult.number:05}@families.test",
                mobile_phone=plan.mobile.format(adult.number % 100),
                language=plan.new.language,
                user_id=self.key("user", "guardian") if adult.number == 0 else None,
            )
            for adult in self.people.adults
        )
        students = []
        for child in self.people.children:
            grade = plan.grades[child.grade]
            is_demo = child.number == self._demo_student
            years_here = chance.choices((0, min(1, child.grade), child.grade), (1, 1, 6))[0]
            students.append(
                Student(
                    pk=self.key("student", child.number),
                    student_number=f"S{child.number + 1:05}",
                    given_name=child.given_name,
                    family_name=child.family_name,
                    sex=child.sex,
                    birth_date=self._birthday(grade.age),
                    birth_place=chance.choice(plan.names.birth_places),
                    nationality=plan.country,
                    language=plan.new.language,
                    email=f"student@{plan.slug}.test" if is_demo else f"s{child.number + 1:05}@{plan.slug}.test",
                    campus_id=self.key("campus", grade.campus),
                    grade_level_id=self.key("grade", grade.code),
                    joined_on=self._first_day(self.starts_on.year - years_here),
                    user_id=self.key("user", "student") if is_demo else None,
                )
            )
        open_histories(Student.objects.bulk_create(students))
        StudentGuardian.objects.bulk_create(
            StudentGuardian(
                pk=self.key("link", f"{child.number}:{tie.adult.number}"),
                student_id=self.key("student", child.number),
                guardian_id=self.key("guardian", tie.adult.number),
                relation=tie.relation,
                custody=tie.custody,
                may_see_records=tie.may_see_records,
                may_collect=tie.may_collect,
                pays=tie.pays,
                call_order=tie.call_order,
            )
            for child in self.people.children
            for tie in child.ties
        )

    def _birthday(self, age: int) -> date:
        """A day on which somebody was born who has `age` on the first day of the school year."""
        latest = date(self.starts_on.year - age, *self.plan.year_starts)
        return latest - timedelta(days=self.people.chance.randrange(365))

    # Teaching -------------------------------------------------------------------------------------------------

    def _courses(self) -> None:
        Subject.objects.bulk_create(
            Subject(pk=self.key("subject", code), code=code, name=name) for code, name in self.plan.subjects
        )
        Course.objects.bulk_create(
            Course(
                pk=self.key("course", f"{code}:{grade.code}"),
                subject_id=self.key("subject", code) if code else None,
                grade_level_id=self.key("grade", grade.code),
                academic_year_id=self.key("year", self.starts_on.year),
                code=f"{code or 'HR'}-{grade.code}",
                title=f"{name}, {grade.name}",
            )
            for code, name in (("", self.plan.homeroom_course), *self.plan.subjects)
            for grade in self.plan.grades
        )

    def _sections(self) -> Iterator[tuple[int, str, str]]:
        """(homeroom's number, subject's code or "", subject's name) of every section."""
        for number in range(len(self.homerooms)):
            yield number, "", self.plan.homeroom_course
            for code, name in self.plan.subjects:
                yield number, code, name

    def _teaching(self) -> None:
        sections, terms, teachers = [], [], []
        for number, code, name in self._sections():
            grade_index, letter = self.homerooms[number]
            grade = self.plan.grades[grade_index]
            called = self.plan.homeroom.format(grade=grade.code, letter="ABCDEFGHIJ"[letter])
            section = Section(
                pk=self.key("section", f"{number}:{code}"),
                course_id=self.key("course", f"{code}:{grade.code}"),
                campus_id=self.key("campus", grade.campus),
                room_id=self.key("room", number),
                kind=Section.Kind.SCHEDULED if code else Section.Kind.HOMEROOM,
                code=f"{code or 'HR'}-{called}",
                title=f"{name} {called}",
            )
            sections.append(section)
            terms += [
                SectionTerm(
                    pk=self.key("section term", f"{number}:{code}:{term}"),
                    section=section,
                    term_id=self.key("term", f"{self.starts_on.year}:{term}"),
                )
                for term in range(len(self.plan.terms))
            ]
            teachers.append(
                SectionTeacher(
                    pk=self.key("section teacher", f"{number}:{code}"),
                    section=section,
                    staff_id=self.key("staff", self._teacher(number, code)),
                    starts_on=self.starts_on,
                )
            )
        Section.objects.bulk_create(sections)
        SectionTerm.objects.bulk_create(terms)
        SectionTeacher.objects.bulk_create(teachers)

    def _teacher(self, homeroom: int, code: str) -> int:
        """Who teaches a subject to a homeroom; each homeroom is led by its teacher of one subject in turn."""
        codes = [known for known, _ in self.plan.subjects]
        subject = codes.index(code) if code else homeroom % len(codes)
        return len(self.plan.positions) + subject * self._teachers_per_subject + homeroom // SECTIONS_PER_TEACHER

    def _enrolments(self) -> None:
        """Everybody is in the sections of their homeroom from the first day on; a few changed it later."""
        Enrolment.objects.bulk_create(
            Enrolment(
                pk=self.key("enrolment", f"{child}:{homeroom}:{code}"),
                student_id=self.key("student", child),
                section_id=self.key("section", f"{homeroom}:{code}"),
                starts_on=starts_on,
                ends_on=ends_on,
            )
            for child, homeroom, starts_on, ends_on in self._stays()
            for code in ("", *(code for code, _ in self.plan.subjects))
        )

    def _stays(self) -> Iterator[tuple[int, int, date, date | None]]:
        """(child's number, homeroom's number, first day, day after the last) of every stay in a homeroom."""
        moved_on = self.starts_on + MOVED_AFTER
        for child in self.people.children:
            beside = [n for n, (grade, _) in enumerate(self.homerooms) if grade == child.grade and n != child.homeroom]
            if child.number % MOVED_EVERY == MOVED_EVERY - 1 and beside:
                yield child.number, beside[0], self.starts_on, moved_on
                yield child.number, child.homeroom, moved_on, None
            else:
                yield child.number, child.homeroom, self.starts_on, None
