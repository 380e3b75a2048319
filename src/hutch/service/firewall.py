"""Keeps the firewall as hutch needs it while others change it: a policy of theirs that drops, a flush of everything."""

import asyncio
import logging

from hutch.errors import HutchError
from hutch.kernel import nft
from hutch.kernel.nft_events import Watch
from hutch.service.parts import Parts

log = logging.getLogger(__name__)

_REST = 0.3


async def watch(parts: Parts) -> None:
    """Look after every change, at most some three times a second."""
    changed = asyncio.Event()
    notices = Watch(changed.set)
    try:
        while True:
            await changed.wait()
            await asyncio.sleep(_REST)
            changed.clear()
            try:
                await _look(parts)
            except HutchError as error:
                log.warning("the firewall could not be looked after: %s", error)
    finally:
        notices.close()


async def _look(parts: Parts) -> None:
    chains = await nft.chains()
    for network in list(parts.networks.values()):
        await network.mend(chains)
    tables = {chain["table"] for chain in chains}
    for devices in list(parts.live.values()):
        for device in devices:
            await device.mend(tables)
