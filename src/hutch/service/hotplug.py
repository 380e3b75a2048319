"""Device files that need not be there: given to the guest when they come to the host, taken when they go."""

import logging

from hutch.errors import HutchError
from hutch.service.parts import Parts, instance_lock

log = logging.getLogger(__name__)


async def follow(parts: Parts, key: str) -> None:
    """What the device PROJECT/INSTANCE/DEVICE stands for may have come or gone."""
    project, instance, name = key.split("/", 2)
    async with parts.locks.hold(instance_lock(project, instance)):
        running = parts.runtime.running(project, instance)
        device = next((each for each in parts.live.get((project, instance), []) if each.name == name), None)
        if running is None or device is None:
            return
        try:
            await device.follow(running)
        except HutchError as error:
            log.warning("instance %s: device %s could not follow the host's: %s", instance, name, error)
