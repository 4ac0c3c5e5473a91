"""pg_dump's text of a schema, arranged for one that is made from nothing: the same in the end, and sooner there.

pg_dump adds keys when the rows are in, which pays for many rows. A template has a few hundred, in few of its tables:
here an empty table's keys stand in its own statement, with no rows to look through (measured, ADR 0045).
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
    """Tables refer to each other in a circle: none can be made before the others."""


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
    """The dump with each table's keys in its own statement; tables come after those that they refer to.

    References of a table that has rows stay behind the rows: one look at all of them costs less than one at each.
    Raises CircleOfKeys.
    """
    head, entries = entries_of(dump)
    filled = {_named(ROWS, entry.text) for entry in entries if entry.kind == "TABLE DATA"}
    keys: dict[str, list[str]] = {}
    kept = []
    for entry in entries:
        found = KEY.search(entry.text) if entry.kind in KEYS else None
        if found and not (entry.kind == "FK CONSTRAINT" and found["table"] in filled):
            keys.setdefault(found["table"], []).append(found["key"])
        else:
            kept.append(entry)
    places = _places(keys)
    tables = [entry.text for entry in kept if entry.kind == "TABLE"]
    tables.sort(key=lambda text: places.get(_named(TABLE, text), -1))
    first = next((place for place, entry in enumerate(kept) if entry.kind == "TABLE"), 0)
    before, after = kept[:first], [entry for entry in kept[first:] if entry.kind != "TABLE"]
    made = [_with_keys(text, keys) for text in tables]
    return "".join([head, *(entry.text for entry in before), *made, *(entry.text for entry in after)])


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
