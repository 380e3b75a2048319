"""How quickly a guest may ask: some at once, then so many a second, and a rest gives it its burst again."""

from hutch.daemon.doors import Pace


def test_a_burst_is_free_and_what_is_more_waits() -> None:
    pace = Pace()
    now = 1000.0
    assert all(pace.delay(now) == 0 for _ in range(200))
    delays = [pace.delay(now) for _ in range(100)]
    assert delays == sorted(delays)
    assert 0.9 < delays[-1] < 1.1
    assert pace.delay(now + 10) == 0


def test_what_is_written_counts_for_more() -> None:
    pace = Pace()
    assert [pace.delay(1000, 20) for _ in range(11)][9:] == [0, 0.2]


def test_a_steady_guest_never_waits() -> None:
    pace = Pace()
    assert all(pace.delay(1000 + number / 90) == 0 for number in range(2000))
