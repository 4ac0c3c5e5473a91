"""How many statements each request costs, warm, savepoints included; `test_queries` finds one more, and one less too.

list, fields (?fields=), include (?include= of all relations: one more for each that any row has), search, read: reads
are one statement. export: all rows. past: the history. add: one record. b.base and b.row: what a bulk/ of creations
costs, and each of its rows on top: 0 where rows go out together, more where a service makes them one by one
(students get their history, users and roles are checked against what the giver holds, terms against their neighbours,
guardians, staff and saved views against the writer). `.` is not offered.
"""

COSTS = """
                            list fields include search read export past add b.base b.row
jobs                        1    1      .       .      1    4      .    .   .      .
audit/entries               1    1      .       .      1    4      .    .   .      .
communication/notifications 1    1      .       .      1    4      .    .   .      .
accounts/users              1    1      .       1      1    4      2    8   5      7
accounts/roles              1    1      .       1      1    4      2    6   5      5
accounts/role-inheritances  1    1      .       .      1    4      2    19  9      15
accounts/role-permissions   1    1      .       .      1    4      2    14  8      10
accounts/user-roles         1    1      .       .      1    4      2    16  7      14
school/institution          1    1      .       .      1    4      2    .   .      .
school/campuses             1    1      .       1      1    4      2    4   8      0
school/rooms                1    1      2       1      1    4      2    5   9      0
school/grade-levels         1    1      .       1      1    4      2    4   8      0
school/academic-years       1    1      .       1      1    4      2    4   8      0
school/terms                1    1      2       1      1    4      2    15  6      13
school/students             1    1      3       1      1    4      2    5   8      3
school/student-statuses     1    1      2       .      1    4      2    .   .      .
school/guardians            1    1      .       1      1    4      2    4   5      3
school/student-guardians    1    1      3       .      1    4      2    5   10     0
school/staff                1    1      2       1      1    4      2    5   6      3
school/departments          1    1      1       1      1    4      2    4   8      0
academics/subjects          1    1      .       1      1    4      2    4   8      0
academics/courses           1    1      4       1      1    4      2    5   9      0
academics/sections          1    1      4       1      1    4      2    5   10     0
academics/section-terms     1    1      3       .      1    4      2    5   10     0
academics/section-teachers  1    1      3       .      1    4      2    5   10     0
academics/enrolments        1    1      3       .      1    4      2    5   10     0
reports/definitions         1    1      .       .      1    4      2    .   .      .
reports/schedules           1    1      2       .      1    4      2    5   9      0
reports/subscriptions       1    1      3       .      1    4      2    5   10     0
reports/runs                1    1      2       .      1    4      2    11  6      9
reports/artifacts           1    1      2       .      1    4      2    .   .      .
reports/saved-views         1    1      .       1      1    4      2    4   5      3
"""


def costs(table: str) -> dict[str, dict[str, int]]:
    """{resource: {request: statements}}, of what is offered."""
    head, *lines = (line.split() for line in table.strip().splitlines())
    return {
        name: {request: int(cell) for request, cell in zip(head, cells, strict=True) if cell != "."}
        for name, *cells in lines
    }


QUERIES = costs(COSTS)
