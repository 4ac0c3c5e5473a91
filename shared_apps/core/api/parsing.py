"""What a client sent for a row, typed: compiled once from a resource's declaration, for one row or ten thousand.

REST framework's serializer of the same declaration describes the body in the OpenAPI text; its fields do the typing
here, so both say the same. What a serializer would ask the database row by row (does this campus exist, may the writer
see it) is asked once for all rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import models
from rest_framework import serializers
from rest_framework.exceptions import ValidationError as Refused
from rest_framework.fields import SkipField

from shared_apps.core.api.served import visible, visible_each
from shared_apps.core.errors import Conflict, Invalid, Problem
from shared_apps.core.permissions import Principal
from shared_apps.core.problems import escaped, field_errors
from shared_apps.core.text import demand_plain

if TYPE_CHECKING:
    from shared_apps.core.api.resources import ResourceViewSet

Place = dict[str, str]
"""{"pointer", "detail", "code"}: a JSON pointer into the row, what is wrong there, and its code."""
Typing = Callable[[Any], Any]


@dataclass(slots=True)
class Draft:
    """One row on its way in: typed values by field, ids of the records that it refers to (until they are resolved),
    what was sent for fields that are only shown, and what is wrong."""

    values: dict[str, Any] = field(default_factory=dict)
    references: dict[str, UUID] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    errors: list[Place] = field(default_factory=list)

    def refuse(self, name: str, detail: str, code: str) -> None:
        self.errors.append({"pointer": f"/{escaped(name)}", "detail": detail, "code": code})

    def demand_good(self) -> None:
        """Raises Invalid when anything is wrong with the row."""
        if self.errors:
            raise refusal_of(self.errors)


def refusal_of(errors: Sequence[Place]) -> Problem:
    """The problem that a list of places amounts to: 409 when each says that another row is in the way, else 400."""
    kind = Conflict if errors and all(error["code"] in CONFLICTING for error in errors) else Invalid
    return kind(errors[0]["detail"] if len(errors) == 1 else "Some values are refused.", errors=list(errors))


CONFLICTING = frozenset({"unique", "unique_together", "duplicate", "in_use"})


class RowParser:
    """The parser of one resource's rows."""

    def __init__(self, resource: "type[ResourceViewSet]") -> None:
        shown = resource.serializer_class().fields
        self._typing: dict[str, Typing] = {}
        self._related: dict[str, tuple[type[models.Model], bool]] = {}
        self._fixed = {name for name, column in shown.items() if column.read_only}
        self._required = [name for name, column in shown.items() if column.required and not column.read_only]
        self._defaults: dict[str, Callable[[], Any]] = {}
        for name, column in shown.items():
            if column.read_only:
                continue
            target = resource.queryset.model._meta.get_field(name)
            if isinstance(column, serializers.PrimaryKeyRelatedField):
                self._related[name] = (target.related_model, column.allow_null)
            else:
                self._typing[name] = _typing(column, target)
            if not column.required:
                self._defaults[name] = target.get_default
        self._known = {*self._typing, *self._related, *self._fixed}

    @classmethod
    def of(cls, resource: "type[ResourceViewSet]") -> "RowParser":
        """The resource's parser, made at its first use."""
        known = _parsers.get(resource)
        if known is None:
            known = _parsers[resource] = cls(resource)
        return known

    def parse(self, sent: dict[str, Any], *, partial: bool) -> Draft:
        """Types a JSON object without asking the database; `partial` asks for no field that was not sent."""
        draft = Draft()
        for name, value in sent.items():
            if name in self._typing:
                try:
                    draft.values[name] = self._typing[name](value)
                except SkipField:
                    continue
                except Refused as refused:
                    draft.errors += field_errors(refused.detail, f"/{name}")
                except ValidationError as refused:
                    draft.refuse(name, refused.messages[0], refused.code or "invalid")
            elif name in self._related:
                self._refer(draft, name, value)
            elif name in self._fixed:
                draft.fixed[name] = value
            else:
                near = get_close_matches(name, self._known, n=1, cutoff=0.7)
                hint = f" Did you mean {near[0]}?" if near else ""
                draft.refuse(name, f"There is no such field here.{hint}", "unknown_field")
        if not partial:
            for name in self._required:
                if name not in sent:
                    draft.refuse(name, "This field is required.", "required")
        return draft

    def complete(self, draft: Draft) -> None:
        """Gives every optional field that was not sent its default: what replacing a whole record means (RFC 9110,
        section 9.3.4)."""
        for name, default in self._defaults.items():
            if name not in draft.values and name not in draft.references:
                draft.values[name] = default()

    def resolve(self, drafts: Sequence[Draft], principal: Principal) -> None:
        """Puts the records that drafts refer to in place of their ids: one query for a draft alone, and one for each
        relation for any number of drafts. A record that the writer does not see is not there."""
        if len(drafts) == 1:
            names = list(drafts[0].references)
            references = [(self._related[name][0], drafts[0].references[name]) for name in names]
            for name, record in zip(names, visible_each(principal, references), strict=True):
                self._put(drafts[0], name, record)
            return
        for name, (model, _) in self._related.items():
            asking = [draft for draft in drafts if name in draft.references]
            seen = visible(principal, model, {draft.references[name] for draft in asking}) if asking else {}
            for draft in asking:
                self._put(draft, name, seen.get(draft.references[name]))

    def _put(self, draft: Draft, name: str, record: models.Model | None) -> None:
        del draft.references[name]
        if record is not None:
            draft.values[name] = record
            return
        noun = self._related[name][0]._meta.verbose_name
        draft.refuse(name, f"There is no {noun} with this id here.", "does_not_exist")

    def _refer(self, draft: Draft, name: str, value: Any) -> None:
        _, nullable = self._related[name]
        if value is None:
            if nullable:
                draft.values[name] = None
            else:
                draft.refuse(name, "This field may not be null.", "null")
            return
        try:
            draft.references[name] = UUID(value) if isinstance(value, str) and len(value) == 36 else _no_key()
        except ValueError:
            draft.refuse(name, "This is not an id; ids are UUIDs.", "invalid")


_parsers: dict[type, RowParser] = {}


def _no_key() -> UUID:
    raise ValueError


def _typing(column: serializers.Field, target: models.Field) -> Typing:
    """How one field types its value: as REST framework's field does, and text without invisible characters."""
    if not isinstance(target, models.CharField | models.TextField) or target.choices:
        return column.run_validation
    lines = isinstance(target, models.TextField)

    def text(value: Any) -> Any:
        typed = column.run_validation(value)
        if isinstance(typed, str):
            demand_plain(typed, lines=lines)
        return typed

    return text


def relocated(errors: Iterable[Place], prefix: str) -> list[Place]:
    """The same places below `prefix`, such as `/create/3`."""
    return [{**error, "pointer": prefix + error["pointer"]} for error in errors]
