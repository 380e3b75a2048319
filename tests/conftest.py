"""Fixtures of every test: hosts, guests, and the check that nothing is left behind."""

import inspect
import itertools
import os
import signal
from collections.abc import Callable, Iterator

import pytest
from blockbuster import blockbuster_ctx

from tests.hosts import Host, Segment, images, leftovers, run_folder, sweep

_numbers = itertools.count(1)


def pytest_configure() -> None:
    """A run that is told to end takes its hosts down, as one that is interrupted at the keyboard does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Set up first and so taken down last; fails the run with a list of what is still there."""
    # a run in the background of a script ignores them, and so would every program that a test interrupts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    sweep.sweep(run_folder.folder().parent)
    before = leftovers.snapshot()
    yield
    run_folder.remove_tree(run_folder.folder())
    left = leftovers.difference(before, leftovers.snapshot())
    if left:
        pytest.fail("left behind by the tests:\n" + "\n".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def loop_not_blocked(request: pytest.FixtureRequest) -> Iterator[None]:
    """In a test that runs our code on its own event loop, a call that blocks the loop is an error."""
    if not inspect.iscoroutinefunction(getattr(request, "function", None)):
        yield
        return
    with blockbuster_ctx("hutch") as watched:
        # The queue of a thread pool, which is how we do not block, is guarded by a lock.
        for name in ("threading.Lock.acquire", "threading.Lock.acquire_lock"):
            watched.functions[name].deactivate()
        yield


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """A host that most tests share: pool, network, default profile, and the image `busybox`."""
    needs_root()
    with Host() as made:
        made.prepare()
        made.import_image(images.built("busybox"), "busybox")
        yield made


@pytest.fixture(scope="session")
def debian(host: Host) -> str:
    """The alias of a Debian 12 image on the shared host."""
    host.import_image(images.built("debian/12"), "debian")
    return "debian"


@pytest.fixture(scope="session")
def debian13(host: Host) -> str:
    """The alias of a Debian 13 image on the shared host."""
    host.import_image(images.built("debian/13"), "debian13")
    return "debian13"


@pytest.fixture
def hosts() -> Iterator[Callable[..., Host]]:
    """Makes hosts of the test's own (the arguments are Host's), gone after it."""
    needs_root()
    made: list[Host] = []

    def make(**how: object) -> Host:
        made.append(Host(**how))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in reversed(made):
        each.close()


@pytest.fixture
def segment() -> Iterator[Segment]:
    needs_root()
    with Segment() as made:
        yield made


@pytest.fixture
def guest(host: Host) -> Iterator[Callable[..., str]]:
    """Makes guests on the shared host (the arguments are Host.create's) and answers their names; deleted after the test."""
    names: list[str] = []

    def make(image: str = "busybox", **document: object) -> str:
        name = f"guest{next(_numbers)}"
        names.append(name)
        host.create(name, image, **document)  # type: ignore[arg-type]
        return name

    yield make
    for name in names:
        if host.api.exists(f"/1.0/instances/{name}"):
            host.delete(name)


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
