"""The only place that starts a program.

Argument lists only, an environment built from nothing, no standard input unless given, a session of its own,
ended when the caller is cancelled. Start-up goes through posix_spawn/vfork where Python can, never a plain fork of the
daemon's memory.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from hutch.errors import ToolFailed, Unsupported

log = logging.getLogger(__name__)

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
}
_KEPT = 16 * 1024


async def start(
    argv: Sequence[str | Path],
    *,
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.PIPE,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    """The program, started in a session of its own. `env` is added to the fixed environment."""
    try:
        return await asyncio.create_subprocess_exec(
            *map(str, argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=ENVIRONMENT | dict(env or {}),
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=True,
            limit=1 << 20,
        )
    except FileNotFoundError as error:
        raise Unsupported(f"the program {argv[0]} is not installed on this host") from error


def kill(process: asyncio.subprocess.Process) -> None:
    """End the program and what it started in its session."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def run(
    argv: Sequence[str | Path],
    *,
    input: str | bytes | None = None,
    ok: Sequence[int] = (0,),
    deadline: float | None = 60,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    repeatable: bool = False,
) -> str:
    """The program's standard output once it has ended with a status in `ok`.

    One that is `repeatable` is run once more when somebody has killed it. Raises ToolFailed for another status or when
    `deadline` seconds have passed, Unsupported when it is not installed.
    """
    words = [str(word) for word in argv]
    began = time.monotonic()
    process = await start(
        words,
        stdin=asyncio.subprocess.DEVNULL if input is None else asyncio.subprocess.PIPE,
        env=env,
        cwd=cwd,
        pass_fds=pass_fds,
    )
    data = input.encode() if isinstance(input, str) else input
    try:
        async with asyncio.timeout(deadline):
            out, err = await process.communicate(data)
    except TimeoutError:
        raise ToolFailed(words, -signal.SIGKILL, f"no end after {deadline} seconds") from None
    finally:
        if process.returncode is None:
            kill(process)
            await process.wait()
    log.debug("ran %s in %.1f ms: %s", words, (time.monotonic() - began) * 1e3, process.returncode)
    if process.returncode not in ok:
        if repeatable and (process.returncode or 0) < 0:
            log.warning("%s was killed by signal %d and is run once more", words[0], -(process.returncode or 0))
            return await run(argv, input=input, ok=ok, deadline=deadline, env=env, cwd=cwd, pass_fds=pass_fds)
        raise ToolFailed(words, process.returncode or 0, err[-_KEPT:].decode(errors="replace"))
    return out.decode(errors="replace")


@contextlib.asynccontextmanager
async def stream(
    argv: Sequence[str | Path],
    *,
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int = asyncio.subprocess.PIPE,
    ok: Sequence[int] = (0,),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running program whose `stdout` (and `stdin` when PIPE is given) the caller reads and writes.

    On leaving the block its status is checked as `run` does; leaving it by an exception ends the program.
    """
    words = [str(word) for word in argv]
    began = time.monotonic()
    process = await start(words, stdin=stdin, stdout=stdout, env=env, cwd=cwd, pass_fds=pass_fds)
    assert process.stderr is not None
    tail = asyncio.ensure_future(_tail(process.stderr))
    try:
        yield process
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.close()
                await process.stdin.wait_closed()
        code = await process.wait()
    except BaseException:
        kill(process)
        await process.wait()
        tail.cancel()
        raise
    message = await tail
    log.debug("ran %s in %.1f ms: %s", words, (time.monotonic() - began) * 1e3, code)
    if code not in ok:
        raise ToolFailed(words, code, message)


async def _tail(reader: asyncio.StreamReader) -> str:
    kept = b""
    while chunk := await reader.read(4096):
        kept = (kept + chunk)[-_KEPT:]
    return kept.decode(errors="replace")
