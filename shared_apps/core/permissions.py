"""The permission catalogue and the scopes in which a permission holds.

A room declares what can be done to its things as an enum; `auth.Permission` rows are made from it and the resources
enforce it. Both directions are checked at the start: nothing declared is left unenforced, nothing is served without.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from uuid import UUID


class Action(StrEnum):
    VIEW = "view"
    ADD = "add"
    CHANGE = "change"
    DELETE = "delete"
    EXPORT = "export"
    IMPORT = "import"
    APPROVE = "approve"
    PUBLISH = "publish"
    ASSIGN = "assign"


CRUD = "view add change delete"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a permission is about: a model, its plural for people, and the actions that exist for it."""

    app_label: str
    model: str
    plural: str
    actions: frozenset[Action]


def subject(app_label: str, model: str, plural: str, actions: str = CRUD) -> Subject:
    """`subject("school", "student", "students", "view add change")`."""
    return Subject(app_label, model, plural, frozenset(Action(action) for action in actions.split()))


class PermissionCatalogue(Enum):
    """Base of the rooms' enums; each member's value is a Subject."""

    @property
    def actions(self) -> frozenset[Action]:
        return self.value.actions

    def code(self, action: Action | str) -> str:
        """`school.view_student`. Raises ValueError for an action that the subject does not have."""
        action = Action(action)
        if action not in self.value.actions:
            raise ValueError(f"{self} has no action {action}.")
        return f"{self.value.app_label}.{action}_{self.value.model}"

    @property
    def codes(self) -> list[str]:
        return [self.code(action) for action in sorted(self.value.actions)]


class Scope(StrEnum):
    """How far a role reaches. CAMPUS, DEPARTMENT and SECTION name one by `scope_id`; a SECTION without it means the
    sections that the person teaches."""

    INSTITUTION = "institution"
    CAMPUS = "campus"
    DEPARTMENT = "department"
    SECTION = "section"
    OWN_CHILDREN = "own_children"
    SELF = "self"


@dataclass(frozen=True, slots=True)
class Reach:
    """One scope that a permission was granted in."""

    scope: Scope
    scope_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """A role held by a person: its permissions (inherited ones included) and how far they reach."""

    role: str
    permissions: frozenset[str]
    reach: Reach


@dataclass(slots=True)
class Principal:
    """Who asks: a signed-in person of the current institution, with what they may do where.

    `good_until` is the next instant at which a grant begins or ends; past it the principal is read anew.
    """

    user_id: UUID
    session_id: UUID
    email: str
    assignments: tuple[Assignment, ...]
    good_until: datetime
    version: int = 1
    _reaches: dict[str, tuple[Reach, ...]] = field(default_factory=dict)

    is_authenticated = True
    is_active = True

    @property
    def pk(self) -> UUID:
        return self.user_id

    def reaches(self, code: str) -> tuple[Reach, ...]:
        """Every scope in which the permission is held; empty when it is not held at all."""
        known = self._reaches.get(code)
        if known is None:
            found = dict.fromkeys(a.reach for a in self.assignments if code in a.permissions)
            known = self._reaches[code] = tuple(found)
        return known

    def may(self, code: str) -> bool:
        return bool(self.reaches(code))

    @property
    def permissions(self) -> frozenset[str]:
        held: Iterable[frozenset[str]] = (assignment.permissions for assignment in self.assignments)
        return frozenset().union(*held)
