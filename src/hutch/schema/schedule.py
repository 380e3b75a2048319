"""When things are due: cron lines, and how long what they made is kept.

Fields of a cron line are minute, hour, day of the month, month and day of the week, in the host's time; several
schedules may stand in one value, separated by commas and blanks. `1M 2H 3d 4w 5m 6y` is a span: minutes, hours, days,
weeks, months and years.
"""

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from hutch.errors import Invalid

_NAMED = {
    "@annually": "0 0 1 1 *",
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
NEVER = "@never"
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES: Sequence[dict[str, int]] = (
    {},
    {},
    {},
    {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name},
    {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))},
)
_EXPECTED = "a cron line of five fields, or @hourly, @daily, @midnight, @weekly, @monthly, @annually, @never"


@dataclass(frozen=True)
class Cron:
    """The minutes in which something is due. As with cron, days match by either field when both are restricted."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def due(self, moment: datetime) -> bool:
        """Whether it is due in the minute of `moment`, which is in the host's time."""
        if moment.minute not in self.minutes or moment.hour not in self.hours or moment.month not in self.months:
            return False
        by_date, by_weekday = moment.day in self.days, moment.isoweekday() % 7 in self.weekdays
        return by_date or by_weekday if self.either_day else by_date and by_weekday


def parse(text: str) -> list[Cron]:
    """The schedules of a value; none for an empty one and @never. Invalid for what is no schedule."""
    if not text.strip():
        return []
    if text.lstrip().startswith("@"):
        words = re.split(r"[,\s]+", text.strip())
        return [_line(_NAMED[word], text) for word in words if word != NEVER and _known(word, text)]
    return [_line(line.strip(), text) for line in re.split(r", ", text)]


def _known(word: str, text: str) -> bool:
    if word not in _NAMED:
        raise Invalid(f"invalid schedule {text!r}: {_EXPECTED} is expected")
    return True


def _line(line: str, text: str) -> Cron:
    fields = line.split()
    if len(fields) != 5:
        raise Invalid(f"invalid schedule {text!r}: {_EXPECTED} is expected")
    sets = [_field(field, *bounds, names) for field, bounds, names in zip(fields, _BOUNDS, _NAMES, strict=True)]
    weekdays = frozenset(day % 7 for day in sets[4])
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    return Cron(sets[0], sets[1], sets[2], sets[3], weekdays, either)


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        begin = low if span == "*" else _number(first, names, text)
        end = high if span == "*" or (step and not dash) else _number(last, names, text) if dash else begin
        every = _number(step, {}, text) if step else 1
        if not (low <= begin <= end <= high and every > 0):
            raise Invalid(f"invalid schedule: {text!r} does not lie between {low} and {high}")
        found.update(range(begin, end + 1, every))
    return frozenset(found)


def _number(word: str, names: dict[str, int], text: str) -> int:
    if word.lower() in names:
        return names[word.lower()]
    if not word.isascii() or not word.isdigit():
        raise Invalid(f"invalid schedule: {text!r} is no number")
    return int(word)


def due_between(text: str, after: datetime, until: datetime, zone: tzinfo | None = None) -> bool:
    """Whether a schedule, in the time of `zone` (None: the host's), is due in a minute after that of `after`, up to that
    of `until`."""
    schedules = parse(text)
    minute = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while schedules and minute <= until:
        if any(each.due(minute.astimezone(zone)) for each in schedules):
            return True
        minute += timedelta(minutes=1)
    return False


_UNITS = "MHdwmy"


def after(text: str, moment: datetime) -> datetime | None:
    """The moment that lies the span `text` after `moment`; None for an empty span."""
    if not text.strip():
        return None
    words = text.split()
    matches = [re.fullmatch(r"(\d{1,6})([MHdwmy])", word) for word in words]
    amounts: dict[str, int] = {}
    for match in matches:
        if match is None or match[2] in amounts:
            raise Invalid(f"invalid span of time {text!r}: 1M 2H 3d 4w 5m 6y is the form, each unit at most once")
        amounts[match[2]] = int(match[1])
    months = moment.month - 1 + amounts.get("m", 0) + 12 * amounts.get("y", 0)
    year, month = moment.year + months // 12, months % 12 + 1
    if year > 9999:
        raise Invalid(f"invalid span of time {text!r}: it is too long")
    day = min(moment.day, calendar.monthrange(year, month)[1])
    rest = timedelta(
        minutes=amounts.get("M", 0), hours=amounts.get("H", 0), days=amounts.get("d", 0), weeks=amounts.get("w", 0)
    )
    try:
        return moment.replace(year=year, month=month, day=day) + rest
    except OverflowError as error:
        raise Invalid(f"invalid span of time {text!r}: it is too long") from error


def check_span(text: str) -> object:
    return after(text, datetime(2000, 1, 1, tzinfo=UTC))


_MOST, _BACK = timedelta(days=1), timedelta(hours=1)


class Clock:
    """The stretches of time whose schedules are looked at, each minute once, whatever the host's clock does.

    A clock set forward by more than a day makes up for the last day only; one set back by less than an hour is waited for.
    """

    def __init__(self, moment: datetime) -> None:
        self.seen = moment

    def until(self, moment: datetime) -> tuple[datetime, datetime] | None:
        """The stretch that ends now; None when its minutes have been looked at before."""
        if moment < self.seen - _BACK:
            self.seen = moment
        if moment.replace(second=0, microsecond=0) <= self.seen:
            return None
        after, self.seen = max(self.seen, moment - _MOST), moment
        return after, moment
