"""Copies between servers that break off: nothing half-made stays, the source is as it was, and a second try succeeds."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.functional import transfers
from tests.hosts import ApiError, Host, Segment, wait_until

Pair = tuple[Host, Host]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """The first host sends a megabyte a second."""
    with Segment() as segment:
        made: list[Host] = []

        def make(**how: Any) -> Host:
            made.append(Host(**how))
            return made[-1]

        try:
            source, sink = transfers.connected(make, segment), transfers.connected(make, segment)
            source.call("PATCH", "/1.0/storage-pools/default", {"config": {"rsync.bwlimit": "1MB"}})
            source.create("big", "busybox")
            source.exec("big", "sh", "-c", "head -c 30000000 /dev/urandom > /root/big; md5sum /root/big > /root/sum")
            source.power("big", "stop", force=True)
            yield source, sink
        finally:
            for host in reversed(made):
                host.close()


@pytest.fixture
def speed(pair: Pair) -> Iterator[Callable[[], None]]:
    """Lifts the limit for the second try."""
    source = pair[0]
    yield lambda: source.call("PATCH", "/1.0/storage-pools/default", {"config": {"rsync.bwlimit": ""}})
    source.call("PATCH", "/1.0/storage-pools/default", {"config": {"rsync.bwlimit": "1MB"}})


def begun(pair: Pair, name: str, new: str, **how: Any) -> tuple[str, str]:
    """The operations of source and sink, once data flows."""
    source, sink = pair
    offered = transfers.offer(source, name)
    where = {"operation": transfers.url(source, offered["operation"]), "certificate": transfers.certificate(source)}
    asked = transfers.wish(source, name, mode="pull", secrets=offered["metadata"]["metadata"], **where, **how)
    waiting = sink.api.begin("POST", "/1.0/instances", asked | {"name": new})
    wait_until(lambda: "fs_progress" in (sink.get(waiting["operation"])["metadata"] or {}), 30, what="data flows")
    return offered["operation"], waiting["operation"]


def nothing_of(host: Host, name: str) -> bool:
    pool = host.directory / "storage-pools" / "default"
    left = [path.name for path in (pool / "volumes" / "container").iterdir()]
    return (
        f"default_{name}" not in left
        and not host.api.exists(f"/1.0/instances/{name}")
        and not list((host.directory / "transfers").glob("*"))
        and not (host.directory / "instances" / "default" / name).exists()
    )


def whole(host: Host, name: str) -> bool:
    host.power(name, "start")
    done = host.exec(name, "md5sum", "-c", "/root/sum", check=False)
    host.power(name, "stop", force=True)
    return done.returncode == 0


def test_a_source_that_dies_leaves_nothing_at_the_sink(pair: Pair, speed: Callable[[], None]) -> None:
    source, sink = pair
    _, receiving = begun(pair, "big", "copy1")

    source.kill9()

    with pytest.raises(ApiError, match=r"broke off|went away"):
        sink.api.wait(receiving)
    assert nothing_of(sink, "copy1")
    source.start()
    assert not list((source.directory / "transfers").glob("*"))
    speed()
    transfers.pull(source, sink, "big", "copy1")
    assert whole(sink, "copy1")
    sink.delete("copy1")


def test_a_sink_that_dies_has_nothing_when_it_is_back(pair: Pair, speed: Callable[[], None]) -> None:
    source, sink = pair
    sending, _ = begun(pair, "big", "copy2")

    sink.kill9()

    with pytest.raises(ApiError, match=r"broke off|went away"):
        source.api.wait(sending)
    sink.start()
    wait_until(lambda: nothing_of(sink, "copy2"), 10, what="nothing is left of the copy")
    assert whole(source, "big")


@pytest.mark.parametrize("cancelled", ["source", "sink"])
def test_a_cancelled_copy_ends_on_both_sides(pair: Pair, cancelled: str) -> None:
    source, sink = pair
    operations = dict(zip(("source", "sink"), begun(pair, "big", "copy3"), strict=True))
    hosts = {"source": source, "sink": sink}

    hosts.pop(cancelled).call("DELETE", operations[cancelled])

    other, host = next(iter(hosts.items()))
    with pytest.raises(ApiError, match="cancelled"):
        host.api.wait(operations[other])
    assert nothing_of(sink, "copy3")
    assert not list((source.directory / "transfers").glob("*"))


def test_a_running_guests_moment_is_gone_after_a_crash(pair: Pair) -> None:
    source, sink = pair
    source.power("big", "start")
    _, receiving = begun(pair, "big", "copy4")
    folder = source.directory / "storage-pools" / "default" / "volumes" / "container" / "default_big" / "snapshots"
    assert list(folder.iterdir())

    source.kill9()

    source.start()
    wait_until(lambda: not list(folder.iterdir()), 10, what="the moment is gone")
    assert source.exec("big", "md5sum", "-c", "/root/sum").returncode == 0
    with pytest.raises(ApiError):
        sink.api.wait(receiving)
    source.power("big", "stop", force=True)


def test_a_refresh_goes_on_where_one_broke_off(pair: Pair, speed: Callable[[], None]) -> None:
    source, sink = pair
    source.create("grown", "busybox", start=False)
    transfers.pull(source, sink, "grown", "copy5")
    source.power("grown", "start")
    source.exec("grown", "sh", "-c", "head -c 3000000 /dev/urandom > /root/one; md5sum /root/one > /root/sum")
    source.call("POST", "/1.0/instances/grown/snapshots", {"name": "s1"})
    source.exec(
        "grown", "sh", "-c", "head -c 20000000 /dev/urandom > /root/two; md5sum /root/one /root/two > /root/sum"
    )
    source.power("grown", "stop", force=True)
    sending, receiving = begun(pair, "grown", "copy5", refresh=True)
    wait_until(lambda: sink.api.exists("/1.0/instances/copy5/snapshots/s1"), 30, what="the snapshot is there")

    source.call("DELETE", sending)

    with pytest.raises(ApiError, match="cancelled"):
        sink.api.wait(receiving)
    speed()
    transfers.pull(source, sink, "grown", "copy5", refresh=True)
    assert [each.rpartition("/")[2] for each in sink.get("/1.0/instances/copy5/snapshots")] == ["s1"]
    assert whole(sink, "copy5")
    for host, name in ((sink, "copy5"), (source, "grown")):
        host.delete(name)


def test_a_sink_believes_the_named_certificate_and_secrets_only(pair: Pair) -> None:
    source, sink = pair
    for wrong, said in (("certificate", "cannot be reached"), ("secrets", "status 403")):
        offered = transfers.offer(source, "big")
        how = {
            "operation": transfers.url(source, offered["operation"]),
            "certificate": transfers.certificate(source),
            "secrets": offered["metadata"]["metadata"],
        }
        how[wrong] = transfers.certificate(sink) if wrong == "certificate" else {"control": "guess", "fs": "guess"}
        with pytest.raises(ApiError, match=said):
            sink.call("POST", "/1.0/instances", transfers.wish(source, "big", mode="pull", **how) | {"name": "copy6"})
        source.call("DELETE", offered["operation"])
    assert nothing_of(sink, "copy6")


def test_what_cannot_be_is_refused_at_once(pair: Pair) -> None:
    source, sink = pair
    asked = transfers.wish(source, "big", mode="pull", operation="https://nowhere", secrets={})
    for change, said in (
        ({"profiles": ["gone"]}, "gone"),
        ({"source": {"type": "migration", "mode": "sideways"}}, "sideways"),
        ({"devices": {"root": {"type": "disk", "path": "/", "pool": "gone"}}}, "gone"),
    ):
        with pytest.raises(ApiError, match=said):
            sink.api.begin("POST", "/1.0/instances", asked | {"name": "copy7"} | change)
    with pytest.raises(ApiError, match="no address of one"):
        sink.call("POST", "/1.0/instances", asked | {"name": "copy7"})
    with pytest.raises(ApiError, match="already"):
        source.api.begin("POST", "/1.0/instances", asked | {"name": "big"})
