"""The two hosts that the tests of live moves share."""

from collections.abc import Iterator

import pytest

from tests.conftest import needs_root
from tests.migration.world import World


@pytest.fixture(scope="package")
def world() -> Iterator[World]:
    needs_root()
    made = World()
    yield made
    made.close()
