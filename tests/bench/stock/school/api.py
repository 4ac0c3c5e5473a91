"""The stock way to serve students: ModelSerializer, ModelViewSet, the permission of the model, a router."""

from django.urls import include, path
from rest_framework import permissions, routers, serializers, viewsets
from rest_framework_simplejwt.views import TokenObtainPairView

from tests.bench.stock.school.models import Student


class ViewPermissions(permissions.DjangoModelPermissions):
    """DRF's model permissions leave reading free; this asks for `view`, as DRF's documentation suggests."""

    perms_map = permissions.DjangoModelPermissions.perms_map | {"GET": ["%(app_label)s.view_%(model_name)s"]}


class StudentSerializer(serializers.ModelSerializer):
    class Meta:
        model = Student
        exclude = ("notes",)  # ours shows none


class StudentViewSet(viewsets.ModelViewSet):
    queryset = Student.objects.all()
    serializer_class = StudentSerializer
    permission_classes = (permissions.IsAuthenticated, ViewPermissions)
    filterset_fields = ("state", "campus", "grade_level", "joined_on")
    search_fields = ("given_name", "family_name", "student_number", "email")
    ordering_fields = ("family_name", "birth_date", "joined_on", "student_number")


router = routers.DefaultRouter()
router.register("students", StudentViewSet)
urlpatterns = [path("api/token/", TokenObtainPairView.as_view()), path("api/", include(router.urls))]
