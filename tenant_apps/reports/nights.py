"""When a schedule is due, by the institution's own calendar."""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which the clock there shows `at` on `day`: the first of two, and where the clock skips it,
    as much later as it skips (02:30 becomes 03:30)."""
    return datetime.combine(day, at, tzinfo=zone).astimezone(UTC)


def latest_due(*, now: datetime, at: time, zone: ZoneInfo, weekdays: Collection[int]) -> date:
    """The last local date on one of the ISO weekdays whose instant has come. After an outage that is one date, not each
    that was missed."""
    today = now.astimezone(zone).date()
    came = today if instant(today, at, zone) <= now else today - timedelta(days=1)
    week = (came - timedelta(days=back) for back in range(7))
    return next(day for day in week if day.isoweekday() in weekdays)
