"""The institution's profile: one row, of standard codes."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from shared_apps.core import clock
from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.school import services
from tenant_apps.school.models import Campus, Institution
from tests import cast as casting
from tests.api import as_person


def test_provisioning_makes_the_profile_from_what_the_creator_said(db: None, lumiere: InstitutionContext) -> None:
    with institution(lumiere):
        profile = Institution.objects.get()
    assert (profile.language, profile.currency, profile.time_zone) == ("fr", "EUR", "Europe/Paris")


def test_a_second_profile_is_refused_by_the_database(inside: InstitutionContext) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Institution.objects.create(name="Another")


@pytest.mark.parametrize(
    ("field", "wrong", "right"),
    [
        ("currency", "usd", "CHF"),
        ("currency", "XYZ", "JPY"),
        ("time_zone", "Mars/Olympus", "Asia/Kolkata"),
        ("country", "Germany", "DE"),
        ("language", "English", "pt-BR"),
        ("language", "xx", "so"),
        ("language", "fr-Xxxx", "sr-Latn-RS"),
        ("language", "EN", "yue"),
    ],
)
def test_codes_are_those_of_the_standards(inside: InstitutionContext, field: str, wrong: str, right: str) -> None:
    profile = Institution.objects.get()
    setattr(profile, field, wrong)
    with pytest.raises(ValidationError) as refused:
        profile.full_clean()
    assert set(refused.value.error_dict) == {field}
    setattr(profile, field, right)
    profile.full_clean()


class Night(datetime):
    """A clock that stands still: the first of March in Paris, still February in New York."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime(2026, 3, 1, 2, 30, tzinfo=UTC).astimezone(tz)


def test_the_date_is_the_institutions_own(
    inside: InstitutionContext, deaf: None, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    monkeypatch.setattr(clock, "datetime", Night)
    for zone, day in (("America/New_York", date(2026, 2, 28)), ("Europe/Paris", date(2026, 3, 1))):
        with django_capture_on_commit_callbacks(execute=True):
            services.change_profile(profile=Institution.objects.get(), values={"time_zone": zone})
        assert clock.local_date() == day
    # Negative control: without the word that the zone has changed, the remembered one would go on.
    Institution.objects.update(time_zone="America/New_York")
    assert clock.local_date() == date(2026, 3, 1)


def test_two_rows_without_a_sourced_id_do_not_collide(inside: InstitutionContext) -> None:
    for code in ("A", "B"):
        campus = Campus(code=code, name=code, sourced_id="")
        campus.full_clean()
        campus.save()
    # Negative control: as text, two blanks are equal.
    Campus.objects.create(code="C", name="C", sourced_id="org-1")
    with pytest.raises(IntegrityError), transaction.atomic():
        Campus.objects.create(code="D", name="D", sourced_id="org-1")


def test_nobody_adds_or_removes_the_profile_over_the_api(inside: InstitutionContext) -> None:
    principal = as_person(inside, casting.of(inside).principal)
    profile = Institution.objects.get()
    assert principal.post("/api/v1/school/institution/", {"name": "Another"}).status_code == 405
    assert principal.delete(f"/api/v1/school/institution/{profile.pk}/").status_code == 405
    answer = principal.patch(f"/api/v1/school/institution/{profile.pk}/", {"currency": "ZZZ"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/currency")
    assert principal.patch(f"/api/v1/school/institution/{profile.pk}/", {"short_name": "GHS"}).status_code == 200
