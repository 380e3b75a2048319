"""Finds the driver of a device and gives it its surroundings."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hutch import registry
from hutch.device import drivers, idmaps
from hutch.device.base import Context, Device
from hutch.errors import Invalid, NotFound
from hutch.kernel.inotify import PathWatch
from hutch.network.base import NetworkDriver
from hutch.runtime.proxies import Proxies
from hutch.schema.base import Config, Devices
from hutch.schema.keys.base import check_all
from hutch.schema.storage import VolumeRecord
from hutch.storage.base import StorageDriver

Thing = TypeVar("Thing")


def context(
    directory: Path,
    project: str,
    instance: str,
    config: Config,
    networks: Mapping[str, NetworkDriver],
    pools: Mapping[str, StorageDriver],
    volume: Callable[[str, str], VolumeRecord] | None = None,
    devices: Devices | None = None,
    proxies: Proxies | None = None,
    paths: PathWatch | None = None,
) -> Context:
    """The surroundings of an instance's devices; `device` puts each one's own volatile values in."""
    return Context(
        project=project,
        instance=instance,
        config=config,
        idmap=idmaps.of(config),
        directory=directory / "instances" / project / instance,
        volatile={},
        network=_finder(networks, "Network"),
        pool=_finder(pools, "Storage pool"),
        volume=volume or _no_volume,
        devices=devices or {},
        proxies=proxies,
        paths=paths,
    )


def device(name: str, settings: Config, context: Context) -> Device:
    """The device `name` with these settings. Invalid when its type or its keys are wrong."""
    prefix = f"volatile.{name}."
    volatile = {key.removeprefix(prefix): value for key, value in context.config.items() if key.startswith(prefix)}
    driver = driver_for(name, settings, context)
    check_all(f"device {name!r}", settings, driver.keys, free=("user.",), skip=("type",))
    return driver(name, settings, replace(context, volatile=volatile))


def every(devices: Devices, context: Context) -> tuple[list[Device], list[str]]:
    """The devices that can be loaded, in the order of their names, and why the others cannot: a network that is gone must not
    keep an instance from being stopped or deleted."""
    found, failures = [], []
    for name in sorted(devices):
        try:
            found.append(device(name, devices[name], context))
        except (Invalid, NotFound) as error:
            failures.append(f"device {name!r}: {error}")
    return found, failures


def driver_for(name: str, settings: Config, context: Context) -> type[Device]:
    """The class for a device's `type`, and for a nic its `nictype` or the type of its network."""
    kind = settings.get("type", "")
    if not kind:
        raise Invalid(f"device {name!r}: Missing device type")
    if kind == "nic":
        network = settings.get("network")
        nictype = context.network(network).nictype if network else settings.get("nictype", "")
        if not nictype:
            raise Invalid(f"device {name!r}: a nic needs the key network, or nictype")
        kind = f"nic-{nictype}"
    if kind not in registry.names(drivers):
        raise Invalid(
            f"device {name!r}: Unsupported device type {kind!r} (known: {', '.join(registry.names(drivers))})"
        )
    found: type[Device] = registry.load(drivers, kind)
    return found


def _no_volume(pool: str, name: str) -> VolumeRecord:
    raise NotFound(f"Storage volume {name!r} not found in pool {pool!r}")


def _finder(things: Mapping[str, Thing], what: str) -> Callable[[str], Thing]:
    def find(name: str) -> Thing:
        if (thing := things.get(name)) is None:
            raise NotFound(f"{what} {name!r} not found")
        return thing

    return find
