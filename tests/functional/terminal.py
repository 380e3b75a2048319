"""A program at a terminal of its own, and what a person would do there."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

HUTCH = str(Path(__file__).parents[2] / ".venv" / "bin" / "hutch")


class Terminal:
    """`seen` is all that the program has written so far."""

    def __init__(
        self, *words: str, env: Mapping[str, str], program: str = HUTCH, columns: int = 100, lines: int = 30
    ) -> None:
        self.master, slave = pty.openpty()
        self.resize(columns, lines)
        self.seen, self.at = "", 0
        self.process = subprocess.Popen(
            [program, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm", **env},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def keys(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str, timeout: float = 20) -> None:
        """Read until `text` is written behind what was expected before."""
        end = time.monotonic() + timeout
        while (found := self.seen.find(text, self.at)) < 0:
            if time.monotonic() > end or not self._read(end - time.monotonic()):
                raise AssertionError(f"{text!r} was not written; what was: {self.seen[self.at :]!r}")
        self.at = found + len(text)

    def end(self, timeout: float = 20) -> int:
        """Read to the end of the program; its exit status."""
        end = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < end:
            self._read(0.05)
        while self._read(0.05):
            pass
        return self.process.wait(1)

    def _read(self, timeout: float) -> bool:
        if not select.select([self.master], [], [], max(timeout, 0))[0]:
            return False
        try:
            block = os.read(self.master, 65536)
        except OSError:  # the other end is closed
            return False
        self.seen += block.decode(errors="replace").replace("\r\n", "\n")
        return bool(block)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
