"""What a host is and has for a guest that comes or goes while it runs: versions, files of its own, memory for its images."""

import asyncio
import functools
import os
from pathlib import Path

from hutch.errors import Unsupported
from hutch.kernel import mount, tree
from hutch.schema.move import LIVE, Host, Offer
from hutch.service.parts import Parts

_FILES = ("metadata.yaml",)
_TEMPLATES = "templates"


async def of_this(parts: Parts) -> Host:
    return Host(os.uname().release, await parts.runtime.state_version(), await asyncio.to_thread(_cpu))


@functools.cache
def _cpu() -> list[str]:
    """What the CPUs can do, as the kernel calls it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return sorted(value.split())
    return []


async def check(parts: Parts, offer: Offer) -> None:
    """Unsupported, with what is different, when the guest cannot go on here."""
    here, there = await of_this(parts), offer.host
    reasons = []
    if offer.version != LIVE:
        reasons.append(f"its server moves guests in another way (version {offer.version}, here {LIVE})")
    if there.kernel != here.kernel:
        reasons.append(f"it runs on the kernel {there.kernel}, here is {here.kernel}")
    if there.criu != here.criu:
        reasons.append(f"its state was saved by CRIU {there.criu}, here is {here.criu}")
    if missing := set(there.cpu) - set(here.cpu):
        reasons.append(f"it may use what the CPUs here do not have: {', '.join(sorted(missing)[:8])}")
    if offer.lxcfs and not parts.runtime.offers_lxcfs:
        reasons.append("it has files of lxcfs, which is not mounted here")
    if reasons:
        raise Unsupported(f"The instance cannot go on running on this host: {'; '.join(reasons)}")


def uses_lxcfs(init: int) -> bool:
    return any(each.fstype == "fuse.lxcfs" for each in mount.mounts(init))


def files_of(directory: Path) -> dict[str, bytes]:
    """The image metadata and templates of the instance in `directory`, by their paths in it."""
    paths = [directory / name for name in _FILES] + sorted((directory / _TEMPLATES).glob("*"))
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths if path.is_file()}


def put_files(directory: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        folder, _, last = name.rpartition("/")
        if folder not in ("", _TEMPLATES) or last in ("", ".", "..") or (not folder and last not in _FILES):
            raise Unsupported(f"{name!r} is no file of an instance")
        (directory / folder).mkdir(exist_ok=True)
        (directory / name).write_bytes(data)


async def memory(folder: Path) -> None:
    """Make the folder an empty one in memory."""
    await tree.drop(folder)
    await asyncio.to_thread(_mount, folder)


def _mount(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    with mount.closing(mount.new("tmpfs", options=[("mode", "0700"), ("size", "90%")])) as made:
        mount.attach(made, folder)
