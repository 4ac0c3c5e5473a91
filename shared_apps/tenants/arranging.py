"""pg_dump's text of a schema, arranged for one that is made from nothing: the same in the end, and sooner there.

pg_dump adds keys when the rows are in, which pays for many rows. A template has a few hundred: here a table's keys
stand in its own statement, so that PostgreSQL need not look for rows that break them (measured, ADR 0045).
"""

import re
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

ENTRY = re.compile(r"^(?P<title>--\n-- (?:Data for )?Name: .+?; Type: (?P<kind>[A-Z ]+); Schema: .*\n--\n)", re.M)
TABLE = re.compile(r"^CREATE TABLE (?P<table>\S+) \(\n.*(?=\n\))", re.M | re.S)
ROWS = re.compile(r"^INSERT INTO (?P<table>\S+) ", re.M)
KEY = re.compile(r"^ALTER TABLE ONLY (?P<table>\S+)\n    ADD (?P<key>CONSTRAINT .*);", re.M | re.S)
REFERENCE = re.compile(r" FOREIGN KEY \(.*?\) REFERENCES (?P<table>\S+?)\(")
KEYS = ("CONSTRAINT", "FK CONSTRAINT")


class CircleOfKeys(ValueError):
    """Tables refer to each other in a circle: none can be made, or filled, before the others."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a dump, of one of pg_dump's kinds, under its title."""

    title: str
    kind: str
    text: str

    @property
    def whole(self) -> str:
        return self.title + self.text


def entries_of(dump: str) -> tuple[str, list[Entry]]:
    """What stands before the first object, and the objects."""
    head, *rest = ENTRY.split(dump)
    return head, [Entry(*found) for found in zip(rest[::3], rest[1::3], rest[2::3], strict=True)]


def arranged(dump: str) -> str:
    """The dump with each table's keys in its own statement; tables, and rows, come after those they refer to.

    Raises CircleOfKeys.
    """
    head, entries = entries_of(dump)
    keys: dict[str, list[str]] = {}
    for found in (KEY.search(entry.text) for entry in entries if entry.kind in KEYS):
        if found:
            keys.setdefault(found["table"], []).append(found["key"])
    places = _places(keys)
    waiting = {
        kind: sorted(
            (entry.text for entry in entries if entry.kind == kind), key=lambda text: places.get(_named(form, text), -1)
        )
        for kind, form in (("TABLE", TABLE), ("TABLE DATA", ROWS))
    }
    waiting["TABLE"] = [_with_keys(text, keys) for text in waiting["TABLE"]]
    parts = [head]
    for entry in entries:
        if entry.kind in waiting:
            parts += waiting[entry.kind]
            waiting[entry.kind] = []
        elif not (entry.kind in KEYS and KEY.search(entry.text)):
            parts.append(entry.text)
    return "".join(parts)


def _named(form: re.Pattern[str], text: str) -> str:
    """The table that is made, or filled; nothing for one that has no rows."""
    found = form.search(text)
    return found["table"] if found else ""


def _places(keys: dict[str, list[str]]) -> dict[str, int]:
    graph = {
        table: sorted({found["table"] for key in of_table if (found := REFERENCE.search(key))} - {table})
        for table, of_table in keys.items()
    }
    try:
        return {table: place for place, table in enumerate(TopologicalSorter(graph).static_order())}
    except CycleError as circle:
        raise CircleOfKeys(f"Tables refer to each other in a circle: {', '.join(circle.args[1])}.") from None


def _with_keys(text: str, keys: dict[str, list[str]]) -> str:
    """Those that are referred to first: a table may refer to itself."""
    own = sorted(keys.get(_named(TABLE, text), ()), key=lambda key: bool(REFERENCE.search(key)))
    return TABLE.sub(lambda found: ",\n    ".join([found[0], *own]), text)
