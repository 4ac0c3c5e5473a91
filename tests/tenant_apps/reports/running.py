"""Runs of reports for tests, without a worker."""

from datetime import timedelta
from typing import Any

from shared_apps.core.permissions import Principal, Scope
from tenant_apps.accounts.authentication import principal_for_user
from tenant_apps.accounts.models import UserRole
from tenant_apps.reports import services
from tenant_apps.reports.models import ReportDefinition, ReportRun
from tests import cast as casting

DAY = casting.YEAR[0] + timedelta(days=30)


def enrolment_report() -> ReportDefinition:
    return ReportDefinition.objects.get(code="enrolment")


def principal_of(person: casting.Person) -> Principal:
    return principal_for_user(person.user_id)


def request(person: casting.Person, **more: Any) -> ReportRun:
    return services.request_run(definition=enrolment_report(), on=DAY, principal=principal_of(person), **more)


def finished(run: ReportRun) -> ReportRun:
    """The run after its job's body; the worker's own transaction is tested with the jobs."""
    quiet: Any = _Quiet()
    services.make(run.job, quiet)
    run.refresh_from_db()
    return run


class _Quiet:
    """Progress that nobody watches."""

    def __call__(self, percent: float, step: str = "") -> None: ...

    def check(self) -> None: ...


def narrow(cast: casting.Cast) -> None:
    """The principal's role reaches one campus from now on."""
    UserRole.objects.filter(user=cast.principal.user_id).update(scope=Scope.CAMPUS, scope_id=cast.id("campus"))
