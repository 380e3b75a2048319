"""`hutch copy` and `hutch move` between servers."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional import transfers
from tests.hosts import Host, Segment

Pair = tuple[Host, Host]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """The second host is the first one's remote `two`."""
    with Segment() as segment:
        made: list[Host] = []

        def make(**how: Any) -> Host:
            made.append(Host(**how))
            return made[-1]

        try:
            one, two = transfers.connected(make, segment), transfers.connected(make, segment, image=False)
            token = two.hutch("config", "trust", "add", "--name", "one").stdout.split()[-1]
            hutch(one, "remote", "add", "two", token)
            yield one, two
        finally:
            for host in reversed(made):
                host.close()


def hutch(host: Host, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return host.hutch(*words, env={"HUTCH_CONF": f"{host.folder}/conf"}, **how)


def test_a_copy_goes_there_and_back_in_every_mode(pair: Pair) -> None:
    one, two = pair
    hutch(one, "init", "busybox", "c1", "-c", "user.note=kept")
    hutch(one, "file", "create", "c1/root/note", input="hello\n")
    hutch(one, "snapshot", "c1", "s1")

    hutch(one, "copy", "c1", "two:")
    for mode in ("pull", "push", "relay"):
        hutch(one, "copy", "c1", f"two:{mode}", "--mode", mode, "-c", f"user.mode={mode}")
    hutch(one, "copy", "two:pull/s1", "local:c2", "--mode", "relay")
    hutch(one, "copy", "two:push", "local:c3", "--instance-only", "--mode", "push")
    hutch(one, "copy", "c1", "two:c1", "--refresh")

    for mode in ("pull", "push", "relay"):
        assert two.get(f"/1.0/instances/{mode}")["config"]["user.mode"] == mode
        assert two.get(f"/1.0/instances/{mode}/snapshots") == [f"/1.0/instances/{mode}/snapshots/s1"]
    for name in ("c2", "c3"):
        assert one.get(f"/1.0/instances/{name}")["config"]["user.note"] == "kept"
        assert not one.get(f"/1.0/instances/{name}/snapshots")
        one.delete(name)
    assert two.get("/1.0/instances/c1/snapshots")
    for name in ("c1", "pull", "push", "relay"):
        two.delete(name)
    one.delete("c1")


def test_a_move_leaves_nothing_behind(pair: Pair) -> None:
    one, two = pair
    hutch(one, "init", "busybox", "m1", "-c", "volatile.eth0.hwaddr=00:16:3e:00:00:09")

    hutch(one, "move", "m1", "two:m2")

    assert not one.api.exists("/1.0/instances/m1")
    assert two.get("/1.0/instances/m2")["config"]["volatile.eth0.hwaddr"] == "00:16:3e:00:00:09"
    hutch(one, "move", "two:m2", "local:")
    assert not two.api.exists("/1.0/instances/m2")
    assert one.api.exists("/1.0/instances/m2")
    one.delete("m2")


def test_mistakes_are_told_in_a_sentence(pair: Pair) -> None:
    one, two = pair
    one.create("x1", "busybox")
    one.call("POST", "/1.0/instances/x1/snapshots", {"name": "s1"})
    two.call("POST", "/1.0/instances", {"name": "taken", "source": {"type": "none"}})
    for words, said in (
        (["copy", "gone", "two:"], "not found"),
        (["copy", "x1", "two:taken"], "already exists"),
        (["copy", "x1"], "name the copy"),
        (["copy", "x1", "two:", "-p", "gone"], "gone"),
        (["move", "x1/s1", "two:"], "moves with its instance"),
        (["move", "x1", "two:", "--stateless"], "is running"),
    ):
        assert said in hutch(one, *words, check=False).stderr, words
    one.call("PUT", "/1.0", {"config": {}})
    assert "core.https_address" in hutch(one, "copy", "x1", "two:", "--mode", "pull", check=False).stderr
    hutch(one, "copy", "x1", "two:x2")
    assert one.state("x1")["status"] == "Running"
    for host, name in ((one, "x1"), (two, "x2"), (two, "taken")):
        host.delete(name)
