"""/api/v1/files/: the signed-in person's own files. There is no list: whatever made a file says where it is."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema

from shared_apps.core.api import SIGNED_IN, PlatformView
from shared_apps.core.api.bodies import binary, refused
from shared_apps.core.api.querystring import parse_key
from shared_apps.core.errors import Gone, NotFound
from tenant_apps.files.models import StoredFile
from tenant_apps.files.serving import NoSuchPart, answer


class FileView(PlatformView):
    """A file that belongs to the person who asks."""

    permission = SIGNED_IN

    @extend_schema(
        operation_id="files_retrieve",
        summary="Download a file of your own",
        description=(
            "Exports, and the rows that an import refused: the job that made the file names this address in its "
            "`result`. Answers Range with one part. Anybody else's file is 404, one that is no longer kept 410."
        ),
        parameters=[
            OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The file's id."),
            OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="bytes=0-1023: this part only."),
        ],
        responses={
            (200, "application/octet-stream"): binary("The file.", "id,code\r\n"),
            (206, "application/octet-stream"): binary("The part asked for.", "id"),
            (410, "application/problem+json"): refused(Gone("The file is no longer kept; make it anew.")),
            (416, "application/problem+json"): refused(NoSuchPart("The file has 1,024 bytes.")),
        },
    )
    def get(self, request: HttpRequest, id: str) -> HttpResponseBase:
        stored = StoredFile.objects.filter(pk=parse_key(id), owner_id=self.principal.user_id).first()
        if stored is None:
            raise NotFound()
        return answer(stored, request)


urlpatterns = [path("files/<id>/", FileView.as_view(), name="file")]
