"""What comes from other systems."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from shared_apps.core.media import own_file
from shared_apps.core.models import Record
from tenant_apps.eventlog.models import Job


class RosterImport(Record):
    """A roster that somebody has uploaded, and what came of it. State and progress are its job's.

    `counts`: kind of row -> {"created", "updated", "unchanged", "closed"}. `findings`: at most 1,000 of
    {"severity", "file", "line", "column", "code", "detail"}; `error_count` and `warning_count` count them all, and
    `causes` by file, column and code: the same, of the first finding, with "count". The upload itself is kept under
    `stored_path` (below MEDIA_ROOT) until the job has ended.
    """

    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="+", editable=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    file_name = models.CharField(max_length=255, editable=False)
    stored_path = models.CharField(max_length=255, editable=False)
    size = models.PositiveBigIntegerField(editable=False)
    sha256 = models.CharField(max_length=64, editable=False)
    dry_run = models.BooleanField(default=False, editable=False)
    close_missing = models.BooleanField(default=False, editable=False)
    counts = models.JSONField(default=dict, encoder=DjangoJSONEncoder, editable=False)
    findings = models.JSONField(default=list, encoder=DjangoJSONEncoder, editable=False)
    causes = models.JSONField(default=list, encoder=DjangoJSONEncoder, editable=False)
    error_count = models.PositiveIntegerField(default=0, editable=False)
    warning_count = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        default_permissions = ()
        ordering = ("-created_at", "-id")
        indexes = [models.Index(fields=("-created_at", "-id"), name="interop_rosterimport_newest")]

    def __str__(self) -> str:
        return self.file_name

    @property
    def upload(self) -> Path:
        """Where the uploaded file lies while the job hasn't ended."""
        return own_file(self.stored_path)

    def findings_of(self, severity: str) -> list[dict[str, Any]]:
        """The kept findings of one severity, as the API shows them."""
        return [
            {name: value for name, value in finding.items() if name != "severity"}
            for finding in self.findings
            if finding["severity"] == severity
        ]
