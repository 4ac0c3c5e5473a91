"""A query compiled once by the ORM and used again with other values.

Compiling a list's query costs about 450 us of Python, running it less. The ORM is therefore asked once for each shape
(declaration, scopes, filters, ordering) with placeholder values; where each placeholder ended up among the parameters
is remembered, and later requests of the shape only fill in theirs. A shape whose placeholders cannot all be found
again (a lookup that computes with its value) is compiled every time: slower, never wrong.
"""

import secrets
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet

MOST_SHAPES = 5_000
MOST_HOLES = 400
_TOKEN = secrets.token_hex(4)
Build = Callable[[Sequence[Any]], QuerySet]


@dataclass(frozen=True, slots=True)
class Hole:
    """A parameter to fill: which value, and what the lookup puts around it (LIKE patterns)."""

    index: int
    wrap: Callable[[Any], Any] | None = None
    pattern: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    sql: str
    parameters: tuple[Any, ...]

    def fill(self, values: Sequence[Any]) -> list[Any]:
        filled = []
        for parameter in self.parameters:
            if not isinstance(parameter, Hole):
                filled.append(parameter)
            elif parameter.pattern is not None:
                before, after = parameter.pattern
                filled.append(f"{before}{connection.ops.prep_for_like_query(values[parameter.index])}{after}")
            elif parameter.wrap is not None:
                filled.append(parameter.wrap(values[parameter.index]))
            else:
                filled.append(values[parameter.index])
        return filled


_shapes: dict[Hashable, Compiled | None] = {}


def compile_query(shape: Hashable, build: Build, values: Sequence[Any]) -> tuple[str, list[Any]] | None:
    """SQL and parameters of `build(values)`, from memory when the shape is known. None when no row can match.

    `build` must put each value into the query and branch on none of them; what it branches on belongs to the shape.
    """
    known = _shapes.get(shape, False)
    if known is False:
        known = _learn(build, values)
        if len(_shapes) >= MOST_SHAPES:
            _shapes.clear()
        _shapes[shape] = known
    if isinstance(known, Compiled):
        return known.sql, known.fill(values)
    try:
        sql, parameters = build(values).query.sql_with_params()
    except EmptyResultSet:
        return None
    return sql, list(parameters)


def _learn(build: Build, values: Sequence[Any]) -> Compiled | None:
    """Compile twice with different placeholders. What differs must be a hole; anything else that differs was computed
    from a value, and then the shape cannot be remembered. A value that the query does not use differs nowhere."""
    first = _with_placeholders(build, values, 0)
    second = _with_placeholders(build, values, 1)
    return Compiled(*first) if first is not None and first == second else None


def _with_placeholders(build: Build, values: Sequence[Any], variant: int) -> tuple[str, tuple[Any, ...]] | None:
    stand_ins = [_placeholder(value, index + variant * MOST_HOLES) for index, value in enumerate(values)]
    if any(stand_in is None for stand_in in stand_ins) or len(values) > MOST_HOLES:
        return None
    try:
        sql, parameters = build(stand_ins).query.sql_with_params()
    except (EmptyResultSet, ValueError, OverflowError):
        return None
    holes = ((parameter, _hole(parameter, stand_ins)) for parameter in parameters)
    return sql, tuple(parameter if hole is None else hole for parameter, hole in holes)


def _placeholder(value: Any, index: int) -> Any:
    """A value of the same type that nothing else in a query equals; None for a type that has no such value.

    Two of one type differ in every part, and a text changes under whatever case, blanks or accents are put right by:
    what a query computes from a placeholder shows.
    """
    match value:
        case bool():
            return None
        case UUID():
            return UUID(int=(0xFACADE << 104) | (int(_TOKEN, 16) << 32) | index)
        case str():
            return f"{index:03x} Zq{_TOKEN}É "
        case datetime():
            return datetime(1801, 1, 1, tzinfo=UTC) + timedelta(days=index, microseconds=index + 1)
        case date():
            return date(1801, 1, 1) + timedelta(days=index)
        case int():
            return 31_873 + index
        case Decimal():
            return Decimal(31_873 + index)
        case _:
            return None


def _hole(parameter: Any, stand_ins: Sequence[Any]) -> Hole | None:
    for index, stand_in in enumerate(stand_ins):
        if isinstance(stand_in, str):
            if parameter == stand_in:
                return Hole(index)
            if isinstance(parameter, str) and stand_in in parameter:
                before, _, after = parameter.partition(stand_in)
                return Hole(index, pattern=(before, after))
        elif type(stand_in) is type(parameter) and parameter == stand_in:
            return Hole(index)
        elif isinstance(stand_in, int) and isinstance(parameter, int) and parameter == stand_in:
            return Hole(index, wrap=type(parameter))
    return None
