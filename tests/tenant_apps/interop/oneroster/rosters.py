"""OneRoster CSV 1.2 zips for tests and benchmarks: deterministic, of any size, and spoilt on purpose.

The headers are written out here a second time, by hand from the standard, so that a slip in the reader's layout
shows.
"""

from __future__ import annotations

import csv
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

Tables = dict[str, list[list[str]]]
Members = dict[str, bytes]

HEADERS = {
    "orgs.csv": "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId",
    "academicSessions.csv": (
        "sourcedId,status,dateLastModified,title,type,startDate,endDate,parentSourcedId,schoolYear"
    ),
    "courses.csv": (
        "sourcedId,status,dateLastModified,schoolYearSourcedId,title,courseCode,grades,orgSourcedId,subjects,"
        "subjectCodes"
    ),
    "classes.csv": (
        "sourcedId,status,dateLastModified,title,grades,courseSourcedId,classCode,classType,location,"
        "schoolSourcedId,termSourcedIds,subjects,subjectCodes,periods"
    ),
    "users.csv": (
        "sourcedId,status,dateLastModified,enabledUser,username,userIds,givenName,familyName,middleName,identifier,"
        "email,sms,phone,agentSourcedIds,grades,password,userMasterIdentifier,preferredGivenName,"
        "preferredMiddleName,preferredFamilyName,primaryOrgSourcedId,pronouns"
    ),
    "roles.csv": (
        "sourcedId,status,dateLastModified,userSourcedId,roleType,role,beginDate,endDate,orgSourcedId,"
        "userProfileSourcedId"
    ),
    "enrollments.csv": (
        "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role,primary,beginDate,endDate"
    ),
    "demographics.csv": (
        "sourcedId,status,dateLastModified,birthDate,sex,americanIndianOrAlaskaNative,asian,blackOrAfricanAmerican,"
        "nativeHawaiianOrOtherPacificIslander,white,demographicRaceTwoOrMoreRaces,hispanicOrLatinoEthnicity,"
        "countryOfBirthCode,stateOfBirthAbbreviation,cityOfBirth,publicSchoolResidenceStatus"
    ),
}
# fmt: off
ALL_FILES = [
    "academicSessions", "categories", "classes", "classResources", "courses", "courseResources",
    "demographics", "enrollments", "lineItemLearningObjectiveIds", "lineItems", "lineItemScoreScales", "orgs",
    "resources", "resultLearningObjectiveIds", "results", "resultScoreScales", "roles", "scoreScales",
    "userProfiles", "userResources", "users",
]

GIVEN_NAMES = [
    "Amélie", "Björn", "Chloë", "Dmitri", "Élodie", "Fatima", "Günther", "Håkan", "Inés", "José", "Katarzyna",
    "Łukasz", "Małgorzata", "Noël", "Øystein", "Pınar", "Renée", "Søren", "Þóra", "Uğur", "Václav", "Wei",
    "Xochitl", "Yusuf", "Zoë", "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Ida",
    "Jonas", "Ólafur", "さくら", "陽翔", "Мария", "محمد",
]
FAMILY_NAMES = [
    "Müller", "Nguyễn", "O'Neill", "Smith", "García", "Dvořák", "Kowalski", "Østergård", "Schröder",
    "D'Angelo", "Lefèvre", "Çelik", "Ångström", "Ivanović", "Papadopoulos", "Fernández-López", "Brontë",
    "Yılmaz", "Ðorđević", "Van-der-Berg", "Brown", "Wagner", "Rossi", "Silva", "Haddad", "佐藤", "王", "Иванова",
]
SUBJECTS = [
    "Mathematics", "English", "Français", "Deutsch", "Biology", "Chemistry", "Physics", "History",
    "Geography", "Art", "Music", "Sport",
]
GRADES = ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"]
# fmt: on


def build_tables(
    *,
    students: int = 12,
    sections: int = 4,
    enrolments_per_student: int = 2,
    schools: int = 2,
    guardians: bool = True,
    demographics: bool = True,
    seed: int = 7,
) -> Tables:
    """The rows of a sound roster, file by file, each with its header first and `manifest.csv` among them.

    Students belong to families of one to three, whose guardians they share; every twentieth teacher is a guardian
    too. Each section has a teacher; each student takes `enrolments_per_student` sections of their school.
    """
    dice = random.Random(seed)
    tables: Tables = {file: [header.split(",")] for file, header in HEADERS.items()}
    school_ids = [f"school-{number + 1}" for number in range(schools)]
    add_organisation(tables, school_ids)
    section_ids = add_sections(tables, school_ids, sections)
    teachers = add_staff(tables, school_ids, section_ids, dice)
    add_students(tables, school_ids, section_ids, students, enrolments_per_student, dice)
    if guardians:
        add_guardians(tables, teachers, dice)
    if demographics:
        add_demographics(tables, students, dice)
    for file in [file for file, rows in tables.items() if len(rows) == 1]:
        del tables[file]
    tables["manifest.csv"] = [
        ["propertyName", "value"],
        ["manifest.version", "1.0"],
        ["oneroster.version", "1.2"],
        *([f"file.{name}", "bulk" if f"{name}.csv" in tables else "absent"] for name in ALL_FILES),
        ["source.systemName", "Lyceum test"],
        ["source.systemCode", "LT"],
    ]
    return tables


def add_organisation(tables: Tables, school_ids: list[str]) -> None:
    tables["orgs.csv"].append(["district-1", "", "", "Bezirk Süd", "district", "D1", ""])
    for number, school in enumerate(school_ids):
        name = f"École & Gymnasium {number + 1}"
        tables["orgs.csv"].append([school, "", "", name, "school", f"S{number + 1}", "district-1"])
    tables["academicSessions.csv"] += [
        ["year-2026", "", "", "2025/26", "schoolYear", "2025-08-25", "2026-07-01", "", "2026"],
        ["sem-1", "", "", "1. Semester", "semester", "2025-08-25", "2026-02-01", "year-2026", "2026"],
        ["sem-2", "", "", "2. Semester", "semester", "2026-02-01", "2026-07-01", "year-2026", "2026"],
    ]


def add(tables: Tables, file: str, **cells: str) -> None:
    """Append a row of `file`, its cells by header, the others blank."""
    header = tables[file][0]
    row = [""] * len(header)
    for name, value in cells.items():
        row[header.index(name)] = value
    tables[file].append(row)


def add_sections(tables: Tables, school_ids: list[str], sections: int) -> dict[str, list[str]]:
    """School -> its sections, spread evenly; one course for each subject and school."""
    by_school: dict[str, list[str]] = {school: [] for school in school_ids}
    courses: set[str] = set()
    for number in range(sections):
        school = school_ids[number % len(school_ids)]
        turn = number // len(school_ids)
        subject = SUBJECTS[turn % len(SUBJECTS)]
        grade = GRADES[turn % len(GRADES)]
        course = f"course-{school}-{turn % len(SUBJECTS)}"
        if course not in courses:
            courses.add(course)
            add(
                tables,
                "courses.csv",
                sourcedId=course,
                schoolYearSourcedId="year-2026",
                title=subject,
                courseCode=subject[:3].upper(),
                grades=",".join(GRADES),
                orgSourcedId=school,
                subjects=subject,
            )
        section = f"class-{number + 1}"
        by_school[school].append(section)
        add(
            tables,
            "classes.csv",
            sourcedId=section,
            title=f"{subject} {grade}.{number}",
            grades=grade,
            courseSourcedId=course,
            classCode=f"{number:04}",
            classType="scheduled",
            location=f"Room {number % 40}",
            schoolSourcedId=school,
            termSourcedIds="sem-1,sem-2",
            subjects=subject,
            periods="1,3",
        )
    return by_school


def add_user(
    tables: Tables,
    user: str,
    username: str,
    names: tuple[str, str],
    org: str,
    role: str,
    *,
    email: str = "",
    grade: str = "",
) -> None:
    add(
        tables,
        "users.csv",
        sourcedId=user,
        enabledUser="true",
        username=username,
        givenName=names[0],
        familyName=names[1],
        identifier=user,
        email=email,
        grades=grade,
        primaryOrgSourcedId=org,
    )
    add_role(tables, user, org, role, "primary")


def add_role(tables: Tables, user: str, org: str, role: str, role_type: str) -> None:
    add(
        tables,
        "roles.csv",
        sourcedId=f"role-{len(tables['roles.csv'])}",
        userSourcedId=user,
        roleType=role_type,
        role=role,
        orgSourcedId=org,
    )


def add_enrolment(tables: Tables, section: str, school: str, user: str, role: str) -> None:
    add(
        tables,
        "enrollments.csv",
        sourcedId=f"enr-{len(tables['enrollments.csv'])}",
        classSourcedId=section,
        schoolSourcedId=school,
        userSourcedId=user,
        role=role,
        primary="true" if role == "teacher" else "false",
        beginDate="2025-08-25" if role == "student" else "",
        endDate="2026-07-01" if role == "student" else "",
    )


def add_staff(
    tables: Tables, school_ids: list[str], section_ids: dict[str, list[str]], dice: random.Random
) -> list[str]:
    teachers: list[str] = []
    for school in school_ids:
        names = (dice.choice(GIVEN_NAMES), dice.choice(FAMILY_NAMES))
        add_user(tables, f"staff-{school}", f"principal.{school}", names, school, "principal")
        for number, section in enumerate(section_ids[school]):
            if number % 4 == 0:
                teacher = f"staff-{school}-{number // 4}"
                names = (dice.choice(GIVEN_NAMES), dice.choice(FAMILY_NAMES))
                add_user(
                    tables,
                    teacher,
                    f"t{len(teachers):05}",
                    names,
                    school,
                    "teacher",
                    email=f"{teacher}@example.org",
                )
                teachers.append(teacher)
            add_enrolment(tables, section, school, teachers[-1], "teacher")
    return teachers


def add_students(
    tables: Tables,
    school_ids: list[str],
    section_ids: dict[str, list[str]],
    students: int,
    enrolments: int,
    dice: random.Random,
) -> None:
    for number in range(students):
        school = school_ids[number % len(school_ids)]
        names = (dice.choice(GIVEN_NAMES), dice.choice(FAMILY_NAMES))
        student = f"student-{number + 1}"
        # Every third without e-mail, and user names of digits alone: both are usual.
        email = "" if number % 3 == 0 else f"{student}@example.org"
        add_user(
            tables,
            student,
            f"{100000 + number}",
            names,
            school,
            "student",
            email=email,
            grade=GRADES[number % 12],
        )
        taken = dice.sample(section_ids[school], min(enrolments, len(section_ids[school])))
        for section in taken:
            add_enrolment(tables, section, school, student, "student")


def add_guardians(tables: Tables, teachers: list[str], dice: random.Random) -> None:
    """Guardians for all students, one or two a family; sizes of families repeat in a fixed pattern."""
    users = tables["users.csv"]
    agents_at = users[0].index("agentSourcedIds")
    students = [row for row in users if row[0].startswith("student-")]
    sizes = (1, 2, 1, 1, 3)
    family = 0
    while students:
        children, students = students[: sizes[family % 5]], students[sizes[family % 5] :]
        org = children[0][20]
        agents = []
        for number in range(1 + (family % 4 > 0)):
            guardian = f"guardian-{family + 1}-{number + 1}"
            names = (dice.choice(GIVEN_NAMES), children[0][7])
            role = "guardian" if family % 3 else "parent"
            add_user(
                tables,
                guardian,
                f"{guardian}@home.example",
                names,
                org,
                role,
                email=f"{guardian}@home.example",
            )
            agents.append(guardian)
        if family % 20 == 0 and teachers:
            teacher = teachers[family // 20 % len(teachers)]
            add_role(tables, teacher, org, "guardian", "secondary")
            agents.append(teacher)
        for child in children:
            child[agents_at] = ",".join(agents)
        family += 1


def add_demographics(tables: Tables, students: int, dice: random.Random) -> None:
    for number in range(students):
        birth = f"{2008 + number % 10}-{1 + number % 12:02}-{1 + dice.randrange(28):02}"
        sex = ("female", "male", "unspecified")[dice.randrange(3)]
        flags = ["false"] * 7
        tables["demographics.csv"].append(
            [f"student-{number + 1}", "", "", birth, sex, *flags, "FR", "", "Besançon", ""]
        )


def encode(tables: Tables, *, line_end: str = "\r\n") -> Members:
    """The tables as CSV bytes in UTF-8."""
    members: Members = {}
    for file, rows in tables.items():
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator=line_end).writerows(rows)
        members[file] = text.getvalue().encode()
    return members


def pack(path: Path, members: Members) -> Path:
    """A zip of `members` at `path`, the same bytes at every run."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o644 << 16
            archive.writestr(info, content, compress_type=zipfile.ZIP_DEFLATED)
    return path


def write_roster(
    path: Path,
    *,
    students: int = 12,
    sections: int = 4,
    enrolments_per_student: int = 2,
    schools: int = 2,
    guardians: bool = True,
    demographics: bool = True,
    seed: int = 7,
    line_end: str = "\r\n",
    mutate: Callable[[Tables], object] | None = None,
    mutate_bytes: Callable[[Members], object] | None = None,
) -> Path:
    """Write a roster to `path`: sound, unless `mutate` changes its tables or `mutate_bytes` its encoded files."""
    tables = build_tables(
        students=students,
        sections=sections,
        enrolments_per_student=enrolments_per_student,
        schools=schools,
        guardians=guardians,
        demographics=demographics,
        seed=seed,
    )
    if mutate is not None:
        mutate(tables)
    members = encode(tables, line_end=line_end)
    if mutate_bytes is not None:
        mutate_bytes(members)
    return pack(path, members)
