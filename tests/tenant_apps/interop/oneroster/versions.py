"""Rosters of the tests as deltas and as OneRoster 1.1, written by hand from the standard."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tests.tenant_apps.interop.oneroster.rosters import HEADERS, Tables

STAMP = "2026-02-27T08:15:30.000Z"
USERS_11 = (
    "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName,"
    "middleName,identifier,email,sms,phone,agentSourcedIds,grades,password"
)
FILES_11 = (
    "academicSessions", "categories", "classes", "classResources", "courses", "courseResources", "demographics",
    "enrollments", "lineItems", "orgs", "resources", "results", "users",
)  # fmt: skip


def as_delta(
    *, active: Collection[str] = (), deleted: Collection[str] = (), keep: Collection[str] = ()
) -> Callable[[Tables], None]:
    """Only the rows with these sourcedIds (users' rows with their roles and births), as they are or to be deleted.

    Files in `keep` stay as they are, and bulk.
    """

    def change(tables: Tables) -> None:
        for file in [name for name in tables if name != "manifest.csv" and name not in keep]:
            header, *all_rows = tables[file]
            chosen = [row for row in all_rows if row[0] in active or row[0] in deleted]
            states = ["tobedeleted" if row[0] in deleted else "active" for row in chosen]
            rows = [header, *([row[0], state, STAMP, *row[3:]] for row, state in zip(chosen, states, strict=True))]
            tables[file] = rows
            for row in tables["manifest.csv"]:
                if row[0] == f"file.{file.removesuffix('.csv')}":
                    row[1] = "delta" if len(rows) > 1 else "absent"
            if len(rows) == 1:
                del tables[file]

    return change


def as_11(tables: Tables) -> None:
    """The roster as a system of version 1.1 writes it: everybody's first role in users.csv, and no roles.csv."""
    roles: dict[str, list[list[str]]] = {}
    for row in tables.pop("roles.csv")[1:]:
        roles.setdefault(row[3], []).append(row)
    header, *users = tables["users.csv"]
    names = USERS_11.split(",")
    tables["users.csv"] = [names]
    for user in users:
        cells = dict(zip(header, user, strict=True))
        first = roles[user[0]][0]
        cells["role"] = "administrator" if first[5] == "principal" else first[5]
        cells["orgSourcedIds"] = first[8]
        tables["users.csv"].append([cells[name] for name in names])
    assert HEADERS["users.csv"] != USERS_11
    tables["manifest.csv"] = [
        ["propertyName", "value"],
        ["manifest.version", "1.0"],
        ["oneroster.version", "1.1"],
        *([f"file.{name}", "bulk" if f"{name}.csv" in tables else "absent"] for name in FILES_11),
    ]
