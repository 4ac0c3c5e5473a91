"""Fixtures of the reports' tests."""

from datetime import UTC, datetime

import pytest

from shared_apps.core.context import InstitutionContext
from tenant_apps.reports.models import ReportSchedule
from tenant_apps.school.models import Institution
from tests import cast as casting

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def cast(inside: InstitutionContext) -> casting.Cast:
    return casting.of(inside)


@pytest.fixture
def of_long_ago(inside: InstitutionContext) -> ReportSchedule:
    """The first schedule of the institution, as if both had been there for years: a night is due."""
    for model in (ReportSchedule, Institution):
        model._default_manager.update(created_at=LONG_AGO)
    return ReportSchedule.objects.get()
