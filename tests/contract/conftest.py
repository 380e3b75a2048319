"""Real mounts, in a mount namespace of the test process's own."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hutch.kernel import credentials, mount, namespaces
from tests.contract.pools import KINDS, Bench, build


@pytest.fixture(scope="session", autouse=True)
def _own_mounts() -> None:
    if os.geteuid():
        pytest.skip("mounts need root")
    credentials.forget()
    namespaces.own_mounts()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for a daemon's state; what is mounted in it goes at the end."""
    yield tmp_path
    for entry in mount.below(tmp_path):
        mount.detach(entry.path)


@pytest.fixture(params=KINDS)
async def bench(request: pytest.FixtureRequest, place: Path) -> AsyncIterator[Bench]:
    made = await build(request.param, place)
    yield made
    await made.pool.trash.empty()
    await made.pool.destroy()
