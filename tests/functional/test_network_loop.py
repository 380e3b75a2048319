"""The network's own code on an event loop that refuses to be blocked, in a namespace of its own."""

import sys

from tests.hosts import run_folder
from tests.hosts.namespace import Namespace

PROGRAM = """
import asyncio, sys
from pathlib import Path

from blockbuster import blockbuster_ctx

from hutch import registry
from hutch.device import drivers, load
from hutch.kernel import ip
from hutch.kernel.idmap import default
from hutch.network.base import Reservation
from hutch.network.drivers.bridge import Driver
from hutch.runtime.plan import LaunchPlan

async def main(path):
    config = await Driver.check("br0", {})
    driver = Driver("br0", path / "networks" / "br0", config)
    await driver.start()
    first = driver.dnsmasq.pid
    await driver.start()
    assert driver.dnsmasq.pid == first
    context = load.context(path, "default", "first", {}, {"br0": driver}, {})
    for settings in ({"type": "nic", "network": "br0"}, {"type": "nic", "nictype": "p2p"}):
        nic = load.device("eth0", settings, context)
        plan = LaunchPlan("default", "first", path, path, idmap=default())
        await nic.plan(plan)
        outside = plan.links[0].host_name
        assert await ip.interface(outside) is not None
        await nic.release()
        assert await ip.interface(outside) is None
        await nic.release()
        await nic.forget()
    await driver.reserve(Reservation("default", "second", "eth0", "00:16:3e:00:00:01", ipv4=str(driver.ipv4.ip + 9)))
    assert {lease.type for lease in await driver.leases()} == {"gateway", "static", "dynamic"}
    assert (await driver.state())["state"] == "up"
    assert await driver.links() == []
    await driver.update({**config, "bridge.mtu": "1400", "ipv6.address": "none"})
    assert (await driver.state())["mtu"] == 1400
    await driver.release("default", "second", "eth0")
    disk = load.device("d", {"type": "disk", "path": "/mnt", "source": str(path), "shift": "true"}, context)
    plan = LaunchPlan("default", "first", path, path, idmap=default())
    await disk.plan(plan)
    await disk.release()
    await driver.detach()
    other = Driver("br0", path / "networks" / "br0", driver.config)
    await other.start()
    assert other.dnsmasq.pid is not None
    await other.delete()
    assert await ip.interface("br0") is None

registry.names(drivers), registry.modules(drivers)  # looked up and imported once, on first use
with blockbuster_ctx("hutch") as watched:
    for name in ("threading.Lock.acquire", "threading.Lock.acquire_lock"):
        watched.functions[name].deactivate()
    asyncio.run(main(Path(sys.argv[1])))
"""


def test_nothing_blocks_the_loop() -> None:
    folder = run_folder.folder() / "loop"
    folder.mkdir()
    namespace = Namespace()
    try:
        namespace.run(sys.executable, "-c", PROGRAM, folder)
        assert namespace.members() == []
    finally:
        namespace.close()
    run_folder.remove_tree(folder)
