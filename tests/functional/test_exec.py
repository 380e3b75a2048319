"""Exec by the API's own protocol: sockets, frames, exit codes, environment, and what happens when somebody goes away."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pylxd
import pytest

from tests.functional.streams import begun, connected, executed
from tests.hosts import ApiError, Host, images

GIB = 1 << 30


@pytest.fixture(scope="module")
def box(host: Host) -> Iterator[str]:
    host.create("execbox", "busybox")
    yield "execbox"
    host.delete("execbox")


def processes(host: Host, name: str, word: str) -> list[str]:
    """The guest's processes whose command line holds the word."""
    listing = host.exec(name, "ps", "-o", "pid,args").stdout.splitlines()
    return [line for line in listing if word in line]


async def gone(host: Host, name: str, word: str) -> bool:
    for _ in range(100):
        if not await asyncio.to_thread(processes, host, name, word):
            return True
        await asyncio.sleep(0.05)
    return False


async def test_streams_are_separate_and_each_ends_with_an_empty_text_frame(host: Host, box: str) -> None:
    async with executed(host, box, "sh", "-c", "cat; echo oops >&2; exit 5") as command:
        await command.send(b"line one\n")
        await command.send(b"line two\n")
        await command.end_input()
        assert await command.read("1") == b"line one\nline two\n"
        assert await command.read("2") == b"oops\n"
        assert await command.code() == 5


async def test_the_operation_shows_the_command_and_its_instance(host: Host, box: str) -> None:
    async with executed(host, box, "true", environment={"A": "b"}) as command:
        shown = command.operation
        assert (shown["class"], shown["description"]) == ("websocket", "Executing command")
        urls = {"instances": [f"/1.0/instances/{box}"], "containers": [f"/1.0/containers/{box}"]}
        assert shown["resources"] == urls
        assert shown["metadata"]["command"] == ["true"]
        assert shown["metadata"]["environment"]["A"] == "b"
        assert shown["metadata"]["interactive"] is False
        assert sorted(shown["metadata"]["fds"]) == ["0", "1", "2", "control"]
        assert all(len(secret) == 64 for secret in shown["metadata"]["fds"].values())
        assert await command.code() == 0


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["no-such-program"], 127),
        (["/etc/hostname"], 126),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "kill -15 $$"], 143),
        (["sh", "-c", "exit 255"], 255),
    ],
)
async def test_exit_codes_are_those_of_a_shell(host: Host, box: str, command: list[str], code: int) -> None:
    host.exec(box, "sh", "-c", "chmod 644 /etc/hostname")
    async with executed(host, box, *command) as running:
        assert await running.code() == code


async def test_a_signal_reaches_the_process_in_the_guest(host: Host, box: str) -> None:
    script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    async with executed(host, box, "sh", "-c", script) as command:
        await command.read_until("1", b"ready\n")
        await command.control(command="signal", signal=15)
        assert await command.read("1") == b"caught\n"
        assert await command.code() == 9


async def test_environment_user_group_and_folder(host: Host, box: str) -> None:
    host.call(
        "PATCH", f"/1.0/instances/{box}", {"config": {"environment.FROM": "config", "environment.BOTH": "config"}}
    )
    request = {"BOTH": "request", "TERM": "dumb"}
    async with executed(host, box, "env", environment=request) as command:
        found = dict(line.split("=", 1) for line in (await command.read("1")).decode().splitlines())
    expected = {
        "FROM": "config",
        "BOTH": "request",
        "TERM": "dumb",
        "HOME": "/root",
        "USER": "root",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    assert expected.items() <= found.items()
    async with executed(
        host, box, "sh", "-c", "id -u; id -g; pwd; echo -$HOME-", user=1000, group=1001, cwd="/tmp"
    ) as it:
        assert (await it.read("1")).decode().split() == ["1000", "1001", "/tmp", "--"]
    async with executed(host, box, "pwd") as it:
        assert await it.read("1") == b"/root\n"


async def test_a_command_leads_a_session_of_the_guest(host: Host, box: str) -> None:
    async with executed(host, box, "sh", "-c", "cut -d' ' -f1,5,6 /proc/$$/stat; echo $$") as command:
        numbers = (await command.read("1")).split()
    assert len(set(numbers)) == 1


async def test_a_socket_is_opened_by_its_secret_and_once(host: Host, box: str) -> None:
    async with executed(host, box, "cat", sockets=("1",)) as command:
        base = f"http://hutch/1.0/operations/{command.operation['id']}/websocket?secret="
        for secret in ("0" * 64, command.secrets["1"]):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await command.session.ws_connect(base + secret)
            assert refused.value.status == 403
        await command.connect("0", "2")
        await command.end_input()
        assert await command.code() == 0


async def test_sockets_that_nobody_opens_fail_the_operation_in_five_seconds(host: Host, box: str) -> None:
    async with executed(host, box, "touch", "/tmp/never", sockets=("0",)) as command:
        began = time.monotonic()
        document = await command.wait()
        assert document["err"] == "Timed out waiting for websockets to connect"
        assert 4 < time.monotonic() - began < 7
    assert host.exec(box, "ls", "/tmp").stdout.split().count("never") == 0


@pytest.mark.parametrize("socket", ["control", "1", "2"])
async def test_a_client_that_goes_away_takes_the_command_along(host: Host, box: str, socket: str) -> None:
    marker = f"37{ord(socket[0])}"
    async with executed(host, box, "sh", "-c", f"sleep {marker} & sleep {marker}; true") as command:
        while not await asyncio.to_thread(processes, host, box, f"sleep {marker}"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await command.sockets[socket].close()
        assert await command.code() == 137
    assert await gone(host, box, f"sleep {marker}")


async def test_the_end_of_one_output_is_not_the_end_of_the_command(host: Host, box: str) -> None:
    async with executed(host, box, "sh", "-c", "exec >&-; sleep 0.5; echo late >&2; exit 4") as command:
        assert await command.read("1") == b""
        await command.sockets["1"].close()
        assert await command.read("2") == b"late\n"
        assert await command.code() == 4


async def test_input_nobody_reads_does_not_stop_the_command(host: Host, box: str) -> None:
    async with executed(host, box, "sh", "-c", "exec <&-; echo on; sleep 0.2; echo end") as command:
        for _ in range(64):
            await command.send(bytes(65536))
        await command.end_input()
        assert await command.read("1") == b"on\nend\n"
        assert await command.code() == 0


def test_a_command_needs_a_running_instance(host: Host, guest: Callable[..., str]) -> None:
    name = guest()
    wanted = {"command": ["true"], "wait-for-websocket": False}
    host.power(name, "freeze")
    with pytest.raises(ApiError, match="Instance is frozen") as refused:
        host.call("POST", f"/1.0/instances/{name}/exec", wanted)
    assert refused.value.code == 400
    host.power(name, "unfreeze")
    host.power(name, "stop", force=True)
    with pytest.raises(ApiError, match="Instance is not running"):
        host.call("POST", f"/1.0/instances/{name}/exec", wanted)
    with pytest.raises(ApiError, match="Instance not found"):
        host.call("POST", "/1.0/instances/nobody/exec", wanted)


def test_recorded_output_has_a_path_of_its_own(host: Host, box: str) -> None:
    wanted = {"command": ["echo", "kept"], "record-output": True, "wait-for-websocket": False, "interactive": False}
    out = host.call("POST", f"/1.0/instances/{box}/exec", wanted)["metadata"]["output"]["1"]
    path = f"/1.0/instances/{box}/logs/exec-output"
    newer = f"{path}/{out.rpartition('/')[2]}"
    assert newer in host.get(path)
    assert f"{path}/lxc.log" not in host.get(path)
    assert host.api.raw("GET", newer)[2] == b"kept\n"
    assert host.api.raw("GET", f"{path}/lxc.log")[0] == 400
    host.call("DELETE", newer)
    assert newer not in host.get(path)
    assert host.api.raw("GET", newer)[0] == 404


def test_recorded_output_is_among_the_logs_until_it_is_deleted(host: Host, box: str) -> None:
    wanted = {
        "command": ["sh", "-c", "echo out; echo err >&2; exit 3"],
        "record-output": True,
        "wait-for-websocket": False,
    }
    done = host.call("POST", f"/1.0/instances/{box}/exec", wanted)
    assert done["metadata"]["return"] == 3
    out, err = done["metadata"]["output"]["1"], done["metadata"]["output"]["2"]
    assert host.api.raw("GET", out)[2] == b"out\n"
    assert host.api.raw("GET", err)[2] == b"err\n"
    assert {out, err} <= set(host.get(f"/1.0/instances/{box}/logs"))
    host.call("DELETE", out)
    assert out not in host.get(f"/1.0/instances/{box}/logs")


async def test_a_terminal_has_size_owner_and_job_control(host: Host, box: str) -> None:
    script = (
        "tty; stty size; stat -c %u $(tty); trap 'stty size' WINCH; echo ready; while :; do read x && echo got-$x; done"
    )
    async with executed(host, box, "sh", "-c", script, interactive=True, width=100, height=30) as command:
        assert sorted(command.secrets) == ["0", "control"]
        begin = (await command.read_until("0", b"ready\r\n")).decode().split()
        assert begin[0].startswith("/dev/pts/")
        assert begin[1:4] == ["30", "100", "0"]
        await command.control(command="window-resize", args={"width": "132", "height": "43"})
        await command.send(b"x\n")
        assert b"43 132" in await command.read_until("0", b"got-x")
        await command.send(b"\x03")
        await command.read("0")
        assert (await command.sockets["0"].receive()).type is aiohttp.WSMsgType.CLOSE
        assert await command.code() == 130


async def test_a_terminal_loses_nothing(host: Host, box: str) -> None:
    async with executed(host, box, "seq", "200000", interactive=True) as command:
        lines = (await command.read("0")).split(b"\r\n")
    assert lines[:-1] == [str(number).encode() for number in range(1, 200001)]


async def test_a_terminal_ends_with_its_command_though_something_holds_it(host: Host, box: str) -> None:
    async with executed(host, box, "sh", "-c", "(trap '' HUP; sleep 4711) & echo bye", interactive=True) as command:
        began = time.monotonic()
        assert b"bye" in await command.read("0")
        assert await command.code() == 0
        assert time.monotonic() - began < 3


async def test_a_vanished_terminal_hangs_up(host: Host, box: str) -> None:
    async with executed(host, box, "sh", "-i", interactive=True) as command:
        await command.send(b"(trap '' HUP; exec sleep 4715) </dev/null >/dev/null 2>&1 &\nsleep 4712\n")
        while not await asyncio.to_thread(processes, host, box, "sleep 4712"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await command.sockets["0"].close()
        assert await command.code() in (129, 137)
    assert await gone(host, box, "sleep 4712")
    assert processes(host, box, "sleep 4715")


async def test_what_ignores_the_hang_up_is_killed(host: Host, box: str) -> None:
    script = "trap '' HUP; echo on; while :; do sleep 0.1; done"
    async with executed(host, box, "sh", "-c", script, interactive=True) as command:
        await command.read_until("0", b"on")
        await command.sockets["control"].close()
        assert await command.code() == 137


def memory(host: Host) -> int:
    """Bytes that the daemon has in memory."""
    assert host.daemon is not None
    text = Path(f"/proc/{host.daemon.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("VmRSS"))


@pytest.mark.slow
async def test_a_gibibyte_comes_out_whole_with_flat_memory(host: Host, box: str) -> None:
    before = memory(host)
    async with executed(host, box, "sh", "-c", f"yes 0123456789abcde | head -c {GIB}") as command:
        total, most, began = 0, 0, time.monotonic()
        pattern = b"0123456789abcde\n" * 65536
        async for block in command.blocks("1"):
            at = total % 16
            assert block == pattern[at : at + len(block)]
            total += len(block)
            most = max(most, memory(host))
        assert total == GIB
        assert await command.code() == 0
    print(f"1 GiB out in {time.monotonic() - began:.1f} s, daemon {before >> 20} MiB before, at most {most >> 20} MiB")
    assert most - before < 24 << 20


@pytest.mark.slow
async def test_a_slow_client_holds_up_the_command_and_not_the_daemon(host: Host, box: str) -> None:
    before = memory(host)
    async with executed(host, box, "sh", "-c", "head -c 200000000 /dev/zero; echo done >&2") as command:
        await asyncio.sleep(2)
        assert memory(host) - before < 24 << 20
        assert host.exec(box, "echo", "meanwhile").stdout == "meanwhile\n"
        assert sum([len(block) async for block in command.blocks("1")]) == 200_000_000
        assert await command.read("2") == b"done\n"


async def test_sixty_four_commands_at_once(host: Host, box: str) -> None:
    async def one(number: int) -> bytes:
        async with executed(host, box, "sh", "-c", f"cat; sleep 0.5; echo {number}; exit {number}") as command:
            await command.send(f"in {number}\n".encode() * 1000)
            await command.end_input()
            out = await command.read("1")
            assert await command.code() == number
            return out

    outputs = await asyncio.gather(*(one(number) for number in range(64)))
    assert outputs == [f"in {number}\n".encode() * 1000 + f"{number}\n".encode() for number in range(64)]


async def test_nothing_stays_open_behind_commands(host: Host, box: str) -> None:
    assert host.daemon is not None
    proc = Path(f"/proc/{host.daemon.pid}")

    def held() -> tuple[int, int]:
        return len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir()))

    async def one(number: int) -> None:
        async with executed(host, box, "sh", "-c", "echo; sleep 0.2", interactive=number % 2 == 0) as command:
            if number % 3 == 0:
                await next(iter(command.sockets.values())).close()
            await command.wait()

    await one(1)
    await asyncio.sleep(0.5)
    descriptors, threads = held()
    await asyncio.gather(*(one(number) for number in range(24)))
    for _ in range(100):
        if held()[0] <= descriptors + 2 and held()[1] <= threads + 8:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"descriptors and threads: {(descriptors, threads)} before, {held()} after")


async def test_an_operation_of_an_exec_is_told_by_events(host: Host, box: str) -> None:
    async with connected(host) as session:
        events = await session.ws_connect("http://hutch/1.0/events?type=operation,lifecycle")
        async with executed(host, box, "true") as command:
            await command.code()
        seen = []
        while not seen or seen[-1].get("metadata", {}).get("status") != "Success":
            seen.append(json.loads((await events.receive(timeout=5)).data))
        actions = [event["metadata"]["action"] for event in seen if event["type"] == "lifecycle"]
        assert "instance-exec" in actions
        ours = [event["metadata"] for event in seen if event["metadata"].get("id") == command.operation["id"]]
        assert ours[-1]["metadata"]["return"] == 0
        await events.close()


def test_pylxd_executes(host: Host, box: str) -> None:
    endpoint = "http+unix://" + str(host.directory / "unix.socket").replace("/", "%2F")
    client = pylxd.Client(endpoint=endpoint)
    instance = client.instances.get(box)
    result = instance.execute(["sh", "-c", "cat; echo to-stderr >&2; exit 6"], stdin_payload="payload\n")
    assert (result.exit_code, result.stdout, result.stderr) == (6, "payload\n", "to-stderr\n")
    assert instance.execute(["id", "-u"], user=1000).stdout == "1000\n"


async def test_a_killed_daemon_hangs_up_on_its_commands(hosts: Callable[..., Host]) -> None:
    host = hosts()
    host.prepare()
    host.import_image(images.built("busybox"), "busybox")
    host.create("c1", "busybox")
    async with executed(host, "c1", "sh", "-c", "read x; sleep 4713") as piped:  # noqa: SIM117
        async with executed(host, "c1", "sh", "-c", "echo on; sleep 4714", interactive=True) as typed:
            await typed.read_until("0", b"on")
            host.kill9()
            await asyncio.gather(*(socket.receive() for socket in (piped.sockets["1"], typed.sockets["0"])))
    host.start()
    assert await gone(host, "c1", "sleep 4714")
    # The end of its input lets it go on.
    assert processes(host, "c1", "sleep 4713")


async def test_a_daemon_that_stops_lets_go_of_its_clients_at_once(hosts: Callable[..., Host]) -> None:
    host = hosts()
    host.prepare()
    host.import_image(images.built("busybox"), "busybox")
    host.create("c1", "busybox")
    wanted = {"command": ["sh", "-c", "sleep 1; echo went on > /finished"], "wait-for-websocket": False}
    async with connected(host) as session, executed(host, "c1", "cat") as attached:
        events = await session.ws_connect("http://hutch/1.0/events")
        host.api.begin("POST", "/1.0/instances/c1/exec", wanted)
        listening = asyncio.ensure_future(_last(events))
        began = time.monotonic()
        await asyncio.to_thread(host.stop)
        assert time.monotonic() - began < 2
        await asyncio.gather(listening, _last(attached.sockets["1"]))
    host.start()
    await asyncio.sleep(1)
    assert host.exec("c1", "cat", "/finished").stdout == "went on\n"


async def _last(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass


async def test_a_bad_control_message_is_ignored(host: Host, box: str) -> None:
    async with executed(host, box, "cat") as command:
        for text in ("no json", "[]", '{"command":"window-resize"}', '{"command":"signal","signal":"x"}', "{}"):
            await command.sockets["control"].send_str(text)
        await command.control(command="signal", signal=4000)
        await command.send(b"still here")
        await command.end_input()
        assert await command.read("1") == b"still here"
        assert await command.code() == 0


async def test_an_empty_command_is_refused(host: Host, box: str) -> None:
    with pytest.raises(AssertionError, match="the command is missing"):
        async with begun(host, f"/1.0/instances/{box}/exec", {"command": []}):
            pass
