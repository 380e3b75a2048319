"""Modules of the kernel that guests need and cannot load themselves."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from hutch.errors import Invalid, ToolFailed
from hutch.kernel.run import run


async def load(modules: Iterable[str]) -> None:
    """Load those that are not there; Invalid names the one that cannot be."""
    for name in modules:
        if await asyncio.to_thread(Path("/sys/module", name.replace("-", "_")).exists):
            continue
        try:
            await run(["modprobe", "-b", "--", name])
        except ToolFailed as error:
            raise Invalid(f"Failed to load kernel module {name!r}: {error.stderr or error}") from error
