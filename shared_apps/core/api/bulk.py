"""Many records in one request: created, changed and deleted, all or only those that are right, with a result for each.

    {"create": [{...}], "update": [{"id": "...", ...}], "delete": ["..."], "atomic": true}

Rows are typed, resolved and locked together and written by one statement for each operation, where the resource has no
service of its own for it. A statement that the database refuses is halved until the rows at fault stand alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import UUID

import orjson
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, transaction
from django.http import HttpResponse
from django.utils import timezone

from shared_apps.core.api.parsing import Draft, Place, RowParser, refusal_of, relocated
from shared_apps.core.api.permissions import missing
from shared_apps.core.api.resources import ResourceViewSet
from shared_apps.core.api.writes import Writes, refuse_fixed
from shared_apps.core.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed, Problem
from shared_apps.core.permissions import Action
from shared_apps.core.problems import as_problem
from shared_apps.core.quotas import settled_together
from shared_apps.core.storing import check, explain, in_use, stamps_of

MOST_ROWS = 1_000
KINDS: dict[int, type[Problem]] = {kind.status: kind for kind in (Forbidden, NotFound, Conflict, PreconditionFailed)}
OPERATIONS = {"create": Action.ADD, "update": Action.CHANGE, "delete": Action.DELETE}


@dataclass(slots=True)
class Row:
    """One operation: what was asked, what came of it."""

    operation: str
    index: int
    key: UUID | None = None
    draft: Draft = field(default_factory=Draft)
    held: str | None = None
    record: Any = None
    status: int = 0
    errors: list[Place] = field(default_factory=list)
    body: str | None = None

    def refuse(self, status: int, errors: Sequence[Place]) -> None:
        self.status, self.errors = status, list(errors)

    def fail(self, error: Exception) -> None:
        """Raises what is no refusal."""
        problem = as_problem(error)
        if problem is None or problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise error
        self.refuse(problem.status, problem.errors or [place("", problem.detail, problem.code)])

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = {"operation": self.operation, "index": self.index, "status": self.status}
        if self.key is not None:
            found["id"] = str(self.key)
        if self.errors:
            found["errors"] = self.errors
        elif self.body is not None:
            found["record"] = orjson.Fragment(self.body)
        return found


class _OutsideScope(Exception):
    """Rows were written that the writer may not have: the savepoint is undone, and done again without them."""


def place(pointer: str, detail: str, code: str) -> Place:
    return {"pointer": pointer, "detail": detail, "code": code}


def perform(view: ResourceViewSet, asked: dict[str, Any]) -> HttpResponse:
    """The answer to a bulk request, within the open transaction.

    Raises Invalid for a request that is none; for an atomic one with a bad row the problem that it amounts to, whose
    `results` say what was wrong with which. Raises PaymentRequired for more rows than the institution may have.
    """
    atomic = asked.get("atomic", True)
    rows = _read(asked, atomic)
    for operation in {row.operation for row in rows}:
        _demand(view, operation)
    _parse(view, [row for row in rows if row.operation != "delete"])
    _lock(view, rows)
    while True:
        good = [row for row in rows if not row.errors]
        if atomic and len(good) < len(rows):
            raise _refused(rows)
        try:
            with transaction.atomic():
                with settled_together():
                    _write(view, good)
                _read_back(view, [row for row in good if not row.errors])
        except _OutsideScope:
            continue
        break
    if atomic and any(row.errors for row in rows):
        raise _refused(rows)
    counts = {
        name: sum(not row.errors for row in rows if row.operation == operation)
        for name, operation in (("created", "create"), ("changed", "update"), ("deleted", "delete"))
    }
    counts["refused"] = sum(bool(row.errors) for row in rows)
    return HttpResponse(
        orjson.dumps({**counts, "results": [row.result for row in rows]}), content_type="application/json"
    )


def _read(asked: dict[str, Any], atomic: Any) -> list[Row]:
    """The operations of the body. Raises Invalid, with the place, for one that is not of their form."""
    unknown = sorted(set(asked) - {*OPERATIONS, "atomic"})
    if unknown:
        raise Invalid.at(f"/{unknown[0]}", "There is no such field here.", code="unknown_field")
    if not isinstance(atomic, bool):
        raise Invalid.at("/atomic", "Write true or false.", code="invalid")
    rows: list[Row] = []
    for operation in OPERATIONS:
        listed = asked.get(operation, [])
        if not isinstance(listed, list):
            raise Invalid.at(f"/{operation}", "This is a list.", code="not_a_list")
        rows += [_row(operation, index, given) for index, given in enumerate(listed)]
    if not rows:
        raise Invalid("Give at least one row to create, update or delete.", code="nothing_to_do")
    if len(rows) > MOST_ROWS:
        raise Invalid(f"{len(rows)} rows are too many for one request; send {MOST_ROWS} at most.", code="too_many_rows")
    seen: dict[UUID, Row] = {}
    for row in rows:
        if row.key is not None and seen.setdefault(row.key, row) is not row:
            raise Invalid.at(f"/{row.operation}/{row.index}", f"{row.key} is named twice.", code="repeated_id")
    return rows


def _row(operation: str, index: int, given: Any) -> Row:
    pointer = f"/{operation}/{index}"
    row = Row(operation, index)
    if operation == "delete":
        row.key = _key(given, pointer)
        return row
    if not isinstance(given, dict):
        raise Invalid.at(pointer, "This is a JSON object.", code="not_an_object")
    sent = dict(given)
    if operation == "update":
        row.key = _key(sent.pop("id", None), f"{pointer}/id")
        row.held = sent.pop("if_match", None)
        if row.held is not None and not isinstance(row.held, str):
            raise Invalid.at(f"{pointer}/if_match", "This is the ETag of the record, as text.", code="invalid")
    row.draft.values = sent
    return row


def _key(given: Any, pointer: str) -> UUID:
    try:
        if isinstance(given, str) and len(given) == 36:
            return UUID(given)
    except ValueError:
        pass
    raise Invalid.at(pointer, "Give the id of the record; ids are UUIDs.", code="bad_id")


def _demand(view: ResourceViewSet, operation: str) -> None:
    action = OPERATIONS[operation]
    if action not in view.exposed:
        raise Invalid.at(f"/{operation}", f"These records take no {operation}.", code="not_offered")
    if not view.principal.may(view.permission.code(action)):
        raise missing(view.permission.code(action))


def _parse(view: ResourceViewSet, rows: list[Row]) -> None:
    parser = RowParser.of(type(view))
    for row in rows:
        row.draft = parser.parse(row.draft.values, partial=row.operation == "update")
    parser.resolve([row.draft for row in rows], view.principal)
    for row in rows:
        if row.operation == "create":
            refuse_fixed(row.draft, None)
        if row.draft.errors:
            row.refuse(refusal_of(row.draft.errors).status, row.draft.errors)


def _lock(view: ResourceViewSet, rows: list[Row]) -> None:
    """Finds and locks what is changed and deleted, by one statement."""
    asked = {
        operation: {row.key: row for row in rows if row.operation == operation and row.key is not None}
        for operation in ("update", "delete")
    }
    asked = {operation: named for operation, named in asked.items() if named}
    if not asked:
        return
    locked = view.lock_rows({OPERATIONS[operation]: list(named) for operation, named in asked.items()})
    found = {record.pk: record for record in locked}
    for operation, named in asked.items():
        action = OPERATIONS[operation]
        asks = [key for key, row in named.items() if key in found and (row.held is not None or row.draft.fixed)]
        current = view.reader().several(view.see(view.principal, action), asks, whole=True)
        for key, row in named.items():
            row.record = found.get(key)
            if row.record is None:
                row.refuse(HTTPStatus.NOT_FOUND, [place("", "There is no such record.", "not_found")])
                continue
            stands = current.get(str(key), "").encode()
            try:
                if row.held is not None:
                    view.demand_tag(row.held, stands)
            except Problem as problem:
                row.fail(problem)
            if row.draft.fixed:
                refuse_fixed(row.draft, stands)
                if row.draft.errors:
                    row.refuse(HTTPStatus.BAD_REQUEST, row.draft.errors)


def _write(view: ResourceViewSet, rows: list[Row]) -> None:
    by = {operation: [row for row in rows if row.operation == operation] for operation in OPERATIONS}
    kind = type(view)
    _apply(by["delete"], _delete if kind.remove is Writes.remove else _each(lambda row: view.remove(row.record)))
    _apply(by["update"], _update if kind.update is Writes.update else _each(lambda row: _update_one(view, row)))
    model = view.queryset.model
    created = by["create"]
    if kind.make is not Writes.make:
        _apply(created, _each(lambda row: _make_one(view, row)))
        return
    for row in created:
        row.record = model(**row.draft.values)
        row.key = row.record.pk
    _apply(created, _create)


def _apply(rows: list[Row], work: Callable[[list[Row]], None]) -> None:
    if rows:
        work(rows)


def _each(do: Callable[[Row], Any]) -> Callable[[list[Row]], None]:
    """Row by row, each in a savepoint: for resources whose services do the work."""

    def work(rows: list[Row]) -> None:
        for row in rows:
            try:
                with transaction.atomic():
                    do(row)
            except Exception as error:  # noqa: BLE001 - `fail` raises what is no refusal
                row.fail(error)

    return work


def _make_one(view: ResourceViewSet, row: Row) -> None:
    row.record = view.make(**row.draft.values)
    row.key = row.record.pk


def _update_one(view: ResourceViewSet, row: Row) -> None:
    if row.draft.values:
        view.update(row.record, **row.draft.values)


def _create(rows: list[Row]) -> None:
    model = type(rows[0].record)
    good = [row for row in rows if _checked(row)]
    _halving(good, lambda some: model._default_manager.bulk_create([row.record for row in some]))


def _update(rows: list[Row]) -> None:
    now = timezone.now()
    for row in rows:
        for name, value in row.draft.values.items():
            setattr(row.record, name, value)
    good = [row for row in rows if row.draft.values and _checked(row)]
    if not good:
        return
    stamps = stamps_of(good[0].record)
    for row in good:
        for name in stamps:
            setattr(row.record, name, now)
    columns = sorted({name for row in good for name in row.draft.values} | set(stamps))
    _halving(good, lambda some: type(some[0].record)._default_manager.bulk_update([r.record for r in some], columns))


def _delete(rows: list[Row]) -> None:
    held = in_use([row.record for row in rows])
    for row in rows:
        if row.key in held:
            row.refuse(HTTPStatus.CONFLICT, [place("", held[row.key], "in_use")])
    good = [row.key for row in rows if not row.errors]
    type(rows[0].record)._default_manager.filter(pk__in=good).delete()


def _checked(row: Row) -> bool:
    try:
        check(row.record)
    except ValidationError as refused:
        row.fail(refused)
    return not row.errors


def _halving(rows: list[Row], write: Callable[[list[Row]], Any]) -> None:
    """Write rows by one statement; where the database refuses it, by two of half the rows, down to those at fault."""
    if not rows:
        return
    try:
        with transaction.atomic():
            write(rows)
    except (IntegrityError, DataError) as refused:
        if len(rows) > 1:
            middle = len(rows) // 2
            _halving(rows[:middle], write)
            _halving(rows[middle:], write)
            return
        try:
            explain(rows[0].record, refused)
        except (ValidationError, Problem) as reason:
            rows[0].fail(reason)


def _read_back(view: ResourceViewSet, rows: list[Row]) -> None:
    """What now stands, within the writer's scope: one query for each operation. Raises _OutsideScope."""
    outside = False
    for operation, status in (("create", HTTPStatus.CREATED), ("update", HTTPStatus.OK)):
        written = {str(row.key): row for row in rows if row.operation == operation}
        if not written:
            continue
        seen = view.see(view.principal, OPERATIONS[operation])
        found = view.reader().several(seen, [row.key for row in written.values() if row.key], whole=True)
        for key, row in written.items():
            if key in found:
                row.status, row.body = status, found[key]
            else:
                outside = True
                detail = "This would place the record outside of your scope."
                row.refuse(HTTPStatus.FORBIDDEN, [place("", detail, "outside_scope")])
    for row in rows:
        if row.operation == "delete":
            row.status = HTTPStatus.NO_CONTENT
    if outside:
        raise _OutsideScope


def _refused(rows: list[Row]) -> Problem:
    """The problem of an atomic request: that of its bad rows where they have one in common, else 400."""
    bad = [row for row in rows if row.errors]
    errors = [error for row in bad for error in relocated(row.errors, f"/{row.operation}/{row.index}")]
    kinds = {row.status for row in bad}
    kind = KINDS.get(kinds.pop(), Invalid) if len(kinds) == 1 else Invalid
    detail = (
        errors[0]["detail"] if len(errors) == 1 else f"{len(bad)} of {len(rows)} rows are refused; nothing was written."
    )
    return kind(detail, errors=errors, more={"results": [row.result for row in bad]})
