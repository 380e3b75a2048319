"""Who uses a pool or a network: instances by their expanded devices, and profiles."""

from collections.abc import Callable

from hutch.schema.base import Config
from hutch.service import profiles
from hutch.service.instances import expand, render
from hutch.service.parts import Parts


def by_device(parts: Parts, is_user: Callable[[Config], bool]) -> list[str]:
    """The URLs of everything that has a device which `is_user` accepts."""
    instances = [
        render.url(each.project, each.name)
        for each in parts.state.instances.all()
        if any(map(is_user, expand.of(parts.state, each)[1].values()))
    ]
    return instances + [
        profiles.url(each.project, each.name)
        for each in parts.state.profiles.all()
        if any(map(is_user, each.devices.values()))
    ]
