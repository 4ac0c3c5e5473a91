"""How far a person's rights reach over what a report shows: asked when it is made, told of and fetched."""

from collections.abc import Iterable
from uuid import UUID

from shared_apps.core.errors import Forbidden
from shared_apps.core.permissions import Principal, Scope
from tenant_apps.reports.models import ReportDefinition, ReportRun
from tenant_apps.reports.permissions import ReportsPermission


def campuses_of(principal: Principal, definition: ReportDefinition) -> set[UUID] | None:
    """The campuses of which the principal may run the report; None is all of them. Raises Forbidden for none."""
    return _campuses(principal, [ReportsPermission.RUN.code("add"), *definition.permissions])


def sees(principal: Principal, run: ReportRun) -> bool:
    """Whether the principal may have the files of the run now: their own or, over the whole institution, anybody's,
    and nothing in them lies beyond what the principal may see."""
    view = ReportsPermission.ARTIFACT.code("view")
    if run.requested_by_id != principal.user_id and not _everywhere(principal, view):
        return False
    try:
        allowed = _campuses(principal, [view, *run.definition.permissions])
    except Forbidden:
        return False
    return allowed is None or (run.campuses is not None and set(run.campuses) <= allowed)


def _everywhere(principal: Principal, code: str) -> bool:
    return any(reach.scope is Scope.INSTITUTION for reach in principal.reaches(code))


def _campuses(principal: Principal, codes: Iterable[str]) -> set[UUID] | None:
    """The campuses over which all the permissions are held; None is the whole institution. Raises Forbidden."""
    allowed: set[UUID] | None = None
    for code in codes:
        if _everywhere(principal, code):
            continue
        reaches = principal.reaches(code)
        named = {reach.scope_id for reach in reaches if reach.scope is Scope.CAMPUS and reach.scope_id is not None}
        allowed = named if allowed is None else allowed & named
    if allowed is not None and not allowed:
        raise Forbidden("The report is for those who may see a whole campus or the institution.")
    return allowed
