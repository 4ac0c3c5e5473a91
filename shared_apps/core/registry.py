"""What looks upward registers downward: rooms add their resolvers, steps and grants here from their `apps.py`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol
from uuid import UUID

from django.db.models import Model, Q
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from rest_framework.request import Request

from shared_apps.core.permissions import Action, PermissionCatalogue, Principal, Scope


@dataclass(frozen=True, slots=True)
class NewInstitution:
    """What the creator of an institution said of it; handed to every provisioning step."""

    name: str
    slug: str
    admin_email: str = ""
    language: str = "en"
    currency: str = "USD"
    time_zone: str = "UTC"
    kind: str = "institution"
    plan: str = ""


ProvisioningStep = Callable[[NewInstitution], None]
"""Runs inside the new institution's context, as the serving role, in the transaction that makes it active."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks, for a scope resolver. Values may be placeholders of a compiled query: put them into a Q, and branch
    on nothing but `scope_id is None`."""

    user_id: UUID
    scope_id: UUID | None
    today: date


ScopeResolver = Callable[[Viewer], Q]


class TableDesk(Protocol):
    """Takes exports and imports that a worker does; the room that keeps files registers it."""

    def start_export(self, *, resource: str, query: str, form: str, principal: Principal) -> UUID:
        """The id of the job. Raises TooMany when the person has as many open ones as anybody may have."""

    def start_import(self, *, resource: str, request: Request, principal: Principal) -> HttpResponse:
        """Read an import's form, keep its file and start the job, once for an Idempotency-Key. Raises Problem."""


PlatformJob = Callable[[UUID, dict[str, Any], Callable[[float, str], None]], dict[str, Any]]
"""Work on institutions that an operator starts: the job's id, its parameters, and how to show per cent and step. Runs
on the platform, in a thread and on connections of its own, and again when its worker died. Returns the job's result."""


class JobStarter(Protocol):
    def __call__(self, *, kind: str, parameters: dict[str, Any], requested_by: UUID) -> UUID:
        """Start a job inside the present institution, in the open transaction; its id."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it is kept under a key. `request` is the digest of the request that it belongs to."""

    request: bytes
    status: int
    headers: dict[str, str]
    body: bytes


class Answers(Protocol):
    """Keeps the answers to requests that may be sent again."""

    def begin(self, *, person: UUID, key: str, request: bytes) -> Answer | None:
        """Take the key in the open transaction, waiting for another one that is taking it. The answer that is kept
        under it, None when it is ours."""

    def finish(self, *, person: UUID, key: str, answer: Answer) -> None:
        """Keep the answer under the key that was taken."""


@dataclass(slots=True)
class Registry:
    """What the rooms have registered. Filled once, while the apps get ready."""

    provisioning_steps: list[tuple[str, ProvisioningStep]] = field(default_factory=list)
    restore_steps: list[tuple[str, Callable[[], None], bool]] = field(default_factory=list)
    new_institution_checks: list[Callable[[NewInstitution], None]] = field(default_factory=list)
    scopes: dict[tuple[type[Model], Scope], ScopeResolver] = field(default_factory=dict)
    scope_targets: dict[Scope, type[Model]] = field(default_factory=dict)
    grants: dict[str, dict[PermissionCatalogue, frozenset[Action]]] = field(default_factory=dict)
    table_desk: TableDesk | None = None
    platform_jobs: dict[str, PlatformJob] = field(default_factory=dict)
    start_job: JobStarter | None = None
    record_routes: list[Callable[[Any, str, str], list[URLPattern]]] = field(default_factory=list)
    answers: Answers | None = None
    publisher: Callable[..., None] | None = None
    authenticator: Callable[[HttpRequest], Principal | None] | None = None
    time_zone: Callable[[], str | None] | None = None
    invite: Callable[[str], str | None] | None = None
    """The invitation of the present institution's person with this e-mail; None for nobody, or who has a password."""

    def scope(self, model: type[Model], scope: Scope, resolver: ScopeResolver) -> None:
        """Say how `scope` narrows `model`; once only."""
        if (model, scope) in self.scopes:
            raise ValueError(f"The scope {scope} of {model._meta.label} is registered twice.")
        self.scopes[model, scope] = resolver

    def scope_target(self, scope: Scope, model: type[Model]) -> None:
        """Say which kind of record the `scope_id` of a scope names; once only."""
        if self.scope_targets.setdefault(scope, model) is not model:
            raise ValueError(f"The scope {scope} names two kinds of records.")

    def grant(self, role: str, subject: PermissionCatalogue, actions: str) -> None:
        """Let a system role do `actions` ("view change") to a subject."""
        held = self.grants.setdefault(role, {})
        asked = frozenset(Action(action) for action in actions.split())
        unknown = asked - subject.actions
        if unknown:
            raise ValueError(f"{subject} has no action {', '.join(sorted(unknown))}.")
        held[subject] = held.get(subject, frozenset()) | asked

    def provisioning_step(self, name: str, step: ProvisioningStep) -> None:
        """Add a step; steps run in the order of INSTALLED_APPS. Registering a name twice raises."""
        if any(known == name for known, _ in self.provisioning_steps):
            raise ValueError(f"Provisioning step {name!r} is registered twice.")
        self.provisioning_steps.append((name, step))

    def restore_step(self, name: str, step: Callable[[], None], *, undone: bool = False) -> None:
        """Add what a room settles after a restore, inside the institution, before anybody reaches the restored rows;
        with `undone` also when a restore is undone."""
        self.restore_steps.append((name, step, undone))


registry = Registry()
