"""Schedules and spans of time as cron and LXD have them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.errors import Invalid
from hutch.schema import schedule

MOMENT = datetime(2024, 2, 29, 13, 30, 20, tzinfo=UTC)


def due(text: str, *moment: int) -> bool:
    year, month, day, hour, minute = moment
    return any(each.due(datetime(year, month, day, hour, minute, tzinfo=UTC)) for each in schedule.parse(text))


@pytest.mark.parametrize(
    ("text", "moment", "wanted"),
    [
        ("0 6 * * *", (2024, 5, 1, 6, 0), True),
        ("0 6 * * *", (2024, 5, 1, 6, 1), False),
        ("*/15 * * * *", (2024, 5, 1, 6, 45), True),
        ("*/15 * * * *", (2024, 5, 1, 6, 46), False),
        ("5-10/5,30 1 * * *", (2024, 5, 1, 1, 10), True),
        ("0 0 * jan sun", (2024, 1, 7, 0, 0), True),
        ("0 0 * * 7", (2024, 1, 7, 0, 0), True),
        ("0 0 13 * fri", (2024, 5, 3, 0, 0), True),  # either of the two days
        ("0 0 13 * fri", (2024, 5, 13, 0, 0), True),
        ("0 0 13 * fri", (2024, 5, 14, 0, 0), False),
        ("@hourly", (2024, 5, 1, 6, 0), True),
        ("@daily", (2024, 5, 1, 0, 0), True),
        ("@daily, @weekly", (2024, 5, 5, 0, 0), True),
        ("0 1 * * *, 0 2 * * *", (2024, 5, 5, 2, 0), True),
        ("@never", (2024, 5, 5, 2, 0), False),
        ("", (2024, 5, 5, 2, 0), False),
    ],
)
def test_a_schedule_is_due_in_its_minutes(text: str, moment: tuple[int, ...], wanted: bool) -> None:
    assert due(text, *moment) == wanted


@pytest.mark.parametrize(
    "text",
    ["x", "* * * *", "60 * * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *", "@often", "@startup", "1- * * * *"],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="schedule"):
        schedule.parse(text)


def test_a_schedule_is_missed_by_no_pause_and_repeated_by_none() -> None:
    noon = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
    assert schedule.due_between("0 12 * * *", noon - timedelta(minutes=30), noon + timedelta(minutes=30), UTC)
    assert not schedule.due_between("0 12 * * *", noon, noon + timedelta(seconds=59), UTC)
    assert not schedule.due_between("0 12 * * *", noon + timedelta(hours=1), noon, UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", None),
        ("30M", datetime(2024, 2, 29, 14, 0, 20, tzinfo=UTC)),
        ("1d 2H", datetime(2024, 3, 1, 15, 30, 20, tzinfo=UTC)),
        ("1w", datetime(2024, 3, 7, 13, 30, 20, tzinfo=UTC)),
        ("1m", datetime(2024, 3, 29, 13, 30, 20, tzinfo=UTC)),
        ("1y", datetime(2025, 2, 28, 13, 30, 20, tzinfo=UTC)),
    ],
)
def test_a_span_is_added_as_the_calendar_has_it(text: str, wanted: datetime | None) -> None:
    assert schedule.after(text, MOMENT) == wanted


@pytest.mark.parametrize("text", ["1", "d", "1d 1d", "1x", "-1d", "999999y", "999999w 9000y"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="span of time"):
        schedule.after(text, MOMENT)


@given(st.text(alphabet="0123456789*/,-@ adhilmny", max_size=20))
def test_every_text_is_a_schedule_or_is_refused(text: str) -> None:
    try:
        found = schedule.parse(text)
    except Invalid:
        return
    assert all(each.minutes and each.hours and each.days and each.months and each.weekdays for each in found)


def test_a_clock_looks_at_each_minute_once_whatever_is_done_to_it() -> None:
    noon = datetime(2024, 5, 1, 12, 0, 30, tzinfo=UTC)
    clock = schedule.Clock(noon)

    assert clock.until(noon + timedelta(seconds=10)) is None
    assert clock.until(noon + timedelta(minutes=2)) == (noon, noon + timedelta(minutes=2))
    assert clock.until(noon - timedelta(minutes=30)) is None  # set back a little: waited for
    far = noon + timedelta(days=40)
    assert clock.until(far) == (far - timedelta(days=1), far)  # set forward: the last day is made up for
    assert clock.until(noon) is None  # set back by a lot: begun anew from there
    assert clock.until(noon + timedelta(minutes=1)) == (noon, noon + timedelta(minutes=1))
