"""Notifications: who is told, once, and who may read what they were told."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.accounts.models import User
from tenant_apps.communication import services
from tenant_apps.communication.models import Notification
from tenant_apps.eventlog import outbox
from tenant_apps.eventlog.models import OutboxMessage, StreamEvent
from tests import cast
from tests.api import as_person, nobody

INBOX = "/api/v1/communication/notifications/"


def notify(*roles: str, title: str = "Roster imported", key: str | None = None) -> None:
    recipients: Iterable[UUID] = [cast.user_id(role) for role in roles]
    services.notify(recipients=recipients, kind="roster.imported", title=title, data={"job": "1"}, key=key)
    outbox.carry_out()


def test_each_recipient_gets_a_notification_and_an_event_with_the_same_words(inside: InstitutionContext) -> None:
    notify("teacher", "guardian", "teacher")
    assert set(Notification.objects.values_list("recipient_id", flat=True)) == {
        cast.user_id("teacher"),
        cast.user_id("guardian"),
    }
    for event in StreamEvent.objects.all():
        notification = Notification.objects.get(recipient_id=event.recipient_id)
        assert event.frame == {"type": "notification", "seq": 1, "data": notification.as_frame}


def test_the_same_event_told_twice_reaches_people_once(inside: InstitutionContext) -> None:
    notify("teacher", key="job 1")
    notify("teacher", key="job 1")
    assert Notification.objects.count() == 1


def test_who_has_left_is_told_nothing_and_stops_nobody(inside: InstitutionContext) -> None:
    User.objects.filter(pk=cast.user_id("guardian")).update(is_active=False)
    services.notify(
        recipients=[cast.user_id("guardian"), uuid4(), cast.user_id("teacher")], kind="test", title="Still here"
    )
    outbox.carry_out()
    assert [n.recipient_id for n in Notification.objects.all()] == [cast.user_id("teacher")]


def test_many_recipients_are_split_over_messages_that_are_carried_out_one_by_one(
    inside: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MOST_RECIPIENTS", 2)
    notify("teacher", "guardian", "principal", "student", key="all")
    notify("teacher", "guardian", "principal", "student", key="all")
    assert (OutboxMessage.objects.count(), Notification.objects.count()) == (2, 4)


def test_people_see_their_own_notifications_only_whatever_their_role_reaches(inside: InstitutionContext) -> None:
    notify("teacher", title="For the teacher")
    notify("principal", title="For the principal")
    people = cast.of(inside)
    for person in (people.teacher, people.principal):
        answer = as_person(inside, person).get(INBOX)
        assert [n["title"] for n in answer.json()["results"]] == [f"For the {person.role}"]
    others = Notification.objects.get(recipient_id=people.teacher.user_id).pk
    assert as_person(inside, people.principal).get(f"{INBOX}{others}/").status_code == 404
    assert as_person(inside, people.principal).post(f"{INBOX}{others}/read/").status_code == 404
    assert nobody(inside).get(INBOX).status_code == 401


def test_a_notification_is_read_once_and_stays_read(inside: InstitutionContext) -> None:
    notify("teacher")
    asker = as_person(inside, cast.of(inside).teacher)
    key = asker.get(INBOX).json()["results"][0]["id"]
    first = asker.post(f"{INBOX}{key}/read/")
    assert first.status_code == 200, first.content
    assert first.json()["read_at"] is not None
    assert asker.post(f"{INBOX}{key}/read/").json()["read_at"] == first.json()["read_at"]
    assert asker.get(f"{INBOX}?read_at__isnull=true").json()["results"] == []


def test_a_notification_cannot_be_written_or_deleted_over_the_api(inside: InstitutionContext) -> None:
    notify("teacher")
    asker = as_person(inside, cast.of(inside).teacher)
    key = asker.get(INBOX).json()["results"][0]["id"]
    assert asker.post(INBOX, {"title": "x"}).status_code == 405
    assert asker.patch(f"{INBOX}{key}/", {"title": "x"}).status_code == 405
    assert asker.delete(f"{INBOX}{key}/").status_code == 405


def test_another_institution_sees_nothing_of_it(inside: InstitutionContext, lumiere: InstitutionContext) -> None:
    notify("teacher")
    key = Notification.objects.get().pk
    with institution(lumiere):
        asker = as_person(lumiere, cast.of(lumiere).teacher)
        assert asker.get(INBOX).json()["results"] == []
        assert asker.get(f"{INBOX}{key}/").status_code == 404


def test_notifications_of_long_ago_are_forgotten(inside: InstitutionContext) -> None:
    for title in ("old", "young"):
        Notification.objects.create(recipient_id=cast.user_id("teacher"), kind="test", title=title)
    Notification.objects.filter(title="old").update(created_at=timezone.now() - timedelta(days=401))
    services.purge(before=timezone.now() - timedelta(days=400))
    assert [row.title for row in Notification.objects.all()] == ["young"]
