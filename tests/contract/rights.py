"""What each role may do at each address, declared by hand: never derived from the code under test.

p principal, t teacher, g guardian, s student of an institution; o operator, on the operators' host. `-` is nobody, `.`
is not offered. A capital holds the permission and sees no row of the cast's: the record is 404. A person without a role
may nothing of this. `test_rights` asks every cell, and fails for an address or a verb that stands in no table.

list, read, add, put, patch, delete: the resource and one record. b.add, b.chg, b.del: the three lists of bulk/. import,
blank: import/ and its template. past, gone, back: {id}/history/, deleted/ and {id}/restore/.
"""

INSTITUTION = """
                            list read add  put  patch delete b.add b.chg b.del export import blank past gone back
jobs                        ptgs ptgs .    .    .     .      .     .     .     ptgs   .      .     .    .    .
audit/entries               p    p    .    .    .     .      .     .     .     p      .      .     .    .    .
communication/notifications ptgs ptgs .    .    .     .      .     .     .     ptgs   .      .     .    .    .
accounts/users              p    p    p    p    p     .      p     p     .     p      .      .     p    .    .
accounts/roles              p    p    p    p    p     p      p     p     p     p      .      .     p    p    p
accounts/role-inheritances  p    p    p    .    .     p      p     .     p     p      .      .     p    p    p
accounts/role-permissions   p    p    p    .    .     p      p     .     p     p      .      .     p    p    p
accounts/user-roles         p    p    p    p    p     p      p     p     p     p      .      .     p    p    p
school/institution          ptgs ptgs .    p    p     .      .     p     .     pt     .      .     p    .    .
school/campuses             ptgs ptgs p    p    p     p      p     p     p     pt     p      p     p    p    p
school/rooms                ptgs ptgs p    p    p     p      p     p     p     pt     p      p     p    p    p
school/grade-levels         ptgs ptgs p    p    p     p      p     p     p     pt     p      p     p    p    p
school/academic-years       ptgs ptgs p    p    p     p      p     p     p     pt     p      p     p    p    p
school/terms                ptgs ptgs p    p    p     p      p     p     p     pt     p      p     p    p    p
school/students             ptgs ptgs p    p    p     p      p     p     p     p      p      p     p    p    p
school/student-statuses     pt   pt   .    .    .     .      .     .     .     p      .      .     p    .    .
school/guardians            ptg  ptg  p    p    p     p      p     p     p     p      p      p     p    p    p
school/student-guardians    ptg  ptg  p    p    p     p      p     p     p     p      p      p     p    p    p
school/staff                pt   pt   p    p    p     p      p     p     p     p      p      p     p    p    p
school/departments          pt   pT   p    p    p     p      p     p     p     p      p      p     p    p    p
academics/subjects          ptgs ptgs p    p    p     p      p     p     p     pt     p      p     p    p    p
academics/courses           ptgs ptgs p    p    p     p      p     p     p     pt     p      p     p    p    p
academics/sections          ptgs ptgs p    p    p     p      p     p     p     p      p      p     p    p    p
academics/section-terms     ptgs ptgs p    p    p     p      p     p     p     p      .      .     p    p    p
academics/section-teachers  pt   pt   p    p    p     p      p     p     p     p      .      .     p    p    p
academics/enrolments        ptgs ptgs p    p    p     p      p     p     p     p      p      p     p    p    p
reports/definitions         p    p    .    .    .     .      .     .     .     p      .      .     p    .    .
reports/schedules           p    p    p    p    p     p      p     p     p     p      .      .     p    p    p
reports/subscriptions       p    p    p    .    .     p      p     .     p     p      .      .     p    p    p
reports/runs                p    p    p    .    .     .      p     .     .     p      .      .     p    .    .
reports/artifacts           p    p    .    .    .     .      .     .     .     p      .      .     p    .    .
reports/saved-views         ptgs ptgs ptgs ptgs ptgs  ptgs   ptgs  ptgs  ptgs  ptgs   .      .     p    -    -
"""
OPERATOR = """
                            list read add  put  patch delete b.add b.chg b.del export import blank past gone back
jobs                        o    o    .    .    .     .      .     .     .     o      .      .     .    .    .
audit/entries               o    o    .    .    .     .      .     .     .     o      .      .     .    .    .
communication/notifications o    o    .    .    .     .      .     .     .     o      .      .     .    .    .
accounts/users              o    o    o    o    o     .      o     o     .     o      .      .     o    .    .
accounts/roles              o    o    o    o    o     o      o     o     o     o      .      .     o    o    o
accounts/role-inheritances  o    o    o    .    .     o      o     .     o     o      .      .     o    o    o
accounts/role-permissions   o    o    o    .    .     o      o     .     o     o      .      .     o    o    o
accounts/user-roles         o    o    o    o    o     o      o     o     o     o      .      .     o    o    o
"""
# POST {id}/<verb>/
INSTITUTION_VERBS = """
jobs                        cancel        ptgs
communication/notifications read          ptgs
school/students             change-state  p
academics/enrolments        move          p
"""
OPERATOR_VERBS = """
jobs                        cancel        o
communication/notifications read          o
"""
# Everything else: `all` needs no token, `any` one of any person.
COMMON_ADDRESSES = """
all   GET     /
all   GET     /.well-known/jwks.json
all   GET     /api/schema/
all   GET     /api/docs/
all   GET     /api/redoc/
all   POST    /api/v1/auth/token/
all   POST    /api/v1/auth/refresh/
all   POST    /api/v1/auth/invitation/
all   POST    /api/v1/auth/password-reset/
all   POST    /api/v1/auth/password-reset/confirm/
any   POST    /api/v1/auth/logout/
any   GET     /api/v1/auth/me/
any   POST    /api/v1/auth/socket-ticket/
any   GET     /api/v1/auth/sessions/
any   DELETE  /api/v1/auth/sessions/{id}/
any   POST    /api/v1/auth/password/
any   GET     /api/v1/files/{id}/
"""
INSTITUTION_ADDRESSES = """
p     GET     /api/v1/accounts/permissions/
p     GET     /api/v1/reports/artifacts/{id}/download/
p     GET     /api/v1/school/entitlements/
p     GET     /api/v1/interop/roster-imports/
p     POST    /api/v1/interop/roster-imports/
p     GET     /api/v1/interop/roster-imports/{id}/
p     POST    /api/v1/interop/roster-exports/
"""
OPERATOR_ADDRESSES = """
o     GET     /api/v1/accounts/permissions/
o     POST    /api/v1/platform/check/
o     GET     /api/v1/platform/institutions/
o     POST    /api/v1/platform/institutions/
o     GET     /api/v1/platform/institutions/{id}/
o     PATCH   /api/v1/platform/institutions/{id}/
o     POST    /api/v1/platform/institutions/{id}/invite/
o     POST    /api/v1/platform/institutions/{id}/rename/
o     POST    /api/v1/platform/institutions/{id}/suspend/
o     POST    /api/v1/platform/institutions/{id}/resume/
o     POST    /api/v1/platform/institutions/{id}/archive/
o     GET     /api/v1/platform/institutions/{id}/history/
o     GET     /api/v1/platform/institutions/{id}/entitlements/
o     PUT     /api/v1/platform/institutions/{id}/entitlements/
o     GET     /api/v1/platform/plans/
o     PUT     /api/v1/platform/plans/{code}/
o     GET     /api/v1/platform/institutions/{id}/domains/
o     POST    /api/v1/platform/institutions/{id}/domains/
o     DELETE  /api/v1/platform/institutions/{id}/domains/{domain}/
o     POST    /api/v1/platform/institutions/{id}/domains/{domain}/verify/
o     POST    /api/v1/platform/institutions/{id}/domains/{domain}/make-primary/
o     GET     /api/v1/platform/institutions/{id}/deletion/
o     POST    /api/v1/platform/institutions/{id}/deletion/
o     POST    /api/v1/platform/institutions/{id}/deletion/confirm/
o     POST    /api/v1/platform/institutions/{id}/deletion/cancel/
o     GET     /api/v1/platform/backups/
o     POST    /api/v1/platform/backups/
o     GET     /api/v1/platform/institutions/{id}/backups/
o     POST    /api/v1/platform/institutions/{id}/backups/
o     POST    /api/v1/platform/institutions/{id}/backups/{backup}/restore/
o     POST    /api/v1/platform/institutions/{id}/undo-restore/
o     GET     /api/v1/platform/migrations/
o     POST    /api/v1/platform/migrations/
"""

# The columns of the first two tables as method and address below the resource's.
COLUMNS = {
    "list": "GET ",
    "read": "GET {id}/",
    "add": "POST ",
    "put": "PUT {id}/",
    "patch": "PATCH {id}/",
    "delete": "DELETE {id}/",
    "b.add": "POST bulk/",
    "b.chg": "POST bulk/",
    "b.del": "POST bulk/",
    "export": "GET export/",
    "import": "POST import/",
    "blank": "GET import/template/",
    "past": "GET {id}/history/",
    "gone": "GET deleted/",
    "back": "POST {id}/restore/",
}
Cells = dict[tuple[str, str], str]


def grid(table: str) -> Cells:
    """{(resource, column): letters} of a table with a head."""
    head, *lines = (line.split() for line in table.strip().splitlines())
    return {(line[0], column): cell for line in lines for column, cell in zip(head, line[1:], strict=True)}


def verbs(table: str) -> Cells:
    """{(resource, verb): letters}."""
    return {(resource, verb): cell for resource, verb, cell in map(str.split, table.strip().splitlines())}


def addresses(table: str) -> dict[str, str]:
    """{method and path: letters}."""
    return {f"{method} {path}": who for who, method, path in map(str.split, table.split("\n")[1:-1])}


RESOURCES = {"institution": grid(INSTITUTION), "operator": grid(OPERATOR)}
VERBS = {"institution": verbs(INSTITUTION_VERBS), "operator": verbs(OPERATOR_VERBS)}
ADDRESSES = {
    "institution": addresses(COMMON_ADDRESSES) | addresses(INSTITUTION_ADDRESSES),
    "operator": addresses(COMMON_ADDRESSES) | addresses(OPERATOR_ADDRESSES),
}
ROLES = {
    "institution": {"p": "principal", "t": "teacher", "g": "guardian", "s": "student"},
    "operator": {"o": "operator"},
}


def may(role: str, path: str, column: str) -> bool:
    """Whether the role of an institution may do what the column says at a resource's address."""
    return role[0] in RESOURCES["institution"][path.removeprefix("/api/v1/").strip("/"), column]
