"""Bodies and answers of roster imports, as the OpenAPI document shows them."""

from typing import Any

from rest_framework import serializers

from tenant_apps.eventlog.models import Job

EXAMPLE: dict[str, Any] = {
    "id": "0199a1d0-7c1e-7b51-9c3e-4c3b1f0e9a11",
    "job": "0199a1d0-7c1e-7b51-9c3e-4c3b1f0e9a12",
    "state": "succeeded",
    "progress": 100,
    "step": "Comparing enrolments",
    "file_name": "roster.zip",
    "size": 184320,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "dry_run": True,
    "close_missing": False,
    "counts": {"students": {"created": 12, "updated": 3, "unchanged": 585, "closed": 0}},
    "error_count": 1,
    "warning_count": 0,
    "causes": [
        {
            "severity": "error",
            "count": 1,
            "file": "users.csv",
            "line": 17,
            "column": "enabledUser",
            "code": "bad-boolean",
            "detail": '"yes" is neither true nor false: write one of the two.',
        }
    ],
    "errors": [
        {
            "file": "users.csv",
            "line": 17,
            "column": "enabledUser",
            "code": "bad-boolean",
            "detail": '"yes" is neither true nor false: write one of the two.',
        }
    ],
    "warnings": [],
    "requested_by": "0199a1d0-7c1e-7b51-9c3e-4c3b1f0e9a13",
    "created_at": "2026-09-01T08:00:00Z",
    "started_at": "2026-09-01T08:00:01Z",
    "finished_at": "2026-09-01T08:00:05Z",
}


class RosterFinding(serializers.Serializer):
    """Where in the roster something is, and how to mend it."""

    file = serializers.CharField(allow_null=True, help_text="Null when the upload as a whole is meant.")
    line = serializers.IntegerField(allow_null=True, help_text="The line on which the row starts; the header is 1.")
    column = serializers.CharField(allow_null=True, help_text="The header's name.")
    code = serializers.CharField()
    detail = serializers.CharField()

    class Meta:
        ref_name = "InteropRosterFinding"


class RosterCause(RosterFinding):
    """Findings of one code in one column: how many, and the first of them."""

    severity = serializers.ChoiceField(choices=("error", "warning"))
    count = serializers.IntegerField(help_text="Findings, also of those that are not listed.")

    class Meta:
        ref_name = "InteropRosterCause"


class RosterImportLine(serializers.Serializer):
    """A roster import in a list: without its findings."""

    id = serializers.UUIDField()
    job = serializers.UUIDField(help_text="Cancel it at /api/v1/jobs/{job}/cancel/.")
    state = serializers.ChoiceField(choices=Job.State.choices)
    progress = serializers.IntegerField(help_text="Per cent.")
    step = serializers.CharField(help_text="What is being done, or was done last.")
    file_name = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")
    sha256 = serializers.CharField()
    dry_run = serializers.BooleanField()
    close_missing = serializers.BooleanField()
    counts = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()),
        help_text="Kind of row -> created, updated, unchanged, closed. Empty until the comparison has ended.",
    )
    error_count = serializers.IntegerField()
    warning_count = serializers.IntegerField()
    requested_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    class Meta:
        ref_name = "InteropRosterImportLine"


class RosterImportAnswer(RosterImportLine):
    """A roster import. `errors` and `warnings` hold 1,000 findings at most; the counts, and `causes`, are complete."""

    causes = RosterCause(many=True, help_text="Errors first, and of them what concerns most rows.")
    errors = RosterFinding(many=True)
    warnings = RosterFinding(many=True)

    class Meta:
        ref_name = "InteropRosterImport"


class RosterImportPage(serializers.Serializer):
    """Roster imports, newest first."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    count = serializers.IntegerField(required=False, help_text="Only with ?count=true.")
    results = RosterImportLine(many=True)

    class Meta:
        ref_name = "InteropRosterImportList"


class RosterUploadBody(serializers.Serializer):
    """A OneRoster CSV zip and what to do with it."""

    file = serializers.FileField(help_text="manifest.csv and the other CSV files in one zip.")
    dry_run = serializers.BooleanField(default=False, help_text="Say what would change, and change nothing.")
    close_missing = serializers.BooleanField(
        default=False,
        help_text="Close enrolments, and let students leave, that an earlier roster brought and this one lacks.",
    )

    class Meta:
        ref_name = "InteropRosterUpload"
