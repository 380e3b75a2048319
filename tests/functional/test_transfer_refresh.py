"""How much travels: what the sink has already does not; btrfs pools exchange streams of their own."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional import transfers
from tests.hosts import Host, Segment

Made = Callable[[str, int], Host]


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    """Connected hosts by driver and number, on one segment."""
    with Segment() as segment:
        hosts: list[Host] = []
        known: dict[tuple[str, int], Host] = {}

        def start(**how: Any) -> Host:
            hosts.append(Host(**how))
            return hosts[-1]

        def connected(driver: str, number: int) -> Host:
            if (driver, number) not in known:
                known[driver, number] = transfers.connected(start, segment, driver=driver)
            return known[driver, number]

        try:
            yield connected
        finally:
            for host in reversed(hosts):
                host.close()


def moved(done: dict[str, Any]) -> float:
    """The megabytes of the last volume that the operation told of."""
    match = re.search(r": ([\d.]+)MB ", done["metadata"]["fs_progress"])
    assert match, done["metadata"]
    return float(match[1])


def written(host: Host, name: str, script: str) -> None:
    host.power(name, "start")
    host.exec(name, "sh", "-c", script)
    host.power(name, "stop", force=True)


def same(one: Host, other: Host, name: str) -> bool:
    shown = []
    for host in (one, other):
        host.power(name, "start")
        shown.append(
            host.exec(
                name, "sh", "-c", "cd /data; find . -exec stat -c '%n %f %u %g %h %Y' {} + | sort; md5sum *"
            ).stdout
        )
        host.power(name, "stop", force=True)
    return shown[0] == shown[1]


_FILL = (
    "mkdir -p /data; cd /data; for n in $(seq 20); do head -c 1000000 /dev/urandom > $n; done; ln 1 linked; chown 3:4 2"
)
_CHANGE = "cd /data; head -c 200000 /dev/urandom | dd of=7 conv=notrunc 2>/dev/null; rm 9; touch new"


def test_a_refresh_moves_what_has_changed(made: Made) -> None:
    one, two = made("overlay", 1), made("overlay", 2)
    one.create("c1", "busybox", start=False)
    written(one, "c1", _FILL)
    whole = moved(transfers.pull(one, two, "c1"))
    written(one, "c1", _CHANGE)

    refreshed = moved(transfers.pull(one, two, "c1", refresh=True))

    assert 20 < whole < 22
    assert refreshed < 0.03 * whole
    assert same(one, two, "c1")


def test_an_image_that_the_sink_has_does_not_travel(made: Made) -> None:
    one, two = made("overlay", 1), made("overlay", 2)
    one.create("c2", "busybox", start=False)

    done = transfers.pull(one, two, "c2")

    assert moved(done) < 0.2
    two.power("c2", "start")


def test_btrfs_pools_exchange_streams(made: Made) -> None:
    one, two, plain = made("btrfs", 1), made("btrfs", 2), made("overlay", 2)
    one.create("c3", "busybox", start=False)
    written(one, "c3", _FILL)
    one.call("POST", "/1.0/instances/c3/snapshots", {"name": "s1"})

    transfers.pull(one, two, "c3")
    written(one, "c3", _CHANGE)
    one.call("POST", "/1.0/instances/c3/snapshots", {"name": "s2"})
    refreshed = moved(transfers.pull(one, two, "c3", refresh=True))
    transfers.push(one, plain, "c3")

    assert two.log.read_text().count("'btrfs', 'receive'") == 4
    assert "hutch.helper.transfer" not in two.log.read_text()
    assert refreshed < 0.5
    for host in (two, plain):
        assert [each.rpartition("/")[2] for each in host.get("/1.0/instances/c3/snapshots")] == ["s1", "s2"]
        assert same(one, host, "c3")
    two.call("PUT", "/1.0/instances/c3", {**two.get("/1.0/instances/c3"), "restore": "s1"})
    written(two, "c3", "test -e /data/9")
    transfers.pull(two, one, "c3", "back")
    assert one.daemon is not None
    folder = f"/proc/{one.daemon.pid}/root{one.directory}/storage-pools/default/volumes/container/default_c3/snapshots"
    assert sorted(path.name for path in Path(folder).iterdir()) == ["s1", "s2"]


def test_subvolumes_of_a_guest_travel_as_files(made: Made) -> None:
    one, two = made("btrfs", 1), made("btrfs", 2)
    one.create("c4", "busybox", start=False)
    assert one.daemon is not None
    inside = ("nsenter", f"--target={one.daemon.pid}", "--mount", "--")
    tree = one.directory / "storage-pools" / "default" / "volumes" / "container" / "default_c4" / "tree"
    one.run(*inside, "btrfs", "subvolume", "create", tree / "inner")
    one.run(*inside, "sh", "-c", f"echo deep > {tree}/inner/note")

    transfers.pull(one, two, "c4")

    two.power("c4", "start")
    assert two.exec("c4", "cat", "/inner/note").stdout == "deep\n"
