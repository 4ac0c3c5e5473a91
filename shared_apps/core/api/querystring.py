"""Query parameters of a list, read strictly: an unknown, repeated or unreadable one is 400, never ignored."""

import base64
import binascii
import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import orjson
from django.core.exceptions import ValidationError
from django.db import models

from shared_apps.core.api.declarations import Filter
from shared_apps.core.api.etags import digest
from shared_apps.core.errors import Invalid
from shared_apps.core.search import DISTANCE, Word, words_of

PAGE_SIZE = 50
MOST_PAGE_SIZE = 200
MOST_PAGES = 10_000
MOST_SEARCH_WORDS = 8
MOST_IN = 200
MOST_NAMES = 64
MOST_TEXT = 300
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Lookup:
    """One filter parameter: its name, the ORM lookup behind it and how its text becomes a value."""

    name: str
    path: str
    kind: str
    field: models.Field
    parse: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A list's parameters, checked and typed."""

    filters: tuple[tuple[Lookup, Any], ...]
    search: tuple[Word, ...]
    ordering: tuple[str, ...]
    cursor: "Cursor | None"
    page: int | None
    page_size: int
    count: bool
    pairs: tuple[tuple[str, str], ...]
    shape: "Shape"
    place: str


@dataclass(frozen=True, slots=True)
class Shape:
    """Which columns are shown, in declared order (None: all of them), and which related records come along."""

    fields: tuple[str, ...] | None = None
    include: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        return self.fields is None and not self.include


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in an ordered list: the ordering columns' values of the row that it stands after (or before)."""

    backwards: bool
    values: tuple[Any, ...]

    def encode(self, place: str) -> str:
        raw = orjson.dumps([place, int(self.backwards), *self.values], default=str)
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_cursor(text: str, place: str, fields: list[models.Field]) -> Cursor:
    """Raises Invalid for a cursor that is damaged or belongs to another list or ordering."""
    try:
        raw = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        signature, backwards, *values = raw
        if signature != place or backwards not in (0, 1) or len(values) != len(fields):
            raise ValueError
        typed = tuple(_mark(field, value) for field, value in zip(fields, values, strict=True))
    except (ValueError, TypeError, binascii.Error, ValidationError, OverflowError):
        raise bad("cursor", "This cursor does not fit this list; start again without it.", "bad_cursor") from None
    return Cursor(bool(backwards), typed)


def _mark(field: models.Field, value: Any) -> Any:
    """A cursor's value as the column's. Raises ValueError or ValidationError for one that no row's JSON could hold."""
    target = field.target_field if isinstance(field, models.ForeignKey) else field
    if value is None and field.null:
        return None
    match target:
        case models.BooleanField():
            kind: type = bool
        case models.IntegerField():
            kind = int
        case models.FloatField():
            kind = float
        case _:
            kind = str
    if type(value) is not kind or (isinstance(value, str) and "\x00" in value):
        raise ValueError
    typed = target.to_python(value)
    if kind is int:
        target.run_validators(typed)
    return typed


def bad(parameter: str, detail: str, code: str) -> Invalid:
    return Invalid.at(f"?{parameter}", detail, code=code)


def parser(field: models.Field) -> Callable[[str], Any]:
    """How the text of a parameter becomes a value of the column."""
    target = field.target_field if isinstance(field, models.ForeignKey) else field
    if isinstance(target, models.BooleanField):
        return _boolean
    choices = {str(value): value for value, _ in target.flatchoices} if target.flatchoices else None

    def parse(text: str) -> Any:
        if choices is not None:
            if text not in choices:
                raise ValidationError(f"use one of {', '.join(sorted(choices))}")
            return choices[text]
        value = target.to_python(text)
        if value is None:
            raise ValidationError("a value is missing")
        if isinstance(target, models.IntegerField):
            target.run_validators(value)
        if isinstance(value, str) and len(value) > MOST_TEXT:
            raise ValidationError(f"use {MOST_TEXT} characters at most")
        return value

    return parse


def _boolean(text: str) -> bool:
    if text.lower() not in BOOLEANS:
        raise ValidationError("write true or false")
    return BOOLEANS[text.lower()]


def lookups(model: type[models.Model], declared: dict[str, Filter]) -> dict[str, Lookup]:
    """Every filter parameter that a declaration stands for."""
    found: dict[str, Lookup] = {}
    for name, kinds in declared.items():
        field = _resolve(model, name)
        parse = parser(field)
        for kind in kinds.value:
            parameter = name if kind == "exact" else f"{name}__{kind}"
            found[parameter] = Lookup(parameter, f"{name}__{kind}", kind, field, parse)
        if field.null:
            found[f"{name}__isnull"] = Lookup(f"{name}__isnull", f"{name}__isnull", "isnull", field, _boolean)
    return found


def _resolve(model: type[models.Model], path: str) -> models.Field:
    field: Any = None
    for part in path.split("__"):
        field = model._meta.get_field(part)
        model = field.related_model or model
    return field


def pairs(query_string: str) -> list[tuple[str, str]]:
    """The parameters in their order. Raises Invalid for bytes that are not UTF-8, and for NUL characters."""
    if not query_string:
        return []
    try:
        # A WSGI server hands over the bytes that a client did not quote as Latin-1 (PEP 3333).
        text = query_string.encode("latin-1").decode()
        found = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise Invalid("The query string cannot be read; encode it as UTF-8.", code="bad_query") from None
    for name, value in found:
        if "\x00" in value or "\x00" in name:
            raise bad(name.replace("\x00", ""), "A parameter holds a NUL character.", "nul_character")
    return found


def refuse_unknown(found: Iterable[tuple[str, str]], known: Iterable[str]) -> None:
    """Raises Invalid for the first parameter that the address does not know, with the nearest that it does."""
    names = set(known)
    seen = set()
    for name, _ in found:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
            hint = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(sorted(names)) or 'none'}."
            raise bad(name, f"There is no parameter {name[:60]!r} here.{hint}", "unknown_parameter")
        if name in seen:
            raise bad(name, f"The parameter {name} is given twice.", "repeated_parameter")
        seen.add(name)


def refuse_name(parameter: str, name: str, known: Iterable[str]) -> Invalid:
    """The refusal of a name that a list of names may not hold, with the nearest that it may."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(names)}."
    return bad(parameter, f"{parameter} knows no {name[:60]!r}. {hint}", f"bad_{parameter}")


def column(model: type[models.Model], name: str) -> models.Field:
    """A column that a list may be ordered by; the resemblance to what is searched for is a number that is computed."""
    return models.IntegerField() if name == DISTANCE else model._meta.get_field(name)


def _whole(ordering: tuple[str, ...]) -> tuple[str, ...]:
    """The ordering with the id as its last word; it falls where all else falls, so that one index answers both."""
    if "id" in {name.removeprefix("-") for name in ordering}:
        return ordering
    return (*ordering, "-id" if ordering and all(name.startswith("-") for name in ordering) else "id")


WHOLE = Shape()


class ListGrammar:
    """The parameters that one resource's list understands."""

    own = ("search", "ordering", "cursor", "page", "page_size", "count", "fields", "include")

    def __init__(
        self,
        model: type[models.Model],
        *,
        fields: tuple[str, ...] = (),
        includes: tuple[str, ...] = (),
        filters: dict[str, Filter],
        searchable: bool,
        ordering: tuple[str, ...],
        orderable: tuple[str, ...],
    ) -> None:
        self.model, self.fields, self.includes = model, fields, includes
        self.name = model._meta.label_lower
        self.lookups = lookups(model, filters)
        self.default_ordering = _whole(ordering)
        self.orderable = tuple(dict.fromkeys((*(o.lstrip("-") for o in ordering), *orderable, "id")))
        there = {"search": searchable, "fields": bool(fields), "include": bool(includes)}
        absent = {name for name, known in there.items() if not known}
        own = tuple(name for name in self.own if name not in absent)
        self.known_of_record = tuple(name for name in own if name in ("fields", "include"))
        self.known = (*own, *self.lookups)

    def read(self, query_string: str) -> ListRequest:
        """The checked parameters. Raises Invalid at the first bad one."""
        given = pairs(query_string)
        refuse_unknown(given, self.known)
        values = dict(given)
        search = self._search(values["search"]) if "search" in values else ()
        ordering = self._ordering(values.get("ordering"))
        if search and "ordering" not in values:
            ordering = (DISTANCE, *ordering)
        if "cursor" in values and "page" in values:
            raise bad("page", "Use either cursor or page, not both.", "bad_page")
        place, cursor = self._place(ordering, search), None
        if "cursor" in values:
            fields = [column(self.model, name.lstrip("-")) for name in ordering]
            cursor = decode_cursor(values["cursor"], place, fields)
        page = self._number(values, "page", 1, MOST_PAGES) if "page" in values else None
        size = self._number(values, "page_size", 1, MOST_PAGE_SIZE) if "page_size" in values else PAGE_SIZE
        return ListRequest(
            filters=tuple(
                (lookup, self._value(lookup, values[n])) for n, lookup in self.lookups.items() if n in values
            ),
            search=search,
            ordering=ordering,
            cursor=cursor,
            page=page,
            page_size=size,
            count=self._flag(values, "count"),
            pairs=tuple(pair for pair in given if pair[0] not in ("cursor", "page")),
            shape=self._shape(values),
            place=place,
        )

    def _place(self, ordering: tuple[str, ...], search: tuple[Word, ...]) -> str:
        """What a cursor belongs to: the list, its ordering, and for one by resemblance the question itself."""
        place = f"{self.name}:{','.join(ordering)}"
        if DISTANCE in ordering:
            place += f":{digest(repr([word.text for word in search]).encode())[:12]}"
        return place

    def read_shape(self, query_string: str) -> Shape:
        """The parameters of a single record. Raises Invalid."""
        if not query_string:
            return WHOLE
        given = pairs(query_string)
        refuse_unknown(given, self.known_of_record)
        return self._shape(dict(given))

    def _shape(self, values: dict[str, str]) -> Shape:
        if "fields" not in values and "include" not in values:
            return WHOLE
        fields: tuple[str, ...] | None = None
        if "fields" in values:
            asked = {"id", *self._names(values, "fields", self.fields)}
            if len(asked) < len(self.fields):
                fields = tuple(name for name in self.fields if name in asked)
        include: tuple[str, ...] = ()
        if "include" in values:
            named = self._names(values, "include", self.includes)
            include = tuple(name for name in self.includes if name in named)
            for name in include:
                if fields is not None and name not in fields:
                    raise bad("include", f"Name {name} in fields too, or its records stand alone.", "bad_include")
        return Shape(fields, include)

    def _names(self, values: dict[str, str], parameter: str, known: tuple[str, ...]) -> set[str]:
        names = values[parameter].split(",", MOST_NAMES)
        for name in names:
            if name not in known:
                raise refuse_name(parameter, name, known)
        if len(set(names)) != len(names):
            raise bad(parameter, "A name is given twice.", f"bad_{parameter}")
        return set(names)

    def _ordering(self, text: str | None) -> tuple[str, ...]:
        if text is None:
            return self.default_ordering
        names = tuple(text.split(","))
        bare = [name.removeprefix("-") for name in names]
        for name in bare:
            if name not in self.orderable:
                choices = ", ".join(self.orderable)
                raise bad("ordering", f"Cannot order by {name[:60]!r}; use {choices} (- for falling).", "bad_ordering")
        if len(set(bare)) != len(bare):
            raise bad("ordering", "A column is named twice.", "bad_ordering")
        return _whole(names)

    def _number(self, values: dict[str, str], name: str, least: int, most: int) -> int:
        text = values[name]
        if not (text.isascii() and text.isdigit() and len(text) < 9 and least <= int(text) <= most):
            raise bad(name, f"{name} is a whole number from {least} to {most}.", f"bad_{name}")
        return int(text)

    def _flag(self, values: dict[str, str], name: str) -> bool:
        if name not in values:
            return False
        if values[name].lower() not in BOOLEANS:
            raise bad(name, f"{name} is true or false.", f"bad_{name}")
        return BOOLEANS[values[name].lower()]

    def _search(self, text: str) -> tuple[Word, ...]:
        if len(text) > MOST_TEXT:
            raise bad("search", f"Search for {MOST_TEXT} characters at most.", "bad_search")
        words = words_of(text)
        if len(words) > MOST_SEARCH_WORDS:
            raise bad("search", f"Search for {MOST_SEARCH_WORDS} words at most.", "bad_search")
        return words

    def _value(self, lookup: Lookup, text: str) -> Any:
        try:
            if lookup.kind != "in":
                return lookup.parse(text)
            values = tuple(lookup.parse(part) for part in text.split(","))
        except (ValidationError, ValueError, OverflowError) as error:
            why = error.messages[0] if isinstance(error, ValidationError) else "it cannot be read"
            raise bad(lookup.name, f"{lookup.name}={text[:60]!r} is refused: {why}", "bad_filter") from None
        if len(values) > MOST_IN:
            raise bad(lookup.name, f"List {MOST_IN} values at most.", "bad_filter")
        return values


def parse_key(key: str) -> UUID:
    """A record's id. Raises Invalid for text that is no UUID."""
    try:
        if len(key) == 36:
            return UUID(key)
    except ValueError:
        pass
    raise Invalid(f"{key[:60]!r} is not an id; ids are UUIDs.", code="bad_id")
