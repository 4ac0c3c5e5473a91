"""Institutions: list, make, change, rename, suspend, resume, archive, and what was done to them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import Body, described
from shared_apps.core.api.querystring import MOST_TEXT, bad, pairs
from shared_apps.core.api.schema import IDEMPOTENCY_KEY
from shared_apps.core.context import State, platform
from shared_apps.core.registry import NewInstitution
from shared_apps.tenants.addresses import change_slug
from shared_apps.tenants.api.desk import ID, WRITE, Desk, find
from shared_apps.tenants.lifecycle import change_state
from shared_apps.tenants.models import Domain, Tenant, Transition
from shared_apps.tenants.permissions import TenantsPermission
from shared_apps.tenants.services import change_institution
from shared_apps.tenants.signing_up.asking import create_and_invite, invite_administrator

EXAMPLE = {
    "id": "019a9f3e-5c1b-7d2e-8f40-1a2b3c4d5e6f",
    "name": "Lycée Lumière",
    "slug": "lumiere",
    "host": "lumiere.example.org",
    "kind": "institution",
    "plan": "standard",
    "state": "active",
    "state_reason": "",
    "state_changed_at": "2026-09-01T08:00:00+00:00",
    "step": "",
    "created_at": "2026-09-01T08:00:00+00:00",
}
COLUMNS = (
    "id",
    "name",
    "slug",
    "host",
    "kind",
    "plan",
    "state",
    "state_reason",
    "state_changed_at",
    "step",
    "created_at",
)
STATE = OpenApiParameter("state", str, enum=list(State), description="Of this state alone.")
SEARCH = OpenApiParameter("search", str, description="Part of the name or of a host.")
DONE = {
    "at": "2026-09-01T08:00:00+00:00",
    "verb": "suspend",
    "from_state": "active",
    "to_state": "suspended",
    "reason": "Invoice 2026-17 unpaid",
    "by": "operator@example.org",
}


class PlatformInstitution(serializers.Serializer):
    """An institution as operators see it; nothing of its people or records."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    slug = serializers.CharField(help_text="Empty once it is deleted.")
    host = serializers.CharField(help_text="The host that it is known by; empty once it is deleted.")
    kind = serializers.CharField()
    plan = serializers.CharField()
    state = serializers.CharField()
    state_reason = serializers.CharField()
    state_changed_at = serializers.DateTimeField()
    step = serializers.CharField(help_text="While it is being made: what is being done.")
    created_at = serializers.DateTimeField()


class PlatformInstitutionList(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = PlatformInstitution(many=True)


class PlatformNewInstitution(Body):
    name = serializers.CharField(max_length=200)
    slug = serializers.CharField(max_length=63, help_text="First label of its host: lumiere -> lumiere.<platform>.")
    admin_email = serializers.EmailField(max_length=254, help_text="First administrator; gets the role principal.")
    language = serializers.CharField(max_length=15, default="en")
    currency = serializers.RegexField(r"\A[A-Z]{3}\Z", default="USD", help_text="ISO 4217.")
    plan = serializers.SlugField(max_length=50, required=False, help_text="What was ordered; kept as told.")
    time_zone = serializers.CharField(max_length=63, default="UTC", help_text="IANA name, such as Europe/Paris.")


class PlatformInstitutionChange(Body):
    name = serializers.CharField(max_length=200, required=False)
    plan = serializers.SlugField(max_length=50, required=False, allow_blank=True)


class PlatformSuspension(Body):
    reason = serializers.CharField(max_length=300)
    read_only = serializers.BooleanField(default=False, help_text="Keep serving reads.")


class PlatformReason(Body):
    reason = serializers.CharField(max_length=300)


class PlatformNewSlug(Body):
    slug = serializers.CharField(max_length=63)


class PlatformTransition(serializers.Serializer):
    """One thing that was done to an institution."""

    at = serializers.DateTimeField()
    verb = serializers.CharField()
    from_state = serializers.CharField()
    to_state = serializers.CharField()
    reason = serializers.CharField(allow_blank=True)
    by = serializers.CharField(help_text="An operator's e-mail, or the command or task that did it.")


class PlatformHistory(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = PlatformTransition(many=True)


def shown(tenant: Tenant) -> dict[str, Any]:
    return {name: getattr(tenant, name) for name in COLUMNS}


def made_beside(new: NewInstitution) -> Tenant:
    """A new institution. Its schema is made over the owner's connection, which cannot be had inside the transaction
    that keeps the answer, so it is made in a thread of its own."""

    def make() -> Tenant:
        try:
            return create_and_invite(new=new)
        finally:
            connection.close()

    with ThreadPoolExecutor(1, thread_name_prefix="lyceum-operators") as thread:
        return thread.submit(copy_context().run, make).result()


class InstitutionsView(Desk):
    """All institutions, by name."""

    permission = TenantsPermission.INSTITUTION.code("view")
    permission_by_method = {"POST": TenantsPermission.INSTITUTION.code("add")}
    parameters = ("page", "page_size", "state", "search")

    @described(
        "List institutions",
        answer=PlatformInstitutionList,
        value={"next": None, "previous": None, "results": [EXAMPLE]},
        operation_id="platform_institutions_list",
        parameters=[STATE, SEARCH],
    )
    def get(self, request: Request) -> Response:
        return self.page(self._found, shown)

    def _found(self) -> QuerySet[Tenant]:
        asked = dict(pairs(self.request.META.get("QUERY_STRING", "")))
        found = Tenant.objects.prefetch_related("domains").order_by("name", "id")
        if "state" in asked:
            if asked["state"] not in list(State):
                raise bad("state", f"state is one of {', '.join(State)}.", "bad_state")
            found = found.filter(state=asked["state"])
        if "search" in asked:
            text = asked["search"].strip()[:MOST_TEXT]
            hosts = Domain.objects.filter(tenant=OuterRef("pk"), domain__icontains=text)
            found = found.filter(Q(name__icontains=text) | Exists(hosts))
        return found

    @described(
        "Make an institution with its own host and schema",
        body=PlatformNewInstitution,
        sent={"name": "Lycée Lumière", "slug": "lumiere", "admin_email": "direction@lumiere.example.org"},
        answer=PlatformInstitution,
        value=EXAMPLE,
        status=201,
        operation_id="platform_institutions_create",
        parameters=[IDEMPOTENCY_KEY],
    )
    def post(self, request: Request) -> HttpResponse:
        return self.once(
            lambda: shown(made_beside(NewInstitution(**PlatformNewInstitution.read(request)))),
            status=201,
            place=lambda row: f"{request.path}{row['id']}/",
        )


class InstitutionView(Desk):
    """One institution."""

    permission = TenantsPermission.INSTITUTION.code("view")
    permission_by_method = {"PATCH": TenantsPermission.INSTITUTION.code("change")}

    @described(
        "Read an institution",
        answer=PlatformInstitution,
        value=EXAMPLE,
        operation_id="platform_institutions_retrieve",
        parameters=[ID],
    )
    def get(self, request: Request, id: str) -> Response:
        with platform():
            return Response(shown(find(id)))

    @described(
        "Change an institution's name or plan",
        body=PlatformInstitutionChange,
        sent={"plan": "large"},
        answer=PlatformInstitution,
        value={**EXAMPLE, "plan": "large"},
        operation_id="platform_institutions_change",
        parameters=WRITE,
    )
    def patch(self, request: Request, id: str) -> HttpResponse:
        return self.once(lambda: shown(change_institution(tenant=find(id), **PlatformInstitutionChange.read(request))))


class RenameView(Desk):
    """Give an institution another slug. Its old host answers 404 from then on, and is nobody else's for 90 days."""

    permission = TenantsPermission.INSTITUTION.code("change")

    @described(
        "Give an institution another slug",
        body=PlatformNewSlug,
        sent={"slug": "lycee-lumiere"},
        answer=PlatformInstitution,
        value={**EXAMPLE, "slug": "lycee-lumiere", "host": "lycee-lumiere.example.org"},
        operation_id="platform_institutions_rename",
        parameters=WRITE,
    )
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.once(lambda: shown(change_slug(tenant=find(id), **PlatformNewSlug.read(request))))


class PlatformInvitation(Body):
    email = serializers.EmailField(max_length=254)


class InviteView(Desk):
    """Write again to an administrator who has no password yet; the invitation is good once, for seven days."""

    permission = TenantsPermission.INSTITUTION.code("add")

    @described(
        "Invite an institution's administrator again",
        body=PlatformInvitation,
        sent={"email": "direction@lumiere.example.org"},
        answer=PlatformInstitution,
        value=EXAMPLE,
        status=202,
        operation_id="platform_institutions_invite",
        parameters=WRITE,
    )
    def post(self, request: Request, id: str) -> HttpResponse:
        def work() -> dict[str, Any]:
            invite_administrator(tenant=find(id), **PlatformInvitation.read(request))
            return shown(find(id))

        return self.once(work, status=202)


class StateView(Desk):
    """Base of the verbs that change an institution's state."""

    permission = TenantsPermission.INSTITUTION.code("change")

    def move(self, id: str, wanted: Callable[[], tuple[State, str]]) -> HttpResponse:
        """`wanted` reads state and reason from the body."""

        def work() -> dict[str, Any]:
            to, reason = wanted()
            change_state(tenant=find(id), to=to, reason=reason)
            return shown(find(id))

        return self.once(work)


class SuspendView(StateView):
    """Stop serving an institution, or its writes only; nothing of it is lost."""

    @described(
        "Suspend an institution",
        body=PlatformSuspension,
        sent={"reason": "Invoice 2026-17 unpaid"},
        answer=PlatformInstitution,
        value={**EXAMPLE, "state": "suspended"},
        operation_id="platform_institutions_suspend",
        parameters=WRITE,
    )
    def post(self, request: Request, id: str) -> HttpResponse:
        def wanted() -> tuple[State, str]:
            values = PlatformSuspension.read(request)
            return State.READ_ONLY if values["read_only"] else State.SUSPENDED, values["reason"]

        return self.move(id, wanted)


class ResumeView(StateView):
    """Serve a suspended, read-only or archived institution again."""

    @described(
        "Resume an institution",
        answer=PlatformInstitution,
        value=EXAMPLE,
        operation_id="platform_institutions_resume",
        parameters=WRITE,
    )
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.move(id, lambda: (State.ACTIVE, ""))


class ArchiveView(StateView):
    """Close an institution: its hosts answer 410, everything is kept, and it may be resumed."""

    @described(
        "Archive an institution",
        body=PlatformReason,
        sent={"reason": "Closed in July 2026"},
        answer=PlatformInstitution,
        value={**EXAMPLE, "state": "archived", "state_reason": "Closed in July 2026"},
        operation_id="platform_institutions_archive",
        parameters=WRITE,
    )
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.move(id, lambda: (State.ARCHIVED, PlatformReason.read(request)["reason"]))


class HistoryView(Desk):
    """What was done to an institution, the newest first. It cannot be altered."""

    permission = TenantsPermission.INSTITUTION.code("view")
    parameters = ("page", "page_size")

    @described(
        "Read what was done to an institution",
        answer=PlatformHistory,
        value={"next": None, "previous": None, "results": [DONE]},
        operation_id="platform_institutions_history",
        parameters=[ID],
    )
    def get(self, request: Request, id: str) -> Response:
        def row(done: Transition) -> dict[str, Any]:
            names = ("verb", "from_state", "to_state", "reason")
            return {"at": done.created_at, **{name: getattr(done, name) for name in names}, "by": done.actor_name}

        return self.page(lambda: find(id).transitions.all(), row)


routes = [
    path("institutions/", InstitutionsView.as_view(), name="platform-institutions"),
    path("institutions/<id>/", InstitutionView.as_view(), name="platform-institution"),
    path("institutions/<id>/rename/", RenameView.as_view(), name="platform-rename"),
    path("institutions/<id>/invite/", InviteView.as_view(), name="platform-invite"),
    path("institutions/<id>/suspend/", SuspendView.as_view(), name="platform-suspend"),
    path("institutions/<id>/resume/", ResumeView.as_view(), name="platform-resume"),
    path("institutions/<id>/archive/", ArchiveView.as_view(), name="platform-archive"),
    path("institutions/<id>/history/", HistoryView.as_view(), name="platform-history"),
]
