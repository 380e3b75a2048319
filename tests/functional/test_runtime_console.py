"""Consoles: what a guest says is kept, whoever of daemon and keeper dies meanwhile."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hutch.errors import Conflict, NotFound
from hutch.kernel import idmap
from tests.functional.runtime import Bench, bench, eventually, image

pytestmark = pytest.mark.root


@pytest.fixture
async def made() -> AsyncIterator[Bench]:
    async with bench() as one:
        yield one


@pytest.fixture(scope="module")
def busybox() -> Path:
    return image("busybox") / "rootfs"


class Terminal:
    """A guest's end of a console, as its init has it."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def say(self, text: bytes) -> None:
        assert os.write(self.fd, text) == len(text)

    async def heard(self) -> bytes:
        async with asyncio.timeout(5):
            while True:
                try:
                    return os.read(self.fd, 4096)
                except BlockingIOError:
                    await asyncio.sleep(0.01)

    def close(self) -> None:
        os.close(self.fd)


async def opened(made: Bench, name: str = "a") -> tuple[Terminal, Path]:
    directory = made.folder / "instances" / "default" / name
    directory.mkdir(parents=True, exist_ok=True)
    return Terminal(await made.consoles.open("default", name, directory, idmap.default())), directory


async def received(stream: socket.socket, word: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(5):
        while word not in seen:
            data = await asyncio.get_running_loop().sock_recv(stream, 65536)
            if not data:
                break
            seen += data
    return seen


async def logged(made: Bench, directory: Path, word: bytes) -> None:
    async with asyncio.timeout(5):
        while word not in await made.consoles.log(directory):
            await asyncio.sleep(0.01)


async def test_the_slave_belongs_to_the_guests_root_and_stays_the_same(made: Bench) -> None:
    terminal, directory = await opened(made)
    path = Path(os.ttyname(terminal.fd))
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1_000_000, 1_000_005, 0o620)
    assert await made.consoles.open("default", "a", directory, idmap.default()) == path
    terminal.close()


async def test_what_is_said_is_logged_and_relayed_both_ways(made: Bench) -> None:
    terminal, directory = await opened(made)
    terminal.say(b"before anybody looks\n")
    await logged(made, directory, b"before anybody looks")
    stream = await made.consoles.attach("default", "a")
    terminal.say(b"now\n")
    assert await received(stream, b"now") == b"now\r\n"
    await asyncio.get_running_loop().sock_sendall(stream, b"typed\n")
    assert await terminal.heard() == b"typed\n"
    await made.consoles.resize("default", "a", 132, 43)
    assert os.get_terminal_size(terminal.fd) == (132, 43)
    stream.close()
    terminal.close()


async def test_one_at_a_time_unless_by_force(made: Bench) -> None:
    terminal, _ = await opened(made)
    first = await made.consoles.attach("default", "a")
    with pytest.raises(Conflict):
        await made.consoles.attach("default", "a")
    second = await made.consoles.attach("default", "a", force=True)
    assert await received(first, b"x") == b""
    terminal.say(b"for the second\n")
    assert b"for the second" in await received(second, b"second")
    await made.consoles.detach("default", "a")
    assert await received(second, b"x") == b""
    third = await made.consoles.attach("default", "a")
    for stream in (first, second, third):
        stream.close()
    terminal.close()


async def test_the_log_goes_on_while_the_daemon_is_away(made: Bench) -> None:
    terminal, directory = await opened(made)
    stream = await made.consoles.attach("default", "a")
    await made.daemon_dies()
    for number in range(2000):
        terminal.say(b"line %d\n" % number)
        if number % 100 == 0:
            await asyncio.sleep(0.01)
    await made.consoles.connect()
    await logged(made, directory, b"line 1999\r\n")
    text = await made.consoles.log(directory)
    assert [line for line in text.split(b"\r\n") if line] == [b"line %d" % number for number in range(2000)]
    stream.close()
    again = await made.consoles.attach("default", "a", force=True)
    terminal.say(b"hello\n")
    assert b"hello" in await received(again, b"hello")
    again.close()
    terminal.close()


async def test_a_keeper_that_is_killed_is_replaced_with_nothing_lost(made: Bench) -> None:
    terminal, directory = await opened(made)
    terminal.say(b"one\n")
    await logged(made, directory, b"one")
    before = made.consoles.keeper
    os.kill(before, signal.SIGKILL)
    terminal.say(b"two\n")
    await eventually(lambda: made.consoles.keeper != before)
    terminal.say(b"three\n")
    await logged(made, directory, b"three")
    assert await made.consoles.log(directory) == b"one\r\ntwo\r\nthree\r\n"
    terminal.close()


async def test_the_log_is_bounded_and_can_be_cleared(made: Bench) -> None:
    terminal, directory = await opened(made)
    stream = await made.consoles.attach("default", "a")
    for number in range(3 * 1024):
        while True:
            try:
                terminal.say(b"%06d" % number + b"x" * 1016 + b"\n")
                break
            except (BlockingIOError, AssertionError):
                await asyncio.sleep(0.005)
    await logged(made, directory, b"003071")
    size = len(await made.consoles.log(directory))
    assert 512 * 1024 < size <= 1024 * 1024
    await made.consoles.clear_log("default", "a", directory)
    assert await made.consoles.log(directory) == b""
    terminal.say(b"after\n")
    await logged(made, directory, b"after")
    await made.consoles.close("default", "a")
    assert await made.consoles.log(directory) == b"after\r\n"
    await made.consoles.clear_log("default", "a", directory)
    assert await made.consoles.log(directory) == b""
    stream.close()
    terminal.close()


async def test_the_keeper_goes_with_the_last_console_and_daemon(made: Bench) -> None:
    terminal, _ = await opened(made)
    keeper = made.consoles.keeper
    await made.consoles.close("default", "a")
    with pytest.raises(NotFound):
        await made.consoles.attach("default", "a")
    made.consoles.stop()
    await eventually(lambda: not Path(f"/proc/{keeper}/fd/0").exists())
    terminal.close()


async def test_a_guests_console_lives_through_its_reboots_and_the_daemons_death(made: Bench, busybox: Path) -> None:
    plan = made.plan("g", busybox)
    plan.console = await made.consoles.open("default", "g", plan.directory, plan.idmap)
    await made.driver.start(plan)
    stream = await made.consoles.attach("default", "g")
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(stream, b"\n")
    await made.run("g", "sh", "-c", "echo written by the guest >/dev/console")
    assert b"written by the guest" in await received(stream, b"written by the guest")
    await made.run("g", "reboot", "-f")
    assert await made.driver.wait("default", "g", 5)
    assert await made.consoles.open("default", "g", plan.directory, plan.idmap) == plan.console
    await made.driver.start(plan)
    await made.run("g", "sh", "-c", "echo after the reboot >/dev/console")
    assert b"after the reboot" in await received(stream, b"after the reboot")
    stream.close()
    await made.daemon_dies()
    assert await made.driver.adopt("default", "g", plan.directory) is not None
    await made.consoles.connect()
    await made.run("g", "sh", "-c", "echo under a new daemon >/dev/console")
    await logged(made, plan.directory, b"under a new daemon")
