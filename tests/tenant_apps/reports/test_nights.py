"""A night is the institution's own: DST, the date line, outages, crashes and two beats."""

import threading
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.eventlog.models import Job, OutboxMessage
from tenant_apps.reports import nights, services
from tenant_apps.reports.models import ReportRun, ReportSchedule, every_day
from tenant_apps.school.models import Institution

NEW_YORK = ZoneInfo("America/New_York")
HALF_PAST_TWO, HALF_PAST_ONE = time(2, 30), time(1, 30)


@pytest.fixture
def schedule(of_long_ago: ReportSchedule) -> ReportSchedule:
    """At half past two."""
    ReportSchedule.objects.update(at=HALF_PAST_TWO)
    return of_long_ago


def live_in(zone: str) -> None:
    Institution.objects.update(time_zone=zone)


def quarters(start: datetime, hours: int) -> list[datetime]:
    return [start + timedelta(minutes=15 * number) for number in range(4 * hours)]


def dates() -> list[date]:
    return list(ReportRun.objects.order_by("local_date").values_list("local_date", flat=True))


def test_a_time_that_the_clock_skips_comes_an_hour_later() -> None:
    assert nights.instant(date(2026, 3, 8), HALF_PAST_TWO, NEW_YORK) == datetime(2026, 3, 8, 7, 30, tzinfo=UTC)


def test_a_time_that_the_clock_shows_twice_is_the_first_one() -> None:
    assert nights.instant(date(2026, 11, 1), HALF_PAST_ONE, NEW_YORK) == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


@pytest.mark.parametrize("start", [datetime(2026, 3, 7, 5, tzinfo=UTC), datetime(2026, 10, 31, 5, tzinfo=UTC)])
@pytest.mark.parametrize("at", [HALF_PAST_ONE, HALF_PAST_TWO])
def test_days_of_23_and_25_hours_have_one_run_each(schedule: ReportSchedule, start: datetime, at: time) -> None:
    live_in("America/New_York")
    ReportSchedule.objects.update(at=at)
    for now in quarters(start, 72):
        services.start_due(now=now)
    first = start.astimezone(NEW_YORK).date() - timedelta(days=1)
    assert dates() == [first + timedelta(days=number) for number in range(len(dates()))]
    assert len(dates()) in (4, 5)


def test_a_wall_clock_as_the_key_would_double_the_repeated_hour() -> None:
    """Negative control: who starts a run whenever the clock shows 01:30 starts two."""
    shown = [now.astimezone(NEW_YORK).time() for now in quarters(datetime(2026, 11, 1, 4, tzinfo=UTC), 24)]
    assert shown.count(HALF_PAST_ONE) == 2


def test_a_wall_clock_as_the_key_would_lose_the_skipped_hour() -> None:
    shown = [now.astimezone(NEW_YORK).time() for now in quarters(datetime(2026, 3, 8, 5, tzinfo=UTC), 23)]
    assert HALF_PAST_TWO not in shown


def test_the_two_sides_of_the_date_line_have_their_own_dates() -> None:
    now = datetime(2026, 6, 10, 13, 0, tzinfo=UTC)
    kiritimati, pago_pago = ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Pacific/Pago_Pago")
    assert nights.latest_due(now=now, at=time(2), zone=kiritimati, weekdays=every_day()) == date(2026, 6, 11)
    assert nights.latest_due(now=now, at=time(3), zone=pago_pago, weekdays=every_day()) == date(2026, 6, 9)


def test_an_outage_of_thirty_days_is_made_up_for_by_one_run(schedule: ReportSchedule) -> None:
    live_in("Europe/Berlin")
    services.start_due(now=datetime(2026, 5, 1, 12, tzinfo=UTC))
    services.start_due(now=datetime(2026, 5, 31, 12, tzinfo=UTC))
    assert dates() == [date(2026, 5, 1), date(2026, 5, 31)]


@pytest.mark.parametrize("new", [ReportSchedule, Institution])
def test_what_is_new_owes_nothing_for_the_night_before_it(schedule: ReportSchedule, new: Any) -> None:
    """The first schedules of an institution are as old as the template that it is made from."""
    live_in("UTC")
    ReportSchedule.objects.update(at=time(2))
    new.objects.update(created_at=datetime(2026, 5, 1, 12, tzinfo=UTC))
    assert services.start_due(now=datetime(2026, 5, 1, 13, tzinfo=UTC)) == 0
    assert services.start_due(now=datetime(2026, 5, 2, 2, tzinfo=UTC)) == 1


def test_a_schedule_of_weekdays_runs_on_those_by_the_institutions_calendar(schedule: ReportSchedule) -> None:
    """In New York it is still Sunday when Monday begins in Greenwich."""
    live_in("America/New_York")
    ReportSchedule.objects.update(at=time(21), weekdays=[7, 3])
    for now in quarters(datetime(2026, 5, 4, 0, 45, tzinfo=UTC), 24 * 8)[::8]:
        services.start_due(now=now)
    assert dates() == [date(2026, 4, 29), date(2026, 5, 3), date(2026, 5, 6), date(2026, 5, 10)]
    assert {day.isoweekday() for day in dates()} == {3, 7}


def test_an_inactive_schedule_starts_nothing(schedule: ReportSchedule) -> None:
    ReportSchedule.objects.update(active=False)
    assert services.start_due(now=datetime(2026, 5, 1, 12, tzinfo=UTC)) == 0


def test_a_crash_between_run_and_job_leaves_neither_and_the_next_beat_both(
    schedule: ReportSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def crash(**values: object) -> None:
        assert ReportRun.objects.count() == 1, "the crash missed its window"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(services, "start_job", crash)
        with pytest.raises(KeyboardInterrupt), transaction.atomic():
            services.start_due(now=now)
    assert not ReportRun.objects.exists()
    assert services.start_due(now=now) == 1
    assert services.start_due(now=now) == 0
    assert Job.objects.filter(kind=services.RUN).count() == 1


def test_a_night_that_failed_is_tried_again_three_times_in_all_and_stays_one_run(schedule: ReportSchedule) -> None:
    now, started = datetime(2026, 5, 1, 12, tzinfo=UTC), []
    for _ in range(5):
        started.append(services.start_due(now=now))
        started.append(services.start_due(now=now))
        Job.objects.filter(pk=ReportRun.objects.get().job_id).update(state=Job.State.FAILED)
    assert started == [1, 0, 1, 0, 1, 0, 0, 0, 0, 0]
    assert Job.objects.filter(kind=services.RUN).count() == ReportRun.objects.get().attempts == services.MOST_ATTEMPTS


def test_whoever_waits_for_a_night_that_failed_for_good_is_told_once(schedule: ReportSchedule) -> None:
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def told() -> list[dict[str, Any]]:
        return [message.payload for message in OutboxMessage.objects.filter(topic="notify")]

    for attempt in range(services.MOST_ATTEMPTS):
        services.start_due(now=now)
        assert told() == [], f"negative control: after {attempt} failures another is tried"
        Job.objects.filter(pk=ReportRun.objects.get().job_id).update(state=Job.State.FAILED)
    for _ in range(3):
        services.start_due(now=now)
    (payload,) = told()
    run = ReportRun.objects.get()
    assert (payload["kind"], payload["data"]) == ("report.failed", {"run": str(run.pk), "job": str(run.job_id)})
    assert payload["recipients"] == [str(person) for person in services.recipients(run)] != []
    assert run.finished_at is not None
    assert run.expires_at is None


def test_a_night_that_was_made_is_not_tried_again(schedule: ReportSchedule) -> None:
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    services.start_due(now=now)
    Job.objects.update(state=Job.State.SUCCEEDED)
    assert services.start_due(now=now) == 0


@pytest.mark.parametrize("tried", [False, True], ids=["at first", "after a failure"])
def test_two_workers_at_once_start_one_job(committed: None, greenwood: InstitutionContext, tried: bool) -> None:
    now = datetime.now(UTC) + timedelta(days=2)
    together, started = threading.Barrier(2), []
    with institution(greenwood), acting(command("test")):
        if tried:
            services.start_due(now=now)
            Job.objects.update(state=Job.State.FAILED)

    def work() -> None:
        with institution(greenwood), acting(command("test")):
            together.wait()
            started.append(services.start_due(now=now))
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with institution(greenwood):
        runs, pending = ReportRun.objects.count(), Job.objects.filter(state=Job.State.PENDING).count()
        ReportRun.objects.all().delete()
    assert (sorted(started), runs, pending) == ([0, 1], 1, 1)
