"""Files that the platform keeps for an institution: exports, uploads, reports."""

from pathlib import Path

from django.conf import settings
from django.db import models
from django.utils import timezone

from shared_apps.core.media import own_file
from shared_apps.core.models import Record


class StoredFile(Record):
    """A kept file. Its content lies at `path` below MEDIA_ROOT and never changes.

    `owner` may fetch it at /api/v1/files/{id}/; of a file without one, the room that keeps it decides who may.
    `purpose` is that room's own word ("export", "import", "report"). `size` is in bytes. From `expires_at` on the file
    is gone for everybody; the sweep then removes it.
    """

    name = models.CharField(max_length=255)
    content_type = models.CharField(max_length=150)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    path = models.CharField(max_length=255, unique=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    purpose = models.CharField(max_length=50)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        ordering = ("-created_at", "-id")
        indexes = [models.Index(fields=("expires_at",), name="files_storedfile_by_expiry")]

    def __str__(self) -> str:
        return self.name

    @property
    def place(self) -> Path:
        """Where the content lies on this machine. Raises SuspiciousFileOperation (core.media)."""
        return own_file(self.path)

    @property
    def url(self) -> str:
        """Where the owner fetches it."""
        return f"/api/v1/files/{self.pk}/"

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()
