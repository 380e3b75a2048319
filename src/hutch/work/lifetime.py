"""Whether the daemon is ready, and whether it is to end."""

import asyncio


class Lifetime:
    """`ready` is set when requests are served and guests are found again; setting `ending` stops the daemon."""

    def __init__(self) -> None:
        self.ready, self.ending = asyncio.Event(), asyncio.Event()
