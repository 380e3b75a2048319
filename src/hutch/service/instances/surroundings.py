"""The surroundings of an instance's devices: what of this host its project lets it see."""

from dataclasses import replace

from hutch.access.projects import Kind, home
from hutch.access.restrictions import disk_paths
from hutch.device import load
from hutch.device.base import Context
from hutch.errors import NotFound
from hutch.network.base import NetworkDriver
from hutch.schema.base import Config, Devices
from hutch.schema.storage import VolumeRecord
from hutch.service.parts import Parts


def context(parts: Parts, project: str, name: str, config: Config, devices: Devices) -> Context:
    """The surroundings with the instance's expanded config and devices."""
    place = home(parts.state, project, Kind.VOLUMES)

    def volume(pool: str, wanted: str) -> VolumeRecord:
        if (found := parts.state.volumes.find(pool, place, wanted)) is None:
            raise NotFound(f"Storage volume {wanted!r} not found in pool {pool!r}")
        return found

    networks = networks_of(parts, project)
    found = load.context(
        parts.directory, project, name, config, networks, parts.pools, volume, devices, parts.proxies, parts.paths
    )
    return replace(found, folders=disk_paths(parts.state.projects.get(project).config))


def networks_of(parts: Parts, project: str) -> dict[str, NetworkDriver]:
    """The running managed networks that the project sees."""
    place = home(parts.state, project, Kind.NETWORKS)
    return {
        name: driver for name, driver in parts.networks.items() if parts.state.networks.find(place, name) is not None
    }
