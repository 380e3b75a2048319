"""When images are looked after."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from hutch.service.image_upkeep import has_turned

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("hours", "turned"), [(1, True), (6, True), (5, False), (24, False), (0, False)])
def test_a_stretch_ends_at_its_hour(hours: int, turned: bool) -> None:
    assert has_turned(hours, NOON - timedelta(minutes=1), NOON) is turned


def test_every_stretch_ends_once() -> None:
    minutes = [NOON + timedelta(minutes=number) for number in range(24 * 60 + 1)]
    assert sum(has_turned(6, *pair) for pair in itertools.pairwise(minutes)) == 4
