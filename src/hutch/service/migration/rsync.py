"""Trees sent by rsync over a websocket, framed as LXD does: each way ends with an empty text frame."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from hutch.errors import HutchError, ToolFailed, Unavailable
from hutch.kernel import run
from hutch.schema.migration import RsyncFeatures
from hutch.work.operations import Operation, Socket

Told = Callable[[int], None]
"""Is told how many bytes have come or gone by now."""

ROOT = "rootfs"
"""The folder of a stage that a volume is mounted on."""
_BLOCK = 1 << 18
_RSYNC = "/usr/bin/rsync"
_COMMON = ("--numeric-ids", "--devices", "--partial", "--sparse")
# trusted.* is obeyed by overlay; the labels of security modules are each host's own matter.
_XATTRS = ("--xattrs", "--filter=-x security.selinux", "--filter=-x trusted.*")
# What rsync takes for ssh: it ends when the other side has ended.
_CONNECTION = "/usr/bin/sh -c 'exec 5<&0; cat <&5 >&4 & exec cat <&3'"


async def send(
    socket: Socket,
    stage: Path,
    root: int,
    features: RsyncFeatures,
    told: Told,
    *,
    limit: int = 0,
    loose: bool = False,
    whole: bool = False,
) -> None:
    """Send what the folder `stage` holds, with the mount `root` in it, to the sink's rsync.

    With `whole` the mount is the stage. `limit` is in bytes a second, 0 for none; with `loose`, files that vanish meanwhile are no failure.
    """
    argv = [
        _RSYNC,
        "--archive",
        *_COMMON,
        *_options(features),
        *([f"--bwlimit={max(1, limit >> 10)}"] if limit else []),
    ]
    argv += ["--rsh", _CONNECTION, "/stage/", "sink:/"]
    async with _running(stage, {"." if whole else ROOT: root}, argv, ok=(0, 24) if loose else (0,)) as process:
        await _relay(process, socket, told, count_sent=True)


async def receive(
    socket: Socket,
    stage: Path,
    root: int,
    features: RsyncFeatures,
    told: Told,
    owner: tuple[int, int],
    *,
    whole: bool = False,
) -> None:
    """Make the folder `stage`, with the mount `root` in it, what the source's rsync sends; with `whole` the mount is the stage.

    `owner` is who the mount's root user is on the host: another than 0 when the mount shifts ids.
    """
    argv = [_RSYNC, "--server", "-logDtpre.iLsfx", *_COMMON, "--modify-window=-1", "--super", *_options(features)]
    async with _running(stage, {"." if whole else ROOT: root}, [*argv, ".", "/stage/"], owner=owner) as process:
        await _relay(process, socket, told, count_sent=False)


def _options(features: RsyncFeatures) -> list[str]:
    """Both ends must be given the same of these."""
    options = list(_XATTRS) if features.xattrs else []
    options += ["--delete"] if features.delete else []
    options += ["--compress", "--compress-level=2"] if features.compress else []
    options += ["--hard-links", "--acls"] if features.links else []
    return options


@contextlib.asynccontextmanager
async def _running(
    stage: Path, trees: dict[str, int], argv: Sequence[str], ok: Sequence[int] = (0,), owner: tuple[int, int] = (0, 0)
) -> AsyncIterator[asyncio.subprocess.Process]:
    mounts = ",".join(f"{name}={number}" for name, number in trees.items())
    words: list[str | Path] = [sys.executable, "-I", "-m", "hutch.helper.transfer", stage, mounts]
    words += ["{}:{}".format(*owner), *argv]
    try:
        async with run.stream(words, stdin=asyncio.subprocess.PIPE, pass_fds=list(trees.values()), ok=ok) as process:
            yield process
    except ToolFailed as error:
        raise _meaning(error) from error


def _meaning(error: ToolFailed) -> HutchError:
    if "No space left on device" in error.stderr or "Disk quota exceeded" in error.stderr:
        return HutchError(
            "no space left for what is copied: free some on the pool, or raise the limit of the root disk"
        )
    said = next((line for line in error.stderr.splitlines() if line.startswith("rsync: ")), "")
    return HutchError(f"rsync failed with status {error.code}: {said.removeprefix('rsync: ') or error.stderr[-400:]}")


async def _relay(process: asyncio.subprocess.Process, socket: Socket, told: Told, *, count_sent: bool) -> None:
    """Carry bytes between rsync and the other side until both ways have ended."""
    sent = asyncio.ensure_future(_out(process, socket, told if count_sent else None))
    received = asyncio.ensure_future(_in(process, socket, None if count_sent else told))
    try:
        await asyncio.gather(sent, received)
    finally:
        for way in (sent, received):
            way.cancel()
        await asyncio.gather(sent, received, return_exceptions=True)


async def _out(process: asyncio.subprocess.Process, socket: Socket, told: Told | None) -> None:
    assert process.stdout is not None
    count = 0
    try:
        while block := await process.stdout.read(_BLOCK):
            await socket.send(block)
            count += len(block)
            if told is not None:
                told(count)
        await socket.send("")
    except (ConnectionError, RuntimeError) as error:
        raise Unavailable("the other server went away in the middle of the transfer") from error


async def _in(process: asyncio.subprocess.Process, socket: Socket, told: Told | None) -> None:
    assert process.stdin is not None
    count = 0
    while isinstance(data := await socket.receive(), bytes):
        with contextlib.suppress(ConnectionError):  # an rsync that has failed says why by its status
            process.stdin.write(data)
            await process.stdin.drain()
        count += len(data)
        if told is not None:
            told(count)
    if data is None:
        raise Unavailable("the other server went away in the middle of the transfer")
    process.stdin.close()


class Teller:
    """Shows on the operation how much of `what` has gone over, and how fast."""

    def __init__(self, operation: Operation, what: str) -> None:
        self.operation, self.what = operation, what
        self.began, self.count = time.monotonic(), 0

    def __call__(self, count: int) -> None:
        self.count = count
        self.operation.progress("fs_progress", self.what, 0, self._speed, text=self._text)

    def settle(self) -> None:
        """All has gone over: the last figures stay."""
        self.operation.update(fs_progress=f"{self.what}: {self._text}")

    @property
    def _speed(self) -> int:
        return int(self.count / max(time.monotonic() - self.began, 0.001))

    @property
    def _text(self) -> str:
        return f"{self.count / 1e6:.2f}MB ({self._speed / 1e6:.2f}MB/s)"
