"""Custom volumes with long chains of snapshots, and on their way from pool to pool."""

import asyncio
import os
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hutch.kernel import credentials, mount
from hutch.kernel.idmap import IdMap
from hutch.storage import layers, transfer
from hutch.storage.base import Volume
from tests.contract.pools import IDMAP, Bench, build

V = Volume("custom", "default", "v")
NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.one_of(
    st.tuples(st.just("write"), st.tuples(NAMES, st.sampled_from(["x", "y"]))),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("snapshot"), NAMES),
    st.tuples(st.just("drop"), NAMES),
    st.tuples(st.just("restore"), NAMES),
    st.tuples(st.just("move"), st.booleans()),
)
Files = dict[str, str]


async def read(bench: Bench, volume: Volume) -> Files:
    with mount.closing(await bench.pool.mount(volume, IDMAP)) as tree:
        return await asyncio.to_thread(_read, Path(f"/proc/self/fd/{tree}"))


def _read(root: Path) -> Files:
    return {path.name: path.read_text() for path in root.iterdir()}


async def change(bench: Bench, name: str, text: str | None) -> None:
    def work(root: Path) -> None:
        if text is not None:
            (root / name).write_text(text)
            os.utime(root / name, (1_000_000_000, 1_000_000_000))  # size and time tell nothing
        else:
            (root / name).unlink(missing_ok=True)

    with mount.closing(await bench.pool.mount(V, IDMAP)) as tree:
        await credentials.as_root_of(IDMAP, work, Path(f"/proc/self/fd/{tree}"))


async def live(benches: Sequence[Bench], history: Sequence[tuple[str, object]]) -> None:
    """Go through the history beside a model: what the volume holds, and what each snapshot."""
    here, there = benches
    now: Files = {}
    kept: dict[str, Files] = {}
    await here.pool.create_volume(V)
    for verb, what in history:
        if verb == "write" and isinstance(what, tuple):
            await change(here, *what)
            now = now | {what[0]: what[1]}
        elif verb == "delete":
            await change(here, str(what), None)
            now = {name: text for name, text in now.items() if name != what}
        elif verb == "snapshot" and what not in kept:
            await here.pool.snapshot(V, str(what))
            kept[str(what)] = now
        elif verb == "drop" and what in kept:
            await here.pool.delete(V.at(str(what)))
            del kept[str(what)]
        elif verb == "restore" and what in kept:
            await here.pool.restore(V, str(what))
            now = kept[str(what)]
        elif verb == "move":
            await transfer.copy(here.pool, V, there.pool, V, list(kept))
            await here.pool.delete(V)
            here, there = there, here
    assert await read(here, V) == now
    assert {each.snapshot for each in await here.pool.volumes() if each.snapshot} == set(kept)
    for name, files in kept.items():
        assert await read(here, V.at(name)) == files
    assert await there.pool.volumes() == []


async def clean(benches: Sequence[Bench]) -> None:
    for bench in benches:
        await bench.pool.delete(V)
        await bench.pool.trash.empty()
        if hasattr(bench.pool, "layers"):
            assert [path.name for path in bench.pool.layers.folder.iterdir()] == [layers.EMPTY]


@pytest.mark.parametrize("kinds", [("overlay", "btrfs"), ("dir", "overlay")], ids="-".join)
def test_a_volume_is_the_same_whatever_pools_it_has_been_on(
    kinds: tuple[str, str], place: Path, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(partial(os.umask, os.umask(0)))
    for kind in kinds:
        (place / kind).mkdir()
    with asyncio.Runner() as runner:
        benches = [runner.run(build(kind, place / kind)) for kind in kinds]

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(STEPS, min_size=3, max_size=12))
        def check(history: list[tuple[str, object]]) -> None:
            try:
                runner.run(live(benches, history))
            finally:
                runner.run(clean(benches))

        check()
        for bench in benches:
            runner.run(bench.pool.destroy())


async def test_fifty_snapshots_share_their_layers_and_go_in_any_order(place: Path) -> None:
    bench = await build("overlay", place)
    await bench.pool.create_volume(V)
    await change(bench, "first", "x" * (1 << 20))
    for number in range(50):
        await change(bench, "last", str(number))
        await bench.pool.snapshot(V, f"s{number}")

    assert len(list(bench.pool.layers.folder.iterdir())) <= 53
    assert await bench.pool.usage(V) < 3 << 20  # the first file is there once
    order = list(range(50))
    random.Random(7).shuffle(order)
    for number in order[:40]:
        await bench.pool.delete(V.at(f"s{number}"))
    for number in order[40:]:
        assert (await read(bench, V.at(f"s{number}")))["last"] == str(number)
    assert (await read(bench, V))["last"] == "49"
    await bench.pool.restore(V, f"s{order[-1]}")
    for number in order[40:]:
        await bench.pool.delete(V.at(f"s{number}"))
    assert (await read(bench, V))["last"] == str(order[-1])
    await clean([bench])
    await bench.pool.destroy()


@pytest.mark.parametrize("kind", ["overlay", "btrfs", "dir"])
async def test_a_shared_volume_is_one_for_all_and_is_let_go_with_its_last_user(kind: str, place: Path) -> None:
    bench = await build(kind, place)
    await bench.pool.create_volume(V)
    points = [place / "m-one", place / "m-two"]
    for point in points:
        point.mkdir()
        with mount.closing(await bench.pool.share(V, IDMAP)) as tree:
            mount.attach(tree, point)
    await credentials.as_root_of(IDMAP, (points[0] / "file").write_text, "shared")
    assert await asyncio.to_thread((points[1] / "file").read_text) == "shared"
    await bench.pool.snapshot(V, "s")
    await credentials.as_root_of(IDMAP, (points[1] / "file").write_text, "later")
    if kind == "overlay":
        other = [IdMap(each, 0, 5_000_000, 1000) for each in "ug"]
        with pytest.raises(Exception, match="other ids"):
            await bench.pool.share(V, other)

    for point in points:
        mount.detach(point)
    await bench.pool.restore(V, "s")
    assert (await read(bench, V))["file"] == "shared"
    await bench.pool.delete(V)
    await bench.pool.trash.empty()
    await bench.pool.destroy()
    assert not await asyncio.to_thread(mount.below, place / "storage-pools")
