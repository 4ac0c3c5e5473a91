"""What the institution may use, and uses now, for who runs it. Only operators change it."""

from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from shared_apps.core.api import PlatformView, described
from shared_apps.tenants.entitlements import EXAMPLE, LIMIT_NAMES, entitlements_here
from tenant_apps.school.permissions import SchoolPermission


class SchoolLimit(serializers.Serializer):
    """One limit, and how much of it is used up now."""

    name = serializers.CharField(help_text=LIMIT_NAMES)
    allowed = serializers.IntegerField(allow_null=True, help_text="null: unlimited.")
    source = serializers.CharField(help_text="Who says so: institution, plan or standard.")
    used = serializers.IntegerField(allow_null=True, help_text="null: nothing is used up, or it is not known now.")


class SchoolEntitlements(serializers.Serializer):
    plan = serializers.CharField(allow_blank=True)
    limits = SchoolLimit(many=True)


class EntitlementsView(PlatformView):
    """What the institution may use, and uses now."""

    permission = SchoolPermission.ENTITLEMENT.code("view")

    @described(
        "Read what the institution may use, and uses",
        answer=SchoolEntitlements,
        value=EXAMPLE,
        operation_id="school_entitlements_retrieve",
    )
    def get(self, request: Request) -> Response:
        return Response(entitlements_here())


urlpatterns = [path("entitlements/", EntitlementsView.as_view(), name="school-entitlements")]
