"""Id maps: which ids a guest has, and that no two isolated guests have the same."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hutch.device import idmaps
from hutch.errors import Invalid
from hutch.kernel.idmap import IdMap, default, to_host
from hutch.schema.keys.walls import Extent, extents

ISOLATED = {"security.idmap.isolated": "true"}


def test_privileged_shared_and_isolated_maps() -> None:
    assert idmaps.of({"security.privileged": "true", **ISOLATED}) == []
    assert idmaps.of({}) == default()
    assert idmaps.of(ISOLATED) == default()
    given_ids = idmaps.of(ISOLATED | {"volatile.idmap.base": "2000000000", "security.idmap.size": "100000"})
    assert given_ids == [IdMap("u", 0, 2_000_000_000, 100_000), IdMap("g", 0, 2_000_000_000, 100_000)]


def test_ids_of_the_host_are_put_into_the_map() -> None:
    found = idmaps.of({"raw.idmap": "both 1000 1000\nuid 50-60 500-510"})
    assert to_host(found, "u", 1000) == to_host(found, "g", 1000) == 1000
    assert to_host(found, "u", 505) == 55
    assert to_host(found, "g", 505) == 1_000_505
    assert to_host(found, "u", 999) == 1_000_999
    assert to_host(found, "u", 1001) == 1_001_001


@pytest.mark.parametrize(
    "line", ["both 1000", "all 1 1", "uid 5-4 1-2", "uid 1-3 1-2", "uid 1 1\nuid 1 2", "uid 1 9\nuid 2 9"]
)
def test_lines_that_make_no_map_are_refused(line: str) -> None:
    with pytest.raises(Invalid):
        extents(line)


@given(
    some.lists(
        some.builds(Extent, some.just("u"), some.integers(0, 3000), some.integers(0, 3000), some.integers(1, 500)),
        max_size=6,
    )
)
def test_a_map_never_says_two_things_of_one_id(own: list[Extent]) -> None:
    text = "\n".join(f"uid {e.host}-{e.host + e.count - 1} {e.inside}-{e.inside + e.count - 1}" for e in own)
    try:
        lines = extents(text)
    except Invalid:
        return
    found = [each for each in idmaps.with_extents([IdMap("u", 0, 1000, 2000)], lines) if each.kind == "u"]
    for pick in ("inside", "outside"):
        ranges = sorted((getattr(each, pick), each.count) for each in found)
        assert all(first + count <= second for (first, count), (second, _) in pairwise(ranges))
    for each in own:
        assert to_host(found, "u", each.inside) == each.host


@given(some.lists(some.integers(1, 200_000), max_size=30))
def test_isolated_maps_do_not_overlap_and_fill_gaps(sizes: list[int]) -> None:
    taken: list[tuple[int, int]] = []
    for size in sizes:
        first = idmaps.free(size, taken)
        assert first is not None
        assert all(first + size <= start or start + count <= first for start, count in taken)
        taken.append((first, size))
    if taken:
        gone = taken.pop(0)
        assert idmaps.free(gone[1], taken) == gone[0]
    assert idmaps.free(1 << 31, [(idmaps.ISOLATED_FIRST + (1 << 31), 1 << 30)]) is not None
    assert idmaps.free(1 << 31, [(idmaps.ISOLATED_FIRST + (1 << 30), 1 << 31)]) is None
