"""The console by the API: attached by one, taken over by force, logged over everything."""

from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest

from tests.functional.streams import begun
from tests.hosts import ApiError, Host, wait_until


@pytest.fixture(scope="module")
def box(host: Host) -> Iterator[str]:
    host.create("consolebox", "busybox")
    yield "consolebox"
    host.delete("consolebox")


def console(host: Host, name: str, **body: Any) -> Any:
    return begun(host, f"/1.0/instances/{name}/console", body)


async def test_keys_go_in_and_the_screen_comes_out(host: Host, box: str) -> None:
    async with console(host, box, type="console", width=80, height=25) as attached:
        assert sorted(attached.secrets) == ["0", "control"]
        await attached.send(b"\r")
        await attached.read_until("0", b"login: ")
        await attached.send(b"somebody\r")
        await attached.read_until("0", b"Password: ")
        await attached.send(b"\r")
        await attached.read_until("0", b"login: ")
        await attached.sockets["control"].close()
        assert (await attached.wait())["status"] == "Success"


async def test_the_size_of_the_window_is_the_guests(host: Host, box: str) -> None:
    async with console(host, box, width=77, height=22) as attached:
        await attached.control(command="window-resize", args={"width": "123", "height": "45"})

        def size() -> bool:
            return host.exec(box, "sh", "-c", "stty size < /dev/console").stdout == "45 123\n"

        wait_until(size, 5, what="the console has 45 lines and 123 columns")


async def test_a_second_client_needs_force(host: Host, box: str) -> None:
    async with console(host, box) as first:
        await first.send(b"\r")
        await first.read_until("0", b"login: ")
        async with console(host, box) as second:
            document = await second.wait()
            assert document["status"] == "Failure"
            assert document["err"] == "This console is already connected. Force is required to take it over."
        async with console(host, box, force=True) as third:
            assert (await first.wait())["status"] == "Success"
            message = await first.sockets["0"].receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.TEXT, "")
            await third.send(b"\r")
            await third.read_until("0", b"login: ")


async def test_the_console_ends_with_the_guest(host: Host, guest: Callable[..., str]) -> None:
    name = guest()
    async with console(host, name) as attached:
        await attached.send(b"\r")
        await attached.read_until("0", b"login: ")
        host.power(name, "stop", force=True)
        assert (await attached.wait())["status_code"] in (200, 400)


def test_the_log_is_read_and_cleared(host: Host, guest: Callable[..., str]) -> None:
    name = guest()
    path = f"/1.0/instances/{name}/console"
    host.exec(name, "sh", "-c", "echo first message > /dev/console")
    wait_until(lambda: b"first message" in host.api.raw("GET", path)[2], 5, what="the message is in the log")
    assert f"/1.0/instances/{name}/logs/console.log" in host.get(f"/1.0/instances/{name}/logs")
    host.call("DELETE", path)
    assert b"first message" not in host.api.raw("GET", path)[2]
    host.exec(name, "sh", "-c", "echo second message > /dev/console")
    wait_until(lambda: b"second message" in host.api.raw("GET", path)[2], 5, what="the message is in the log")
    host.power(name, "stop", force=True)
    assert b"second message" in host.api.raw("GET", path)[2]


def test_a_console_needs_a_running_container(host: Host, guest: Callable[..., str]) -> None:
    name = guest(start=False)
    path = f"/1.0/instances/{name}/console"
    with pytest.raises(ApiError, match="Instance is not running") as refused:
        host.call("POST", path, {"type": "console"})
    assert refused.value.code == 400
    with pytest.raises(ApiError, match="only supported by virtual machines"):
        host.call("POST", path, {"type": "vga"})
    with pytest.raises(ApiError, match="Unknown console type"):
        host.call("POST", path, {"type": "braille"})


def test_only_the_instances_own_logs_are_logs(host: Host, guest: Callable[..., str]) -> None:
    name = guest()
    base = f"/1.0/instances/{name}/logs"
    assert {f"{base}/lxc.log", f"{base}/lxc.conf"} <= set(host.get(base))
    assert b"lxc.idmap" in host.api.raw("GET", f"{base}/lxc.conf")[2]
    for file in ("..%2F..%2Fdatabase%2Fhutch.db", "exec_..%2Fconfig", "runtime.json", "%2Fetc%2Fpasswd", "exec_x%0A"):
        assert host.api.raw("GET", f"{base}/{file}")[0] in (400, 404), file
        assert host.api.raw("DELETE", f"{base}/{file}")[0] in (400, 404), file
    assert host.api.raw("GET", f"{base}/exec_none.stdout")[0] == 404
    assert host.api.raw("DELETE", f"{base}/lxc.log")[0] == 400
