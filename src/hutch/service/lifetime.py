"""The daemon's own life, as its owner steers it: ready, and shut down with or without the instances."""

import logging

from hutch.service.instances import boot
from hutch.service.parts import Parts

log = logging.getLogger(__name__)


async def shut_down(parts: Parts) -> None:
    """Stop every instance cleanly, then the networks and the daemon. At its next start they come back."""
    log.info("shutting down the instances")
    await boot.shutdown(parts)
    for network in parts.networks.values():
        await network.stop()
    parts.lifetime.ending.set()
