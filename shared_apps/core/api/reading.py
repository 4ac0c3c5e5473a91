"""The short way of reads: scope, filter and order in one compiled query whose rows PostgreSQL encodes as JSON."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django.db import connection, models
from django.db.models import F, Func, Q, QuerySet, Value
from django.db.models.lookups import GreaterThan, LessThan
from django.http import HttpRequest

from shared_apps.core.api.compiled import compile_query
from shared_apps.core.api.declarations import EVERYONE, REGISTERED, Narrowing, Own
from shared_apps.core.api.querystring import MOST_PAGES, Cursor, ListGrammar, ListRequest, Shape, column
from shared_apps.core.clock import local_date
from shared_apps.core.permissions import Principal, Reach, Scope
from shared_apps.core.registry import Viewer, registry
from shared_apps.core.search import DISTANCE, Searcher

Scopes = Mapping[Scope, object] | Narrowing | Own
"""A path from the model to the scope's value, or REGISTERED; or EVERYONE, or Own, for all scopes."""
Mark = dict[str, Any]
"""The values of a row that links and included records are made from."""
Include = Callable[[list[Mark]], bytes]


class Row(Func):
    """`(a, b, c)` for SQL's row comparison."""

    function = ""
    output_field = models.BooleanField()


@dataclass(frozen=True, slots=True)
class Sight:
    """What a principal may see of a resource: the shape of the narrowing and the values that it needs.

    `kinds` holds (scope, whether it names one by id); empty kinds mean everything.
    """

    kinds: tuple[tuple[Scope, bool], ...]
    values: tuple[Any, ...]
    nothing: bool = False


def sight(principal: Principal, reaches: Sequence[Reach], scopes: Scopes) -> Sight:
    """How far these reaches let the principal see. A scope that the resource does not declare shows nothing."""
    supervises = any(reach.scope is Scope.INSTITUTION for reach in reaches)
    if isinstance(scopes, Own):
        supervises = supervises and scopes.supervised
    if scopes is EVERYONE or supervises:
        return Sight((), ())
    if isinstance(scopes, Own):
        return Sight(((Scope.SELF, False),), (principal.user_id, local_date()))
    kinds: list[tuple[Scope, bool]] = []
    values: list[Any] = [principal.user_id, local_date()]
    for reach in reaches:
        if isinstance(scopes, Mapping) and reach.scope in scopes:
            kinds.append((reach.scope, reach.scope_id is not None))
            if reach.scope_id is not None:
                values.append(reach.scope_id)
    if not kinds:
        return Sight((), (), nothing=True)
    return Sight(tuple(kinds), tuple(values))


class Reader:
    """Reads of one resource."""

    def __init__(
        self,
        *,
        name: str,
        queryset: QuerySet,
        fields: tuple[str, ...],
        scopes: Scopes,
        grammar: ListGrammar,
        search: tuple[str, ...],
    ) -> None:
        self.name, self.queryset, self.fields, self.scopes = name, queryset, fields, scopes
        self.grammar = grammar
        model = queryset.model
        self.searcher = Searcher(model, search)
        self.columns = [model._meta.get_field(field) for field in fields]
        self._references = {c.name for c in self.columns if isinstance(c, models.ForeignKey)}
        names = ", ".join(connection.ops.quote_name(field) for field in fields)
        self._alias = f"r({names})"
        # row_to_json writes a numeric as a JSON number, which a client would read as a binary float.
        self._texts = {c.name for c in self.columns if isinstance(c, models.DecimalField)}
        self._select = (
            self._parts(fields) if self._texts else f"SELECT row_to_json(r)::text FROM ({{}}) AS {self._alias}"
        )

    def _parts(self, *parts: Sequence[str], ranked: bool = False) -> str:
        """SQL that answers each row in several JSON parts, each of some columns.

        The inner query stays the same whatever the parts are, so that a client that tries every set of columns fills no
        memory; PostgreSQL leaves out what the outer one does not use.
        """
        quote = connection.ops.quote_name
        rows, shown = [], []
        for number, names in enumerate(parts):
            columns = ", ".join(
                f"r.{quote(name)}{'::text' if name in self._texts else ''} AS {quote(name)}" for name in names
            )
            rows.append(f"LATERAL (SELECT {columns}) AS p{number}")
            shown.append(f"row_to_json(p{number})::text")
        alias = f"{self._alias[:-1]}, {quote(DISTANCE)})" if ranked else self._alias
        return f"SELECT {', '.join(shown)} FROM ({{}}) AS {alias}, {', '.join(rows)}"

    def narrow(self, queryset: QuerySet, seen: Sight, values: Sequence[Any] | None = None) -> QuerySet:
        """The rows of `queryset` within sight. `values` stand in for the sight's own (a compiled query's holes)."""
        if seen.nothing:
            return queryset.none()
        if not seen.kinds:
            return queryset
        user_id, day, *ids = seen.values if values is None else values
        remaining = iter(ids)
        condition = Q()
        for scope, named in seen.kinds:
            scope_id: UUID | None = next(remaining) if named else None
            condition |= self._condition(scope, Viewer(user_id=user_id, scope_id=scope_id, today=day))
        return queryset.filter(condition)

    def _condition(self, scope: Scope, viewer: Viewer) -> Q:
        if isinstance(self.scopes, Own):
            own = Q(**{self.scopes.path: viewer.user_id})
            return own | Q(**{self.scopes.shared: True}) if self.scopes.shared else own
        path = self.scopes[scope] if isinstance(self.scopes, Mapping) else None
        if path is REGISTERED:
            return registry.scopes[self.queryset.model, scope](viewer)
        value = viewer.user_id if scope in (Scope.SELF, Scope.OWN_CHILDREN) else viewer.scope_id
        if value is None:
            return Q(pk__in=[])
        return Q(**{str(path): value})

    def one(self, seen: Sight, key: UUID, *, whole: bool = False) -> bytes | None:
        """The record as JSON, None when there is none within sight.

        `whole`: also one that the resource's own queryset leaves out: a loan that has just been given back is no longer
        among the open ones, and is still the answer.
        """
        rows_of = self.queryset.model._default_manager.all() if whole else self.queryset

        def build(values: Sequence[Any]) -> QuerySet:
            narrowed = self.narrow(rows_of, seen, values[1:])
            return narrowed.filter(pk=values[0]).order_by().values_list(*self._attnames)

        if seen.nothing:
            return None
        rows = self._run(self._select, ("one", whole, seen.kinds), build, (key, *seen.values))
        return rows[0][0].encode() if rows else None

    def one_shaped(self, seen: Sight, key: UUID, shape: Shape) -> tuple[bytes, bytes, Mark] | None:
        """The record as JSON whole, the same in the asked shape, and what it refers to; None as for `one`."""

        def build(values: Sequence[Any]) -> QuerySet:
            narrowed = self.narrow(self.queryset, seen, values[1:])
            return narrowed.filter(pk=values[0]).order_by().values_list(*self._attnames)

        if seen.nothing:
            return None
        select = self._parts(self.fields, shape.fields or self.fields, ("id", *shape.include))
        rows = self._run(select, ("one", False, seen.kinds), build, (key, *seen.values))
        if not rows:
            return None
        whole, shown, mark = rows[0]
        return whole.encode(), shown.encode(), orjson.loads(mark)

    def several(self, seen: Sight, keys: Sequence[UUID], *, whole: bool = False) -> dict[str, str]:
        """The JSON of those records that are within sight, by id, in one query; `whole` as above."""
        rows_of = self.queryset.model._default_manager.all() if whole else self.queryset

        def build(values: Sequence[Any]) -> QuerySet:
            return self.narrow(rows_of, seen, values).order_by().values_list(*self._attnames)

        if seen.nothing or not keys:
            return {}
        select = f'{self._parts(self.fields, ("id",))} WHERE r."id" = ANY(%s) ORDER BY r."id"'
        rows = self._run(select, ("several", whole, seen.kinds), build, seen.values, "", [list(keys)])
        return {orjson.loads(mark)["id"]: row for row, mark in rows}

    @property
    def _attnames(self) -> list[str]:
        return [column.attname for column in self.columns]

    def many(self, seen: Sight, asked: ListRequest, request: HttpRequest, include: Include | None = None) -> bytes:
        """The list's answer: {"next", "previous", "results"} and, when asked, "count" and "included".

        `include` answers the related records as JSON, from what the rows refer to.
        """
        ranked = DISTANCE in asked.ordering
        marks = asked.cursor.values if asked.cursor else ()
        backwards = asked.cursor is not None and asked.cursor.backwards
        tail, tail_values = "LIMIT %s", [asked.page_size + 1]
        if asked.page is not None:
            tail, tail_values = "LIMIT %s OFFSET %s", [asked.page_size + 1, (asked.page - 1) * asked.page_size]
        shape = (
            "many", seen.kinds, tuple((lk.name, _arity(lk.kind, value)) for lk, value in asked.filters),
            tuple(word.reach for word in asked.search), asked.ordering, backwards,
            tuple(mark is None for mark in marks), tail,
        )  # fmt: skip
        values = [*seen.values, *_flat(asked), *(mark for mark in marks if mark is not None)]

        def build(given: Sequence[Any]) -> QuerySet:
            queryset, rest = self._filtered(seen, asked, given)
            if marks:
                known = iter(rest)
                places = [None if mark is None else next(known) for mark in marks]
                queryset = queryset.filter(self._beyond(asked.ordering, backwards, places))
            queryset = queryset.order_by(*self._order(asked.ordering, backwards))
            return queryset.values_list(*self._attnames, *((DISTANCE,) if ranked else ()))

        select = self._select
        if ranked or not asked.shape.whole:
            ordered = (name.removeprefix("-") for name in asked.ordering)
            marked = tuple(dict.fromkeys((*ordered, *asked.shape.include)))
            select = self._parts(asked.shape.fields or self.fields, marked, ranked=ranked)
        found = [] if seen.nothing else self._run(select, shape, build, values, tail, tail_values)
        more = len(found) > asked.page_size
        found = found[: asked.page_size]
        if backwards:
            found.reverse()
        rows = [row[0] for row in found]
        forward, back = self._links(asked, found, more, backwards, request)
        parts = [b'{"next":', orjson.dumps(forward), b',"previous":', orjson.dumps(back)]
        if asked.count:
            parts += [b',"count":', str(self.count(seen, asked)).encode()]
        parts += [b',"results":[', ",".join(rows).encode(), b"]"]
        if include is not None:
            parts += [b',"included":', include([orjson.loads(row[-1]) for row in found])]
        return b"".join((*parts, b"}"))

    def count(self, seen: Sight, asked: ListRequest) -> int:
        """How many rows the filters let through, within sight."""
        if seen.nothing:
            return 0
        shape = (
            "count",
            seen.kinds,
            tuple((lk.name, _arity(lk.kind, v)) for lk, v in asked.filters),
            tuple(word.reach for word in asked.search),
        )

        def build(given: Sequence[Any]) -> QuerySet:
            return self._filtered(seen, asked, given)[0].order_by().values_list("pk")

        query = compile_query((self.name, *shape), build, [*seen.values, *_flat(asked)])
        if query is None:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM ({query[0]}) AS r", query[1])
            return int(cursor.fetchone()[0])

    def rows(self, seen: Sight, asked: ListRequest) -> QuerySet:
        """All rows that the list would show page by page, in its order; for an export."""
        values = [*seen.values, *_flat(asked)]
        return self._filtered(seen, asked, values)[0].order_by(*self._order(asked.ordering, False))

    def _filtered(self, seen: Sight, asked: ListRequest, given: Sequence[Any]) -> tuple[QuerySet, Sequence[Any]]:
        """The narrowed and filtered queryset, and the values that are left over for the cursor."""
        cut = len(seen.values)
        queryset = self.narrow(self.queryset, seen, given[:cut])
        for lookup, value in asked.filters:
            arity = _arity(lookup.kind, value)
            if isinstance(arity, bool):
                queryset = queryset.filter(**{lookup.path: arity})
                continue
            taken, cut = given[cut : cut + arity], cut + arity
            queryset = queryset.filter(**{lookup.path: list(taken) if lookup.kind == "in" else taken[0]})
        words = given[cut : cut + len(asked.search)]
        if words:
            queryset = self.searcher.prepared(queryset)
            for asked_word, word in zip(asked.search, words, strict=True):
                queryset = queryset.filter(self.searcher.matches(asked_word.reach, word))
            if DISTANCE in asked.ordering:
                queryset = queryset.annotate(**{DISTANCE: self.searcher.distance(words)})
        return queryset, given[cut + len(asked.search) :]

    def _order(self, ordering: tuple[str, ...], backwards: bool) -> list[Any]:
        """The ORDER BY: rows without a value come last, whichever way the column runs."""
        order: list[Any] = []
        for name in ordering:
            column, falls = name.removeprefix("-"), name.startswith("-") != backwards
            if column in self._references:  # else Django orders by what the other model is ordered by
                column = f"{column}_id"
            if not self._nullable(column):
                order.append(f"-{column}" if falls else column)
            elif falls:
                order.append(F(column).desc(nulls_first=backwards or None, nulls_last=not backwards or None))
            else:
                order.append(F(column).asc(nulls_first=backwards or None, nulls_last=not backwards or None))
        return order

    def _beyond(self, ordering: tuple[str, ...], backwards: bool, marks: Sequence[Any]) -> Any:
        """Rows after (or before) the cursor's. One row comparison, which an index can answer, where all columns run one
        way and none may be null; else the same spelled out. `marks` holds None where the cursor's row has no value."""
        names = [name.removeprefix("-") for name in ordering]
        falling = [name.startswith("-") != backwards for name in ordering]
        if len(set(falling)) == 1 and not any(map(self._nullable, names)):
            compare = LessThan if falling[0] else GreaterThan
            fields = [_plain(column(self.queryset.model, name)) for name in names]
            values = [Value(mark, output_field=field) for mark, field in zip(marks, fields, strict=True)]
            return compare(Row(*(F(name) for name in names)), Row(*values))
        condition, equal = Q(), Q()
        for name, falls, mark in zip(names, falling, marks, strict=True):
            if mark is None:
                step = Q(**{f"{name}__isnull": False}) if backwards else Q(pk__in=[])
                same = Q(**{f"{name}__isnull": True})
            else:
                step, same = Q(**{f"{name}__{'lt' if falls else 'gt'}": mark}), Q(**{name: mark})
                if self._nullable(name) and not backwards:
                    step |= Q(**{f"{name}__isnull": True})
            condition |= equal & step
            equal &= same
        return condition

    def _nullable(self, name: str) -> bool:
        return bool(column(self.queryset.model, name).null)

    def _run(
        self,
        select: str,
        shape: Hashable,
        build: Any,
        values: Sequence[Any],
        tail: str = "",
        tail_values: Sequence[Any] = (),
    ) -> list[tuple[str, ...]]:
        query = compile_query((self.name, shape), build, values)
        if query is None:
            return []
        sql, parameters = query
        with connection.cursor() as cursor:
            cursor.execute(select.format(f"{sql} {tail}"), [*parameters, *tail_values])
            return cursor.fetchall()

    def _links(
        self, asked: ListRequest, rows: list[tuple[str, ...]], more: bool, backwards: bool, request: HttpRequest
    ) -> tuple[str | None, str | None]:
        if asked.page is not None:
            forward = (
                self._link(request, asked, ("page", str(asked.page + 1))) if more and asked.page < MOST_PAGES else None
            )
            back = self._link(request, asked, ("page", str(asked.page - 1))) if asked.page > 1 else None
            return forward, back
        if not rows:
            return None, None
        has_next = more or backwards
        has_previous = more if backwards else asked.cursor is not None
        forward = self._link(request, asked, self._mark(asked, rows[-1][-1], False)) if has_next else None
        back = self._link(request, asked, self._mark(asked, rows[0][-1], True)) if has_previous else None
        return forward, back

    def _mark(self, asked: ListRequest, row: str, backwards: bool) -> tuple[str, str]:
        record = orjson.loads(row)
        values = tuple(record[name.removeprefix("-")] for name in asked.ordering)
        return "cursor", Cursor(backwards, values).encode(asked.place)

    def _link(self, request: HttpRequest, asked: ListRequest, extra: tuple[str, str]) -> str:
        scheme = "https" if request.is_secure() else "http"
        host = request.META.get("HTTP_HOST", "")
        return f"{scheme}://{host}{request.path}?{urlencode([*asked.pairs, extra])}"


def _plain(field: models.Field) -> models.Field:
    return field.target_field if isinstance(field, models.ForeignKey) else field


def _arity(kind: str, value: Any) -> int | bool:
    """How many holes a filter's value takes; a boolean takes none and is part of the shape."""
    if isinstance(value, bool):
        return value
    return len(value) if kind == "in" else 1


def _flat(asked: ListRequest) -> list[Any]:
    flat: list[Any] = []
    for lookup, value in asked.filters:
        if lookup.kind == "in":
            flat += value
        elif not isinstance(value, bool):
            flat.append(value)
    return [*flat, *(word.text for word in asked.search)]
