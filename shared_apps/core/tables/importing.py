"""An import: the rows of a sent table become records, by the same parser, rules and rights as single writes.

Rows are taken in batches: what many rows ask of the database (which record is this, which campus has this code, does
the writer see it) is asked once for all. Everything happens in the caller's transaction, which keeps it or not.
"""

import csv
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from django.db import IntegrityError, models, transaction

from shared_apps.core.api.parsing import Draft, RowParser
from shared_apps.core.errors import Forbidden, Invalid, PaymentRequired, Problem
from shared_apps.core.permissions import Action, Principal
from shared_apps.core.problems import as_problem
from shared_apps.core.quotas import demand_room_for, settled_together
from shared_apps.core.storing import explain
from shared_apps.core.tables.cells import NOTHING, BadCell, is_empty, is_number_in_text, text_of, value_of
from shared_apps.core.tables.formats import BOM, guarded
from shared_apps.core.tables.grids import Cell, Grid, read_grid
from shared_apps.core.tables.mapping import ID, KEY, NONE, Binding, bind, is_reference, known_keys, matched

if TYPE_CHECKING:
    from shared_apps.core.api.resources import ResourceViewSet

ALL_OR_NOTHING, VALID_ROWS_ONLY = "all_or_nothing", "valid_rows_only"
MODES = (ALL_OR_NOTHING, VALID_ROWS_ONLY)
TRIED = 100  # rows of a dry run that are written as an import writes them
BATCH = 1_000
MOST_SHOWN = 1_000
MOST_WARNINGS = 100
PREVIEWED = 20
Told = Callable[[int], None]
Finding = dict[str, Any]
"""{"row", "column", "pointer", "detail", "code"}: the row as a spreadsheet counts it, the table's own column name.
Without a row it is about the table as a whole."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a table is to be read and what is to be done with it."""

    dry_run: bool = False
    mode: str = ALL_OR_NOTHING
    match: str = ""
    date_format: str = "YYYY-MM-DD"
    sheet: str = ""
    mapping: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """One row on its way in."""

    row: int
    cells: list[Cell]
    sent: dict[str, Any] = field(default_factory=dict)
    errors: list[Finding] = field(default_factory=list)
    key: UUID | None = None
    record: models.Model | None = None
    known: bool = False
    draft: Draft = field(default_factory=Draft)
    changed: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What came of an import. `errors` are the first ones; `refused_rows` is a CSV file of all, None without any.

    `beyond`: the institution may not have so much, so the import is refused whole, whatever its mode."""

    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("rows", "created", "changed", "unchanged", "refused"), 0)
    )
    preview: list[Any] = field(default_factory=list)
    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    refused_rows: Any = None
    beyond: PaymentRequired | None = None


class Import:
    """One import of one table. Use `run` once, inside a transaction."""

    def __init__(self, resource: "type[ResourceViewSet]", principal: Principal, options: Options) -> None:
        self.resource, self.principal, self.options = resource, principal, options
        self.match = options.match or (KEY if resource.key else ID)
        if self.match == KEY and not resource.key:
            raise Invalid.at("/match", "These records have no key of their own; use match=id or none.", code="no_key")
        self.model = resource.queryset.model
        self.parser = RowParser.of(resource)
        self.outcome = Outcome()
        self._numbers: dict[str, tuple[int, int]] = {}
        self._seen: dict[UUID, int] = {}
        self._report: Any = None
        # The resource's own way of making and changing records, for this person.
        self.view: Any = resource()
        self.view.request = SimpleNamespace(user=principal, META={})

    def run(self, path: Path, told: Told = lambda done: None) -> Outcome:
        """Read, check and write the table at `path`; the caller's transaction must be undone after a dry run, and after
        refusals when it is all or nothing. Raises Problem for a file that cannot be read, Forbidden without the right
        to import."""
        self.resource.see(self.principal, Action.IMPORT)
        grid = read_grid(path, sheet=self.options.sheet)
        binding = bind(self.resource, grid.header, self.options.mapping)
        if self.match == ID and binding.id_place is None and self.options.match:
            raise Invalid.at("/match", "match=id needs a column `id`.", code="no_id_column")
        self.outcome.warnings += grid.warnings + binding.warnings
        own = any(one.column.field.related_model is self.model for one in binding.bound)
        # A row may refer to one before it: then that one must be there when it is looked up.
        try:
            with settled_together():
                for entries in _batches(self._entries(grid), *((1, 1) if own else (TRIED, BATCH))):
                    self._take(entries, grid, binding)
                    told(self.outcome.counts["rows"])
        except PaymentRequired as beyond:
            self._refuse_whole(beyond)
        self._warn_of_numbers()
        if self._report is not None:
            self._report.flush()
            self._report.detach()
            self.outcome.refused_rows.seek(0)
        return self.outcome

    def _entries(self, grid: Grid) -> Iterator[Entry]:
        for number, cells in grid.rows:
            if not all(map(is_empty, cells)):
                yield Entry(number, cells)

    def _take(self, entries: list[Entry], grid: Grid, binding: Binding) -> None:
        """One batch, from cells to records."""
        for entry in entries:
            self._read_cells(entry, grid, binding)
        self._name_references(entries, binding)
        self._find_records(entries, binding)
        good = [entry for entry in entries if not entry.errors]
        for entry in good:
            entry.draft = self.parser.parse(entry.sent, partial=entry.record is not None)
        self.parser.resolve([entry.draft for entry in good], self.principal)
        for entry in good:
            for error in entry.draft.errors:
                name = error["pointer"].split("/")[1] if "/" in error["pointer"] else ""
                self._refuse(entry, binding.header_of(name), error["pointer"], error["detail"], error["code"])
        self._write([entry for entry in good if not entry.errors], binding)
        self._count(entries, grid)

    # Reading --------------------------------------------------------------------------------------------------

    def _read_cells(self, entry: Entry, grid: Grid, binding: Binding) -> None:
        plain, cells = grid.form == "csv", entry.cells
        if any(not is_empty(cell) for cell in cells[len(grid.header) :]):
            detail = "The row has more cells than the first row has names; look for a separator within a text."
            self._refuse(entry, None, "", detail, "too_many_cells")
        for one in binding.bound:
            cell = cells[one.place] if one.place < len(cells) else None
            if is_number_in_text(one.column, cell):
                count, first = self._numbers.get(one.header, (0, entry.row))
                self._numbers[one.header] = count + 1, first
            try:
                value = value_of(one.column, cell, guarded=plain, date_format=self.options.date_format)
            except BadCell as bad:
                self._refuse(entry, one.header, f"/{one.column.name}", bad.detail, bad.code)
                continue
            if value is not NOTHING:
                entry.sent[one.column.name] = value
        if binding.id_place is not None and binding.id_place < len(cells):
            self._read_id(entry, cells[binding.id_place], grid.header[binding.id_place])

    def _read_id(self, entry: Entry, cell: Cell, header: str) -> None:
        text = text_of(cell, guarded=False).strip()
        try:
            entry.key = UUID(text) if text else None
        except ValueError:
            self._refuse(entry, header, "/id", f"{text[:40]!r} is not an id; ids are UUIDs.", "bad_id")

    def _name_references(self, entries: list[Entry], binding: Binding) -> None:
        """Put the ids of records in place of the keys that the cells name them by."""
        for one in binding.bound:
            name = one.column.name
            if not is_reference(one.column):
                continue
            known = known_keys(one.column, {entry.sent[name] for entry in entries if entry.sent.get(name)})
            for entry in entries:
                text = entry.sent.get(name)
                if not text:
                    continue
                if text in known:
                    entry.sent[name] = str(known[text])
                    continue
                noun = one.column.field.related_model._meta.verbose_name
                key = f"{one.column.key.verbose_name} or id" if one.column.key is not None else "id"
                detail = f"There is no {noun} with the {key} {text[:60]!r}."
                self._refuse(entry, one.header, f"/{name}", detail, "does_not_exist")

    def _find_records(self, entries: list[Entry], binding: Binding) -> None:
        """Set `record` of the rows that are about one which is there already; it is locked unless this is a dry run."""
        good = [entry for entry in entries if not entry.errors]
        if self.match == KEY:
            keys = matched(self.resource, [entry.sent for entry in good])
        elif self.match == ID:
            keys = [entry.key for entry in good]
        else:
            keys = [None] * len(good)
        wanted = {key for key in keys if key is not None}
        there = set(self.model._default_manager.filter(pk__in=wanted).values_list("pk", flat=True)) if wanted else set()
        mine: dict[UUID, models.Model] = {}
        refusal: Problem | None = None
        if there:
            try:
                mine = {record.pk: record for record in self.view.locked_many(list(there), Action.CHANGE)}
            except Forbidden as forbidden:
                refusal = forbidden
        for entry, key in zip(good, keys, strict=True):
            if key is not None and key in self._seen:
                detail = f"Row {self._seen[key]} is about the same record; keep one of them."
                self._refuse(entry, None, "", detail, "duplicate_row")
            elif key in there and key not in mine:
                detail = refusal.detail if refusal else "The record is there already, and not yours to change."
                self._refuse(entry, None, "", detail, refusal.code if refusal else "outside_scope")
            elif key is not None:
                self._seen[key] = entry.row
                entry.record = mine.get(key)
                entry.known = entry.record is not None

    # Writing --------------------------------------------------------------------------------------------------

    def _write(self, entries: list[Entry], binding: Binding) -> None:
        """Write what differs; whatever is refused, or falls outside of the writer's scope, is undone."""
        for entry in entries:
            if entry.record is not None:
                entry.changed = _differences(entry.record, entry.draft.values)
        for action, rows in (
            (Action.ADD, [entry for entry in entries if not entry.known]),
            (Action.CHANGE, [entry for entry in entries if entry.known and entry.changed]),
        ):
            while rows:
                with transaction.atomic():
                    if self.options.dry_run and self.outcome.counts["rows"] >= TRIED:
                        rehearse(self, rows, action, binding)
                    else:
                        for entry in rows:
                            self._write_one(entry, binding)
                    outside = self._outside([entry for entry in rows if not entry.errors], action)
                    if outside:
                        transaction.set_rollback(True)
                if not outside:
                    break
                for entry in outside:
                    detail = "This would place the record outside of your scope."
                    self._refuse(entry, None, "", detail, "outside_scope")
                rows = [entry for entry in rows if not entry.errors]
                for entry in rows:
                    entry.record = entry.record if entry.known else None
        self._preview(entries)

    def _write_one(self, entry: Entry, binding: Binding) -> None:
        try:
            with transaction.atomic():
                if entry.record is None:
                    self.resource.see(self.principal, Action.ADD)
                    entry.record = self.view.make(**self.values_of(entry))
                else:
                    self.view.update(entry.record, **entry.changed)
        except Exception as error:  # noqa: BLE001 - raised again unless it is a refusal
            self.explain(entry, error, binding)

    def values_of(self, entry: Entry) -> dict[str, Any]:
        """What a new record is made of; the row's id too, unless the table matches nothing."""
        own = {"id": entry.key} if entry.key is not None and self.match != NONE else {}
        return {**own, **entry.draft.values}

    def explain(self, entry: Entry, error: Exception, binding: Binding) -> None:
        """Refuse a row for what its writing raised; raises it again when it is no refusal."""
        problem = as_problem(error)
        if problem is None or problem.status >= 500:
            raise error
        for place in problem.errors or [{"pointer": "", "detail": problem.detail, "code": problem.code}]:
            name = place["pointer"].strip("/")
            header = binding.header_of(name) if name else None
            self._refuse(entry, header, place["pointer"], place["detail"], place["code"])

    def _outside(self, entries: list[Entry], action: Action) -> list[Entry]:
        """Those whose record the writer could not have written by itself there."""
        if not entries:
            return []
        seen = self.resource.see(self.principal, action)
        rows = self.model._default_manager.filter(pk__in=[_key_of(entry) for entry in entries])
        within = set(self.resource.reader().narrow(rows, seen).values_list("pk", flat=True))
        return [entry for entry in entries if _key_of(entry) not in within]

    def _preview(self, entries: list[Entry]) -> None:
        """The first rows as they now stand, for who may view such records."""
        missing = PREVIEWED - len(self.outcome.preview)
        good = [entry for entry in entries if not entry.errors][:missing]
        if missing <= 0 or not good or not self.principal.may(self.resource.permission.code(Action.VIEW)):
            return
        shown = self.resource.reader().several(
            self.resource.see(self.principal, Action.VIEW), [_key_of(entry) for entry in good]
        )
        for entry in good:
            row = shown.get(str(_key_of(entry)))
            if row is not None:
                self.outcome.preview.append({"row": entry.row, "record": orjson.loads(row)})

    # Telling --------------------------------------------------------------------------------------------------

    def _refuse(self, entry: Entry, column: str | None, pointer: str, detail: str, code: str) -> None:
        entry.errors.append({"row": entry.row, "column": column, "pointer": pointer, "detail": detail, "code": code})

    def _refuse_whole(self, beyond: PaymentRequired) -> None:
        """The rows are right, and together more than the institution may have: none of them is taken."""
        self.outcome.beyond = beyond
        counts = self.outcome.counts
        counts["refused"] += counts["created"] + counts["changed"]
        counts["created"] = counts["changed"] = 0
        self.outcome.preview.clear()
        finding = {"row": None, "column": None, "pointer": "/file", "detail": beyond.detail, "code": beyond.code}
        self.outcome.errors.insert(0, finding)
        del self.outcome.errors[MOST_SHOWN:]

    def _count(self, entries: list[Entry], grid: Grid) -> None:
        counts = self.outcome.counts
        for entry in entries:
            counts["rows"] += 1
            if entry.errors:
                counts["refused"] += 1
                self._tell(entry, grid)
            elif entry.known and entry.changed:
                counts["changed"] += 1
            else:
                counts["unchanged" if entry.known else "created"] += 1
                self._seen[_key_of(entry)] = entry.row

    def _tell(self, entry: Entry, grid: Grid) -> None:
        """Keep what is wrong with a row: the first ones for the answer, all of them beside the row as it was sent."""
        room = MOST_SHOWN - len(self.outcome.errors)
        self.outcome.errors += entry.errors[:room] if room > 0 else []
        if self._report is None:
            self.outcome.refused_rows = tempfile.SpooledTemporaryFile(max_size=1024 * 1024)  # noqa: SIM115
            self.outcome.refused_rows.write(BOM)
            self._report = io.TextIOWrapper(self.outcome.refused_rows, encoding="utf-8", newline="")
            csv.writer(self._report).writerow(["row", *map(guarded, grid.header), "error"])
        cells = [text_of(cell, guarded=grid.form == "csv") for cell in entry.cells[: len(grid.header)]]
        cells += [""] * (len(grid.header) - len(cells))
        reasons = "; ".join(f"{error['column'] or 'row'}: {error['detail']}" for error in entry.errors)
        csv.writer(self._report).writerow([entry.row, *map(guarded, cells), guarded(reasons)])

    def _warn_of_numbers(self) -> None:
        for header, (count, first) in self._numbers.items():
            detail = f"The sheet holds {count:,} numbers where texts are wanted; leading zeros may be gone."
            self.outcome.warnings.append({"row": first, "column": header, "detail": detail, "code": "number_in_text"})
        del self.outcome.warnings[MOST_WARNINGS:]


def rehearse(work: Import, entries: list[Entry], action: Action, binding: Binding) -> None:
    """Judge many rows of a dry run at once: each by its model's `clean` (its columns' rules are the parser's too), all
    together by the database.

    The first batch of a dry run is written as an import writes it, by the room's own verbs; for ten thousand rows that
    takes longer than anybody waits for a preview.
    """
    try:
        work.resource.see(work.principal, action)
    except Forbidden as refused:
        for entry in entries:
            work.explain(entry, refused, binding)
        return
    for entry in entries:
        if entry.record is None:
            entry.record = work.model(**work.values_of(entry))
        for name, value in entry.changed.items():
            setattr(entry.record, name, value)
        try:
            entry.record.clean()
        except Exception as error:  # noqa: BLE001 - raised again unless it is a refusal
            work.explain(entry, error, binding)
    _store_together(work, [entry for entry in entries if not entry.errors], binding)
    if action is Action.ADD:
        demand_room_for(work.model)


def _store_together(work: Import, entries: list[Entry], binding: Binding) -> None:
    """In one statement; when the database refuses it, by halves until each row that is at fault is found."""
    if not entries:
        return
    records = [entry.record for entry in entries if entry.record is not None]
    changed = sorted({name for entry in entries for name in entry.changed})
    try:
        with transaction.atomic():
            if entries[0].known:
                work.model._default_manager.bulk_update(records, changed)
            else:
                work.model._default_manager.bulk_create(records)
    except IntegrityError as refused:
        if len(entries) > 1:
            middle = len(entries) // 2
            _store_together(work, entries[:middle], binding)
            _store_together(work, entries[middle:], binding)
            return
        try:
            explain(records[0], refused)
        except Exception as error:  # noqa: BLE001 - raised again unless it is a refusal
            work.explain(entries[0], error, binding)


def _key_of(entry: Entry) -> UUID:
    assert entry.record is not None
    return entry.record.pk


def _differences(record: models.Model, values: dict[str, Any]) -> dict[str, Any]:
    """The values that are not what the record holds."""
    changed = {}
    for name, value in values.items():
        column: Any = record._meta.get_field(name)
        given = value.pk if isinstance(value, models.Model) else value
        if getattr(record, column.attname) != given:
            changed[name] = value
    return changed


def _batches(entries: Iterable[Entry], first: int, size: int) -> Iterator[list[Entry]]:
    """Lists of `size`, but for the first one."""
    wanted = first
    batch: list[Entry] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) >= wanted:
            yield batch
            batch, wanted = [], size
    if batch:
        yield batch
