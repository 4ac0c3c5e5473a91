"""What goes wrong around an import: the database, and the worker."""

from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.tables.importing import Import
from tenant_apps.eventlog import jobs
from tenant_apps.eventlog.models import Job
from tenant_apps.eventlog.services import sweep_jobs
from tenant_apps.files.models import StoredFile
from tenant_apps.school.models import Campus
from tests import cast as casting
from tests.api import as_person
from tests.tenant_apps.files.sending import send

CAMPUSES = "/api/v1/school/campuses/import/"


def test_a_database_that_goes_away_fails_no_import(
    transactional_db: None,
    greenwood: InstitutionContext,
    settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MEDIA_ROOT = tmp_path
    whole = Import._count
    principal = as_person(greenwood, casting.of(greenwood).principal)
    job = send(principal, CAMPUSES, b"code,name\r\nA,One\r\nB,Two").json()["job"]

    def away(work: Import, *arguments: Any) -> None:
        """The rows are written by now, and not committed."""
        assert Campus.objects.count() == 3
        raise OperationalError("server closed the connection unexpectedly")

    with institution(greenwood):
        monkeypatch.setattr(Import, "_count", away)
        with pytest.raises(OperationalError):
            jobs.run(job)
        stands = Job.objects.get(pk=job)
        assert (stands.state, stands.errors) == ("running", [])
        assert Campus.objects.count() == 1
        upload = StoredFile.objects.get()
        assert upload.place.exists(), "the next worker needs it"
        assert sweep_jobs() == 1
        monkeypatch.setattr(Import, "_count", whole)
        jobs.run(job)
        assert Job.objects.get(pk=job).state == "succeeded"
        assert Campus.objects.count() == 3
        assert not StoredFile.objects.exists()
        assert not upload.place.exists()
