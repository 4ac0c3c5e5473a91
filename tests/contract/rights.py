"""What each role may do to each resource, declared by hand: never derived from the code under test."""

CRUD = "view add change delete"
REFERENCE = {"principal": CRUD, "teacher": "view", "guardian": "view", "student": "view"}
EVERYBODY_OWN = dict.fromkeys(("principal", "teacher", "guardian", "student"), "view")

RIGHTS: dict[str, dict[str, str]] = {
    "/api/v1/jobs/": EVERYBODY_OWN,
    "/api/v1/audit/entries/": {"principal": "view"},
    "/api/v1/communication/notifications/": EVERYBODY_OWN,
    "/api/v1/accounts/users/": {"principal": CRUD},
    "/api/v1/accounts/roles/": {"principal": CRUD},
    "/api/v1/accounts/role-inheritances/": {"principal": "view add delete"},
    "/api/v1/accounts/role-permissions/": {"principal": "view add delete"},
    "/api/v1/accounts/user-roles/": {"principal": CRUD},
    "/api/v1/school/institution/": {
        "principal": "view change",
        "teacher": "view",
        "guardian": "view",
        "student": "view",
    },
    "/api/v1/school/campuses/": REFERENCE,
    "/api/v1/school/rooms/": REFERENCE,
    "/api/v1/school/grade-levels/": REFERENCE,
    "/api/v1/school/academic-years/": REFERENCE,
    "/api/v1/school/terms/": REFERENCE,
    "/api/v1/school/students/": {"principal": CRUD, "teacher": "view", "guardian": "view", "student": "view"},
    "/api/v1/school/student-statuses/": {"principal": "view", "teacher": "view"},
    "/api/v1/school/guardians/": {"principal": CRUD, "teacher": "view", "guardian": "view"},
    "/api/v1/school/student-guardians/": {"principal": CRUD, "teacher": "view", "guardian": "view"},
    "/api/v1/school/staff/": {"principal": CRUD, "teacher": "view"},
    "/api/v1/academics/subjects/": REFERENCE,
    "/api/v1/academics/courses/": REFERENCE,
    "/api/v1/academics/sections/": REFERENCE,
    "/api/v1/academics/section-terms/": REFERENCE,
    "/api/v1/academics/section-teachers/": {"principal": CRUD, "teacher": "view"},
    "/api/v1/academics/enrolments/": REFERENCE,
    "/api/v1/reports/definitions/": {"principal": "view"},
    "/api/v1/reports/schedules/": {"principal": CRUD},
    "/api/v1/reports/subscriptions/": {"principal": "view add delete"},
    "/api/v1/reports/runs/": {"principal": "view add"},
    "/api/v1/reports/artifacts/": {"principal": "view"},
    "/api/v1/reports/saved-views/": dict.fromkeys(("principal", "teacher", "guardian", "student"), CRUD),
    "/api/v1/school/departments/": {"principal": CRUD, "teacher": "view"},
}

# Queries of a warm list and a warm record. One each: whoever adds one finds it here.
QUERIES = {"list": 1, "record": 1}

EVERYBODY = ("principal", "teacher", "guardian", "student")
OFFICE_AND_TEACHERS = ("principal", "teacher")
EXPORTS: dict[str, tuple[str, ...]] = {
    "/api/v1/jobs/": EVERYBODY,
    "/api/v1/audit/entries/": ("principal",),
    "/api/v1/communication/notifications/": EVERYBODY,
    "/api/v1/accounts/users/": ("principal",),
    "/api/v1/accounts/roles/": ("principal",),
    "/api/v1/accounts/role-inheritances/": ("principal",),
    "/api/v1/accounts/role-permissions/": ("principal",),
    "/api/v1/accounts/user-roles/": ("principal",),
    "/api/v1/school/institution/": OFFICE_AND_TEACHERS,
    "/api/v1/school/campuses/": OFFICE_AND_TEACHERS,
    "/api/v1/school/rooms/": OFFICE_AND_TEACHERS,
    "/api/v1/school/grade-levels/": OFFICE_AND_TEACHERS,
    "/api/v1/school/academic-years/": OFFICE_AND_TEACHERS,
    "/api/v1/school/terms/": OFFICE_AND_TEACHERS,
    "/api/v1/school/students/": ("principal",),
    "/api/v1/school/student-statuses/": ("principal",),
    "/api/v1/school/guardians/": ("principal",),
    "/api/v1/school/student-guardians/": ("principal",),
    "/api/v1/school/staff/": ("principal",),
    "/api/v1/academics/subjects/": OFFICE_AND_TEACHERS,
    "/api/v1/academics/courses/": OFFICE_AND_TEACHERS,
    "/api/v1/academics/sections/": ("principal",),
    "/api/v1/academics/section-terms/": ("principal",),
    "/api/v1/academics/section-teachers/": ("principal",),
    "/api/v1/academics/enrolments/": ("principal",),
    "/api/v1/reports/definitions/": ("principal",),
    "/api/v1/reports/schedules/": ("principal",),
    "/api/v1/reports/subscriptions/": ("principal",),
    "/api/v1/reports/runs/": ("principal",),
    "/api/v1/reports/artifacts/": ("principal",),
    "/api/v1/reports/saved-views/": ("principal", "teacher", "guardian", "student"),
    "/api/v1/school/departments/": ("principal",),
}
"""Who may take a list home as a file."""
