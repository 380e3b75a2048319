"""Runs the programs that building needs: their output becomes progress, their end an error or nothing.

The builder belongs to the client and shares no code with the daemon, so it has this small runner of its own.
"""

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which

from hutch.errors import ToolFailed, Unsupported

ENVIRONMENT = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/", "TERM": "dumb"}
# Sessions of ordinary users lack the sbin folders.
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
TAIL = 20


def need(program: str, package: str) -> None:
    """Refuse, with the remedy, when `program` is not installed."""
    if which(program, path=PATH) is None:
        raise Unsupported(f"{program} is not installed; install the package {package} (make setup does)")


def run(argv: Sequence[str], *, line: Callable[[str], None] = lambda _: None, stdout: Path | None = None) -> None:
    """Run to the end; every line it prints goes to `line`. With `stdout` only stderr does and stdout is that file."""
    if stdout is None:
        _follow(argv, subprocess.PIPE, subprocess.STDOUT, line)
        return
    with stdout.open("wb") as out:
        _follow(argv, out.fileno(), subprocess.PIPE, line)


def output(argv: Sequence[str]) -> str:
    """What the program printed on stdout."""
    done = subprocess.run(
        argv, capture_output=True, text=True, env=_environment(), stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise ToolFailed(argv, done.returncode, done.stderr)
    return done.stdout


@contextmanager
def writing_to(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program to write into, ended well at the end of the block, killed when the block fails."""
    with _started(argv, subprocess.PIPE, subprocess.DEVNULL, subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        with suppress(BrokenPipeError):  # its status tells why it stopped reading
            yield process
            process.stdin.close()
        message = process.stderr.read()
        if process.wait():
            raise ToolFailed(argv, process.returncode, message.decode(errors="replace"))


def _follow(argv: Sequence[str], stdout: int, stderr: int, line: Callable[[str], None]) -> None:
    last: deque[str] = deque(maxlen=TAIL)
    with _started(argv, subprocess.DEVNULL, stdout, stderr) as process:
        stream = process.stdout or process.stderr
        assert stream is not None
        for raw in stream:
            text = raw.decode(errors="replace").rstrip()
            last.append(text)
            line(text)
        code = process.wait()
    if code:
        raise ToolFailed(argv, code, "\n".join(_telling(last)))


def _telling(lines: deque[str]) -> list[str]:
    """The output with the line that names the cause last: ToolFailed shows that one."""
    causes = [line for line in lines if line.startswith(("E:", "dpkg: error", "error:", "FATAL"))]
    return [*lines, *causes[:1]]


@contextmanager
def _started(argv: Sequence[str], stdin: int, stdout: int, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process leads a group of its own, which is killed whole when the block is left early."""
    try:
        process = subprocess.Popen(
            argv, stdin=stdin, stdout=stdout, stderr=stderr, env=_environment(), start_new_session=True
        )
    except FileNotFoundError as error:
        raise Unsupported(f"{argv[0]} is not installed") from error
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None and not stream.closed:
                # What was not written yet cannot be, when the program ended first.
                with suppress(BrokenPipeError):
                    stream.close()
        process.wait()


def _environment() -> dict[str, str]:
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    return {**ENVIRONMENT, **proxies, "PATH": PATH}
