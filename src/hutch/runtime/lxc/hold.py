"""A CRIU that waits for a word: after a dump with the guest frozen, after a restore with nothing of it running yet.

CRIU's action script waits in FOLDER/down, a pipe whose other end the daemon has open: the script sees the daemon end. What applies
then stands in FOLDER/standing: nothing (abort), `commit`, or `wait` for the next daemon. FOLDER/held says that the script has
come so far (it holds CRIU's pid), FOLDER/resumed that a restored guest runs, FOLDER/pre-dump and FOLDER/network-lock when a dump was there.
"""

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import time
from pathlib import Path

from hutch.errors import Unavailable
from hutch.kernel import pidfd, tree

DUMPED, RESTORED = "post-dump", "post-restore"
COMMIT, ABORT, WAIT = "commit", "abort", "wait"
_SCRIPT = """\
#!/bin/sh
cd {folder} || exit 1
case "$CRTOOLS_SCRIPT_ACTION" in
post-resume)
    : >resumed
    kill -0 {daemon} 2>/dev/null && echo resumed >up
    exit 0
    ;;
pre-dump | network-lock) : >"$CRTOOLS_SCRIPT_ACTION"; exit 0 ;;
{action}) ;;
*) exit 0 ;;
esac
give_up() {{
    kill -0 $PPID 2>/dev/null && {release}
    exit 1
}}
echo $PPID >held
gone=1
kill -0 {daemon} 2>/dev/null && gone= && echo held >up
while :; do
    if [ "$gone" ]; then
        standing=
        read -r standing 2>/dev/null <standing
        case "$standing" in commit) exit 0 ;; wait) ;; *) give_up ;; esac
    fi
    word=
    read -r word <down || gone=1
    case "$word" in commit) exit 0 ;; abort) give_up ;; esac
done
"""


class Hold:
    """One wait of one CRIU. `folder` lasts until `remove`, also over the daemon's life."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._up, self._down = -1, -1

    def make(self, action: str, release: str = ":") -> None:
        """Lay out the folder and open its pipes; `release` is a command for when a CRIU that lives is to give up. Blocks."""
        self.remove()
        self.folder.mkdir(mode=0o700)
        for name in ("up", "down"):
            os.mkfifo(self.folder / name, 0o600)
        script = _SCRIPT.format(folder=f"'{self.folder}'", action=action, daemon=os.getpid(), release=release)
        (self.folder / "hook").write_text(script)
        (self.folder / "hook").chmod(0o700)
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        self._up, self._down = (os.open(self.folder / name, flags) for name in ("up", "down"))

    @property
    def option(self) -> list[str]:
        """CRIU's option that makes it wait here."""
        return ["--action-script", str(self.folder / "hook")]

    @property
    def pid_file(self) -> Path:
        """Where the pid of the CRIU that dumps is to be written."""
        return self.folder / "pid"

    async def reached(self) -> None:
        """Return when CRIU waits here; later once more when a restored guest runs."""
        loop = asyncio.get_running_loop()
        came = asyncio.Event()
        if self._up < 0:
            await came.wait()  # Nothing waits here any more: for ever.
        loop.add_reader(self._up, came.set)
        try:
            await came.wait()
            os.read(self._up, 64)
        finally:
            loop.remove_reader(self._up)

    def is_held(self) -> bool:
        return (self.folder / "held").exists()

    def is_resumed(self) -> bool:
        return (self.folder / "resumed").exists()

    def when(self, action: str) -> float:
        """When CRIU was at an action of its dump, in seconds since 1970; now, where that is not known. Blocks."""
        with contextlib.suppress(OSError):
            return (self.folder / action).stat().st_mtime
        return time.time()

    @property
    def standing(self) -> str:
        """What applies when no daemon says anything; empty for abort. Blocks."""
        with contextlib.suppress(OSError):
            return (self.folder / "standing").read_text().strip()
        return ""

    def stand(self, word: str) -> None:
        """Write down, durably, what applies from now on when no daemon says anything. Blocks."""
        tree.write(self.folder / "standing", f"{word}\n")

    def answer(self, word: str) -> None:
        """Let CRIU go on (COMMIT) or give up (ABORT); nothing happens when none waits."""
        if self._down >= 0:
            os.write(self._down, f"{word}\n".encode())
            return
        try:
            pipe = os.open(self.folder / "down", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                return
            raise
        try:
            os.write(pipe, f"{word}\n".encode())
        finally:
            os.close(pipe)

    def listen_again(self) -> None:
        """In a daemon that did not make it: take the script's word that it has come so far, for it may wait to give it."""
        with contextlib.suppress(OSError):
            self._up = os.open(self.folder / "up", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    async def ended(self, timeout: float | None = 60) -> None:
        """Return when the CRIU that was started or waited here has ended. Unavailable when it has not in time."""
        try:
            async with asyncio.timeout(timeout):
                for name in ("pid", "held"):
                    if pid := await asyncio.to_thread(self._criu, name):
                        await pidfd.wait(pid)
        except TimeoutError:
            raise Unavailable(f"the CRIU of {self.folder.parent.name} does not end") from None

    def kill(self) -> None:
        """End a CRIU that does not end by itself. Blocks."""
        for name in ("pid", "held"):
            if pid := self._criu(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _criu(self, name: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.folder / name).read_text())
            if b"criu" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return 0

    def close(self) -> None:
        """Let go of the pipes: the script finds what stands."""
        for pipe in (self._up, self._down):
            if pipe >= 0:
                os.close(pipe)
        self._up = self._down = -1

    def remove(self) -> None:
        """Nothing waits here any more. Blocks."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
