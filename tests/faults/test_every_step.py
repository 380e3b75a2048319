"""kill -9 of the daemon, or of the tools that it runs, at every step of every request that changes something.

After each kill and the daemon's next start the whole host is as it was before the request or as it is after it, nothing is left
over, and the request can be repeated. `make test-faults` takes every step; otherwise some of each request are taken.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import needs_root
from tests.faults.stepper import Control, Kill
from tests.faults.world import world
from tests.hosts import ApiError, Host, images, run_folder, wait_until
from tests.hosts.host import BIN, POOL

ROOT = Path(__file__).parents[2]
EVERY = bool(os.environ.get("HUTCH_EVERY_STEP"))
SAMPLES = {Kill.DAEMON: 4, Kill.TOOL: 2}
"""Steps of a request that are taken when not every one is."""

Request = tuple[str, str, Any] | Callable[[Host], None]


@dataclass(frozen=True)
class Work:
    """A request, what has to be there for it (`given`), and the requests that take it back (`back`)."""

    do: Request
    back: list[Request]
    given: list[Request] = field(default_factory=list)
    ungiven: list[Request] = field(default_factory=list)


def instance(name: str, **source: Any) -> Request:
    return "POST", "/1.0/instances", {"name": name, "source": source or {"type": "image", "alias": "busybox"}}


def state(name: str, action: str) -> Request:
    return "PUT", f"/1.0/instances/{name}/state", {"action": action, "force": True, "timeout": 30}


def deletion(name: str) -> Request:
    return "DELETE", f"/1.0/{name}", None


I, SNAPSHOT = "instances/work", ("POST", "/1.0/instances/work/snapshots", {"name": "s"})  # noqa: E741
MADE, GONE = [instance("work")], [deletion(I)]
NIC = {"eth1": {"type": "nic", "nictype": "p2p", "name": "eth1"}}
NETWORK = {"name": "net0", "config": {"ipv4.address": "10.77.1.1/24", "ipv6.address": "none", "ipv4.nat": "true"}}


def unplug(host: Host) -> None:
    document = host.get(f"/1.0/{I}")
    host.call("PUT", f"/1.0/{I}", {**document, "devices": {}})


WORKS = {
    "create an instance": Work(MADE[0], GONE),
    "copy an instance with a snapshot": Work(
        instance("copy", type="copy", source="work"), [deletion("instances/copy")], [*MADE, SNAPSHOT], GONE
    ),
    "rename an instance": Work(
        ("POST", f"/1.0/{I}", {"name": "other"}), [("POST", "/1.0/instances/other", {"name": "work"})], MADE, GONE
    ),
    "delete an instance": Work(deletion(I), MADE, MADE, GONE),
    "start an instance": Work(state("work", "start"), [state("work", "stop")], MADE, GONE),
    "stop an instance": Work(
        state("work", "stop"), [state("work", "start")], [*MADE, state("work", "start")], [state("work", "stop"), *GONE]
    ),
    "take a snapshot": Work(SNAPSHOT, [deletion(f"{I}/snapshots/s")], MADE, GONE),
    "rename a snapshot": Work(
        ("POST", f"/1.0/{I}/snapshots/s", {"name": "t"}),
        [("POST", f"/1.0/{I}/snapshots/t", {"name": "s"})],
        [*MADE, SNAPSHOT],
        GONE,
    ),
    "delete a snapshot": Work(deletion(f"{I}/snapshots/s"), [SNAPSHOT], [*MADE, SNAPSHOT], GONE),
    "restore a snapshot": Work(("PUT", f"/1.0/{I}", {"restore": "s"}), [], [*MADE, SNAPSHOT], GONE),
    "publish an image": Work(
        ("POST", "/1.0/images", {"source": {"type": "instance", "name": "work"}, "aliases": [{"name": "published"}]}),
        [deletion("images/@published")],
        MADE,
        GONE,
    ),
    "create a profile": Work(
        ("POST", "/1.0/profiles", {"name": "p", "config": {"user.a": "b"}}), [deletion("profiles/p")]
    ),
    "create a network": Work(("POST", "/1.0/networks", NETWORK), [deletion("networks/net0")]),
    "change a network": Work(
        ("PATCH", "/1.0/networks/net0", {"config": {"ipv4.nat": "false"}}),
        [("PATCH", "/1.0/networks/net0", {"config": {"ipv4.nat": "true"}})],
        [("POST", "/1.0/networks", NETWORK)],
        [deletion("networks/net0")],
    ),
    "create a pool": Work(
        ("POST", "/1.0/storage-pools", {"name": "other", "driver": "dir"}), [deletion("storage-pools/other")]
    ),
    "create a btrfs pool": Work(
        ("POST", "/1.0/storage-pools", {"name": "other", "driver": "btrfs", "config": {"size": "256MiB"}}),
        [deletion("storage-pools/other")],
    ),
    "create a volume": Work(
        ("POST", f"/1.0/storage-pools/{POOL}/volumes/custom", {"name": "v"}),
        [deletion(f"storage-pools/{POOL}/volumes/custom/v")],
    ),
    "plug a nic into a guest": Work(
        ("PATCH", f"/1.0/{I}", {"devices": NIC}),
        [unplug],
        [*MADE, state("work", "start")],
        [state("work", "stop"), *GONE],
    ),
}


class Stepped(Host):
    """A host whose daemon counts its steps, with a guest that must not notice anything."""

    def __init__(self) -> None:
        path = run_folder.folder() / "steps"
        self.control = Control(path)
        program = ("env", f"PYTHONPATH={ROOT}", BIN / "python", "-m", "tests.faults.stepper", path)
        super().__init__(lxcfs=False, program=program)

    def send(self, requests: list[Request]) -> None:
        """Paths may end in @ALIAS, which stands for the fingerprint of that image."""
        for request in requests:
            if callable(request):
                request(self)
                continue
            method, path, body = request
            front, _, alias = path.partition("@")
            target = self.get(f"/1.0/images/aliases/{alias}")["target"] if alias else ""
            self.call(method, front + target, body)

    def attempt(self, request: Request, kill: Kill, at: int) -> None:
        """Send it while what is named is killed at that step, and start a daemon again if it was that."""
        assert self.daemon is not None
        self.control.arm(kill, at)
        with contextlib.suppress(ApiError, OSError, HTTPException):
            self.send([request])
        if kill is Kill.DAEMON:
            # What a request leaves to be done behind it counts too, for a moment.
            with contextlib.suppress(AssertionError):
                wait_until(lambda: self.control.steps >= at, 0.5)
            if self.control.steps >= at:
                self.daemon.wait(30)
        self.control.arm(kill, 0)
        if self.daemon.poll() is not None:
            self.daemon = None
            self.start()

    def calm(self) -> list[str]:
        """The state of the host once what is removed in the background is removed."""

        def look() -> list[str]:
            found = world(self)
            return [] if any("/trash/" in line for line in found) else found

        return wait_until(look)

    def settled(self, *allowed: list[str]) -> list[str]:
        """The state of the host, once it is one of those that are allowed."""
        found: list[str] = []

        def look() -> bool:
            nonlocal found
            with contextlib.suppress(ApiError):
                found = world(self)
            return found in allowed

        try:
            wait_until(look, 20, every=0.1, what="the host is as before or as after")
        except AssertionError:
            differences = ["\n".join(sorted(set(found) ^ set(each))) for each in allowed]
            raise AssertionError("neither; the differences are\n" + "\n--- or\n".join(differences)) from None
        return found


@pytest.fixture(scope="module")
def kept() -> Iterator[list[Stepped]]:
    """The host that tests use one after another."""
    needs_root()
    hosts: list[Stepped] = []
    yield hosts
    for host in hosts:
        host.close()


@pytest.fixture
def stepped(kept: list[Stepped], request: pytest.FixtureRequest) -> Iterator[Stepped]:
    """A new one when a test before has left the last one in disorder."""
    if not kept:
        kept.append(made := Stepped())
        made.prepare()
        made.import_image(images.built("busybox"), "busybox")
        made.create("witness", "busybox")
    failed = request.session.testsfailed
    yield kept[0]
    if request.session.testsfailed > failed:
        kept.pop().close()


def chosen(steps: int, samples: int) -> list[int]:
    """Every step, or `samples` of them, evenly."""
    if EVERY or steps <= samples:
        return list(range(1, steps + 1))
    return sorted({1 + number * (steps - 1) // (samples - 1) for number in range(samples)})


@pytest.mark.parametrize("kill", list(Kill), ids=["daemon", "tool"])
@pytest.mark.parametrize("name", WORKS)
@pytest.mark.timeout(3000 if EVERY else 180)
def test_what_was_killed_is_whole_or_gone(
    name: str, kill: Kill, stepped: Stepped, capsys: pytest.CaptureFixture[str]
) -> None:
    work = WORKS[name]
    # Twice, for some of what the first time brings is kept on purpose: an address, a folder.
    stepped.send([*work.given, work.do, *work.back])
    guest = stepped.state("witness")["pid"]
    before = stepped.calm()
    stepped.control.arm(kill, 0)
    stepped.send([work.do])
    steps, after = stepped.control.steps, stepped.calm()
    stepped.send(work.back)
    stepped.settled(before)

    for at in (points := chosen(steps, SAMPLES[kill])):
        stepped.attempt(work.do, kill, at)
        try:
            if stepped.settled(before, after) == before:
                stepped.send([work.do])
                stepped.settled(after)
            stepped.send(work.back)
            stepped.settled(before)
        except AssertionError as error:
            raise AssertionError(f"killed at step {at} of {steps}: {error}") from error
        assert stepped.state("witness")["pid"] == guest

    stepped.send(work.ungiven)
    with capsys.disabled():
        print(f" [{len(points)} of {steps} steps]", end="")
