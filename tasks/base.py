"""The base of every task: it runs in the institution that its message was sent from, or it doesn't run.

The message carries the institution in a signed header. Without a header, with a wrong signature, or for an institution
that isn't served now, the task fails before its body. Platform tasks say so by name (`platform=True`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import structlog
from celery import Task
from django.core.signing import BadSignature, Signer

from shared_apps.core.actors import acting
from shared_apps.core.actors import task as task_actor
from shared_apps.core.context import InstitutionContext, NoTenant, current, institution, platform
from shared_apps.tenants import hosts
from shared_apps.tenants.middleware import gate

HEADER = "lyceum-tenant"


class BadHeader(RuntimeError):
    """A task's message does not say, or does not prove, which institution it is for."""


def _signer(institution_id: str) -> Signer:
    return Signer(salt=f"lyceum.tasks.header.{institution_id}")


def _signed(institution_id: str, name: str, task_id: str) -> str:
    """What the signature covers: a header can't be moved to another message."""
    return f"{institution_id} {name} {task_id}"


def header_for(task: Task | None, name: str, task_id: str) -> dict[str, str]:
    """The header of a message that is sent now. Raises NoTenant outside of an institution, unless the task is one of
    the platform's."""
    if getattr(task, "platform", False):
        return {}
    context = current()
    if not isinstance(context, InstitutionContext):
        raise NoTenant(f"The task {name} was sent outside of an institution; only tasks with platform=True may be.")
    identity = str(context.id)
    signature = _signer(identity).signature(_signed(identity, name, task_id))
    return {HEADER: f"{identity}:{signature}"}


def institution_of(header: Any, name: str, task_id: str) -> InstitutionContext:
    """The institution that a message's header proves. Raises BadHeader, or the gate's Problem when the institution
    isn't served now."""
    if not isinstance(header, str):
        raise BadHeader(f"The task {name} came without the header {HEADER}; it was not run.")
    identity, _, signature = header.partition(":")
    try:
        UUID(identity)
        _signer(identity).unsign(f"{_signed(identity, name, task_id)}:{signature}")
    except (BadSignature, ValueError):
        raise BadHeader(f"The header {HEADER} of the task {name} is not ours; it was not run.") from None
    context = hosts.by_id(identity)
    if context is None:
        raise BadHeader(f"The task {name} is for an institution that does not exist; it was not run.")
    refusal = gate(context, writes=True)
    if refusal is not None:
        raise refusal
    return context


class TenantTask(Task):
    """Celery's task, run inside its institution."""

    abstract = True
    platform = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            return self.run(*args, **kwargs)
        with self._place(), acting(task_actor(self.name)):
            return self.run(*args, **kwargs)

    @contextmanager
    def _place(self) -> Iterator[None]:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(task=self.name, task_id=self.request.id)
        if self.platform:
            with platform():
                yield
            return
        header = (self.request.headers or {}).get(HEADER)
        with institution(institution_of(header, self.name, self.request.id)):
            yield

    def map(self, it: Any) -> Any:
        raise NotImplementedError("Task.map runs the body without its message's headers; send one task an item.")

    def starmap(self, it: Any) -> Any:
        raise NotImplementedError("Task.starmap runs the body without its message's headers; send one task an item.")

    def chunks(self, it: Any, n: int) -> Any:
        raise NotImplementedError("Task.chunks runs the body without its message's headers; send one task an item.")
