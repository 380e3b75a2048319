"""nginx, redis, postgresql, cron, sshd, an asyncio server and 200 processes in one guest: their memory is kept and brought back."""

from collections.abc import Iterator

import pytest

from tests.hosts import Host
from tests.migration import workloads
from tests.migration.workloads import Workloads


@pytest.fixture(scope="module")
def programs(host: Host) -> Iterator[Workloads]:
    host.import_image(workloads.image(), "workloads")
    host.create("programs", "workloads", config=workloads.CONFIG)
    yield Workloads(host, "programs", host.namespace)
    host.delete("programs")


@pytest.mark.slow
def test_they_go_on_after_a_stop_and_start(host: Host, programs: Workloads) -> None:
    host.hutch("stop", programs.name, "--stateful")
    host.hutch("start", programs.name)
    programs.check(host)


@pytest.mark.slow
def test_their_connections_hold_during_a_stateful_snapshot_to_which_they_go_back(
    host: Host, programs: Workloads
) -> None:
    with programs.talk() as seen:
        host.hutch("snapshot", programs.name, "one", "--stateful")
    assert seen["wrong"] == ""
    host.exec(programs.name, "redis-cli", "set", "kept", "after")
    host.hutch("restore", programs.name, "one", "--stateful")
    programs.check(host)
