"""What an institution may use and uses, and the plans; operators change both."""

from typing import Any

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import Body, described
from shared_apps.core.api.schema import IDEMPOTENCY_KEY
from shared_apps.core.context import platform
from shared_apps.tenants.api.desk import ID, WRITE, Desk, find
from shared_apps.tenants.entitlements import EXAMPLE, LIMIT_NAMES, LONGEST_STATEMENT, MOST, allow, save_plan, shown
from shared_apps.tenants.permissions import TenantsPermission
from shared_apps.tenants.plans import Plan

CODE = OpenApiParameter("code", str, OpenApiParameter.PATH, description="What the plan is called when it is ordered.")
LIMITS = {"students": 800, "storage_bytes": None}
PLAN = {"code": "standard", "limits": {"students": 500, "requests_per_minute": 3000}}


class PlatformLimit(serializers.Serializer):
    """One limit, and how much of it is used up now."""

    name = serializers.CharField(help_text=LIMIT_NAMES)
    allowed = serializers.IntegerField(allow_null=True, help_text="null: unlimited.")
    source = serializers.CharField(help_text="Who says so: institution, plan or standard.")
    used = serializers.IntegerField(allow_null=True, help_text="null: nothing is used up, or it is not known now.")


class PlatformEntitlements(serializers.Serializer):
    plan = serializers.CharField(allow_blank=True)
    limits = PlatformLimit(many=True)


class PlatformLimits(Body):
    """Limits in place of those that were. null says unlimited; of what is left out holds what would without it: an
    institution's plan, a plan's the platform's standard."""

    students = serializers.IntegerField(min_value=1, max_value=MOST, allow_null=True, required=False)
    storage_bytes = serializers.IntegerField(min_value=1, max_value=MOST, allow_null=True, required=False)
    requests_per_minute = serializers.IntegerField(min_value=1, max_value=MOST, allow_null=True, required=False)
    concurrent_jobs = serializers.IntegerField(min_value=1, max_value=MOST, allow_null=True, required=False)
    statement_seconds = serializers.IntegerField(
        min_value=1, max_value=LONGEST_STATEMENT, allow_null=True, required=False
    )


class PlatformPlan(serializers.Serializer):
    code = serializers.CharField()
    limits = serializers.JSONField(help_text="Limit to number, null for unlimited.")


class PlatformPlans(serializers.Serializer):
    results = PlatformPlan(many=True)


def shown_plan(plan: Plan) -> dict[str, Any]:
    return {"code": plan.code, "limits": plan.limits}


class EntitlementsView(Desk):
    """What one institution may use, and uses now."""

    permission = TenantsPermission.ENTITLEMENT.code("view")
    permission_by_method = {"PUT": TenantsPermission.ENTITLEMENT.code("change")}

    @described(
        "Read what an institution may use, and uses",
        answer=PlatformEntitlements,
        value=EXAMPLE,
        operation_id="platform_entitlements_retrieve",
        parameters=[ID],
    )
    def get(self, request: Request, id: str) -> Response:
        with platform():
            return Response(shown(find(id)))

    @described(
        "Give an institution limits of its own",
        body=PlatformLimits,
        sent=LIMITS,
        answer=PlatformEntitlements,
        value=EXAMPLE,
        operation_id="platform_entitlements_replace",
        parameters=WRITE,
        description="At once in every process. What it uses beyond a lower limit is kept; only more of it is refused.",
    )
    def put(self, request: Request, id: str) -> HttpResponse:
        return self.once(lambda: shown(allow(tenant=find(id), wanted=PlatformLimits.read(request))))


class PlansView(Desk):
    """What may be ordered."""

    permission = TenantsPermission.ENTITLEMENT.code("view")

    @described("List plans", answer=PlatformPlans, value={"results": [PLAN]}, operation_id="platform_plans_list")
    def get(self, request: Request) -> Response:
        with platform():
            return Response({"results": [shown_plan(plan) for plan in Plan.objects.all()]})


class PlanView(Desk):
    """One plan. An institution has it when its `plan` is the plan's code."""

    permission = TenantsPermission.ENTITLEMENT.code("change")

    @described(
        "Add a plan, or change it for all who have it",
        body=PlatformLimits,
        sent=PLAN["limits"],
        answer=PlatformPlan,
        value=PLAN,
        operation_id="platform_plans_replace",
        parameters=[CODE, IDEMPOTENCY_KEY],
    )
    def put(self, request: Request, code: str) -> HttpResponse:
        return self.once(lambda: shown_plan(save_plan(code=code, wanted=PlatformLimits.read(request))))


routes = [
    path("institutions/<id>/entitlements/", EntitlementsView.as_view(), name="platform-entitlements"),
    path("plans/", PlansView.as_view(), name="platform-plans"),
    path("plans/<code>/", PlanView.as_view(), name="platform-plan"),
]
