"""The named people of the suite, and the small school that they live in.

`make(context)` writes them once, into the template database; `of(context)` names them without a query. People have
the same user ids in every institution (a token of one must still not open the other); all other ids differ.

    Maths 5: taught by the teacher; Ada, Cleo, Dan.        Science 6: taught by the colleague; Ben, Eva, Finn.
    The guardian answers for Ada and Ben. Cleo is the student. Dan's guardian has no login.
"""

from dataclasses import dataclass
from datetime import date
from uuid import UUID, uuid5

from django.contrib.auth.hashers import make_password

from shared_apps.core.context import InstitutionContext, Kind
from shared_apps.core.permissions import Scope
from tenant_apps.academics.models import Course, Enrolment, Section, SectionTeacher, SectionTerm, Subject
from tenant_apps.accounts.models import Role, User, UserRole
from tenant_apps.reports.models import SavedView
from tenant_apps.school.models import (
    AcademicYear,
    Campus,
    GradeLevel,
    Guardian,
    Room,
    Staff,
    Student,
    StudentGuardian,
    Term,
)
from tenant_apps.school.services import open_histories
from tests.examples import write_what_lacks

PASSWORD = "a cast of four and an outsider"
NAMESPACE = UUID("5f0b1c0e-6a51-4e0c-9d4b-3f1d7c1b7a10")
OTHERS = {"greenwood": "lumiere"}
SCOPES = {
    "principal": Scope.INSTITUTION,
    "teacher": Scope.SECTION,
    "guardian": Scope.OWN_CHILDREN,
    "student": Scope.SELF,
}
STUDENTS = ("ada", "ben", "cleo", "dan", "eva", "finn")
IN_MATHS = ("ada", "cleo", "dan")
# The school year contains every day on which the suite may run.
YEAR = (date(2020, 9, 1), date(2080, 9, 1))
TURN = date(2050, 2, 1)


@dataclass(frozen=True, slots=True)
class Person:
    """A login of the cast. `record_id` is the person's row as staff, guardian or student."""

    role: str
    email: str
    user_id: UUID
    record_id: UUID | None
    password: str = PASSWORD


@dataclass(frozen=True, slots=True)
class Cast:
    """The people of one institution and the ids of its rows."""

    institution: InstitutionContext

    def id(self, name: str) -> UUID:
        """The id of a row, by its name in this file: "ada", "maths", "campus", "ada in maths"."""
        return uuid5(NAMESPACE, f"{self.institution.slug}:{name}")

    def _person(self, role: str, *, slug: str | None = None, record: str | None = None) -> Person:
        email = f"{role}@{slug or self.institution.slug}.test"
        return Person(role, email, user_id(role), self.id(record) if record else None)

    @property
    def principal(self) -> Person:
        return self._person("principal", record="headmistress")

    @property
    def teacher(self) -> Person:
        return self._person("teacher", record="teacher")

    @property
    def guardian(self) -> Person:
        return self._person("guardian", record="guardian")

    @property
    def student(self) -> Person:
        return self._person("student", record="cleo")

    @property
    def people(self) -> tuple[Person, ...]:
        return self.principal, self.teacher, self.guardian, self.student

    @property
    def outsider(self) -> Person:
        """The principal of another institution."""
        return self._person("principal", slug=OTHERS.get(self.institution.slug, "greenwood"))

    @property
    def operator(self) -> Person:
        """The operators' tenant knows this one only."""
        return Person("operator", "operator@lyceum.test", user_id("operator"), None)

    def ids(self, *names: str) -> set[UUID]:
        return {self.id(name) for name in names}


def user_id(role: str) -> UUID:
    return uuid5(NAMESPACE, f"user:{role}")


def of(context: InstitutionContext) -> Cast:
    """The cast of an institution; asks no database."""
    return Cast(context)


def make(context: InstitutionContext) -> Cast:
    """Write the cast. Runs inside the institution, whose roles its provisioning has made."""
    cast = of(context)
    if context.kind == Kind.OPERATOR:
        _sign_up(((cast.operator, Scope.INSTITUTION),))
        return cast
    _sign_up(tuple((person, SCOPES[person.role]) for person in cast.people))
    _places(cast)
    _people(cast)
    _teaching(cast)
    SavedView.objects.create(owner_id=cast.principal.user_id, resource="school/students", name="All")
    write_what_lacks()
    return cast


def _sign_up(people: tuple[tuple[Person, Scope], ...]) -> None:
    hashed = make_password(PASSWORD)
    User.objects.bulk_create(
        User(pk=person.user_id, email=person.email, full_name=person.role.capitalize(), password=hashed)
        for person, _ in people
    )
    roles = {role.code: role for role in Role.objects.all()}
    UserRole.objects.bulk_create(
        UserRole(user_id=person.user_id, role=roles[person.role], scope=scope) for person, scope in people
    )


def _places(cast: Cast) -> None:
    campus = Campus.objects.create(pk=cast.id("campus"), code="MAIN", name="Main campus")
    Room.objects.create(pk=cast.id("room"), campus=campus, name="Room 1", capacity=30)
    GradeLevel.objects.bulk_create(
        GradeLevel(pk=cast.id(f"grade {number}"), code=f"G{number}", name=f"Grade {number}", position=number)
        for number in (5, 6)
    )
    year = AcademicYear.objects.create(pk=cast.id("year"), name="The year", starts_on=YEAR[0], ends_on=YEAR[1])
    halves = (("autumn", YEAR[0], TURN), ("spring", TURN, YEAR[1]))
    Term.objects.bulk_create(
        Term(
            pk=cast.id(name),
            academic_year=year,
            kind=Term.Kind.SEMESTER,
            name=name.capitalize(),
            starts_on=starts_on,
            ends_on=ends_on,
        )
        for name, starts_on, ends_on in halves
    )


def _people(cast: Cast) -> None:
    Staff.objects.bulk_create(
        Staff(
            pk=cast.id(name),
            staff_number=f"T{number}",
            given_name=name.capitalize(),
            family_name="Stone",
            campus_id=cast.id("campus"),
            phone="+1 518 555 0100",
            user_id=login,
        )
        for number, (name, login) in enumerate(
            (("headmistress", user_id("principal")), ("teacher", user_id("teacher")), ("colleague", None))
        )
    )
    students = Student.objects.bulk_create(
        Student(
            pk=cast.id(name),
            student_number=f"S{number}",
            given_name=name.capitalize(),
            family_name=f"Reed{number}",
            birth_date=date(2014, 1, number + 1),
            campus_id=cast.id("campus"),
            grade_level_id=cast.id("grade 5" if name in IN_MATHS else "grade 6"),
            joined_on=YEAR[0],
            user_id=user_id("student") if name == "cleo" else None,
        )
        for number, name in enumerate(STUDENTS)
    )
    open_histories(students)
    Guardian.objects.bulk_create(
        Guardian(pk=cast.id(name), given_name=name.capitalize(), family_name="Reed", user_id=login)
        for name, login in (("guardian", user_id("guardian")), ("guardian of dan", None))
    )
    pairs = (("guardian", "ada"), ("guardian", "ben"), ("guardian of dan", "dan"))
    StudentGuardian.objects.bulk_create(
        StudentGuardian(pk=cast.id(f"{name} for {child}"), guardian_id=cast.id(name), student_id=cast.id(child))
        for name, child in pairs
    )


def _teaching(cast: Cast) -> None:
    sections = (("maths", "grade 5", "teacher"), ("science", "grade 6", "colleague"))
    Subject.objects.bulk_create(
        Subject(pk=cast.id(f"subject {name}"), code=name.upper(), name=name.capitalize()) for name, _, _ in sections
    )
    Course.objects.bulk_create(
        Course(
            pk=cast.id(f"course {name}"),
            subject_id=cast.id(f"subject {name}"),
            grade_level_id=cast.id(grade),
            academic_year_id=cast.id("year"),
            title=name.capitalize(),
        )
        for name, grade, _ in sections
    )
    Section.objects.bulk_create(
        Section(
            pk=cast.id(name),
            course_id=cast.id(f"course {name}"),
            campus_id=cast.id("campus"),
            room_id=cast.id("room"),
            title=f"{name.capitalize()} {grade[-1]}",
        )
        for name, grade, _ in sections
    )
    SectionTerm.objects.bulk_create(
        SectionTerm(pk=cast.id(f"{name} in {term}"), section_id=cast.id(name), term_id=cast.id(term))
        for name, _, _ in sections
        for term in ("autumn", "spring")
    )
    SectionTeacher.objects.bulk_create(
        SectionTeacher(
            pk=cast.id(f"{teacher} of {name}"),
            section_id=cast.id(name),
            staff_id=cast.id(teacher),
            starts_on=YEAR[0],
        )
        for name, _, teacher in sections
    )
    Enrolment.objects.bulk_create(
        Enrolment(
            pk=cast.id(f"{name} in {section}"),
            student_id=cast.id(name),
            section_id=cast.id(section),
            starts_on=YEAR[0],
        )
        for name in STUDENTS
        for section in ["maths" if name in IN_MATHS else "science"]
    )
