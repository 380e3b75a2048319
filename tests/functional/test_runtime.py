"""Guests by lxc-start: their life and death, seen by a daemon that lives, dies, or was dead."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hutch.errors import Conflict, Invalid, NotFound, ToolFailed, Unsupported
from hutch.runtime.base import Running
from hutch.runtime.enter import Errand
from hutch.runtime.plan import Link, Mount
from tests.functional.runtime import ENVIRONMENT, Bench, bench, eventually, image, new_root

pytestmark = pytest.mark.root


@pytest.fixture
async def made() -> AsyncIterator[Bench]:
    async with bench() as one:
        yield one


@pytest.fixture(scope="module")
def busybox() -> Path:
    return image("busybox") / "rootfs"


@pytest.fixture(params=["debian/12", "debian/13"])
def debian(request: pytest.FixtureRequest) -> Path:
    return new_root(request.param)


def alive(pid: int) -> bool:
    """Whether the process runs; what init has not reaped yet does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def groups(made: Bench) -> list[str]:
    found = subprocess.run(
        ["find", "/sys/fs/cgroup", "-path", f"*hutch-{made.identity}/*_*", "-type", "d"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.split()


async def test_a_forced_stop_is_seen_at_once_and_leaves_nothing(made: Bench, busybox: Path) -> None:
    plan = made.plan("a", busybox)
    running = await made.driver.start(plan)
    assert made.driver.running("default", "a") == running
    with pytest.raises(Conflict):
        await made.driver.start(plan)
    began = time.monotonic()
    await made.driver.kill("default", "a")
    assert time.monotonic() - began < 1
    assert made.ended == [("default", "a", "stop")]
    assert made.driver.running("default", "a") is None
    assert not alive(running.monitor)
    assert groups(made) == []
    assert not (plan.directory / "runtime.json").exists()
    assert not (plan.directory / "ended").exists()


@pytest.mark.parametrize(("how", "target"), [("shutdown", "stop"), ("reboot", "reboot")])
async def test_busybox_ends_when_asked(made: Bench, busybox: Path, how: str, target: str) -> None:
    await made.driver.start(made.plan("a", busybox))
    assert not await made.driver.wait("default", "a", 0.01)
    await getattr(made.driver, how)("default", "a")
    assert await made.driver.wait("default", "a", 15)
    assert made.ended == [("default", "a", target)]


async def test_a_stop_right_after_the_start_is_not_lost(made: Bench, debian: Path) -> None:
    """systemd does not listen in its first milliseconds."""
    await made.driver.start(made.plan("a", debian))
    await made.driver.shutdown("default", "a")
    assert await made.driver.wait("default", "a", 20)
    assert made.ended == [("default", "a", "stop")]


async def test_a_reboot_from_inside_does_not_start_the_guest_behind_the_daemons_back(
    made: Bench, busybox: Path
) -> None:
    await made.driver.start(made.plan("a", busybox))
    await made.run("a", "reboot", "-f")
    assert await made.driver.wait("default", "a", 5)
    assert made.ended == [("default", "a", "reboot")]
    assert groups(made) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"init": ["/sbin/nothing"]}, "/sbin/nothing"),
        ({"mounts": [Mount("/nothing/here", "mnt/x")]}, "/nothing/here"),
        ({"links": [Link("eth0", "nolink9", "eth0")]}, "nolink9"),
    ],
)
async def test_a_failed_start_says_why_and_leaves_nothing(
    made: Bench, busybox: Path, wrong: dict[str, object], said: str
) -> None:
    with pytest.raises(ToolFailed, match=said):
        await made.driver.start(made.plan("a", busybox, **wrong))
    assert made.driver.running("default", "a") is None
    assert groups(made) == []
    assert made.ended == []
    await made.driver.start(made.plan("a", busybox))


async def test_a_guest_whose_init_ends_at_once_is_seen_to_have_ended(made: Bench, busybox: Path) -> None:
    for _ in range(5):
        with contextlib.suppress(ToolFailed):
            await made.driver.start(made.plan("a", busybox, init=["/bin/true"]))
        assert await made.driver.wait("default", "a", 5)
        assert groups(made) == []


async def test_a_later_daemon_finds_the_guests_and_what_they_did_without_it(made: Bench, busybox: Path) -> None:
    plans = {name: made.plan(name, busybox) for name in ("runs", "rebooted", "crashed", "never")}
    started = {name: await made.driver.start(plans[name]) for name in ("runs", "rebooted", "crashed")}
    await made.driver.freeze("default", "runs")
    await made.driver.close()
    os.kill(started["crashed"].monitor, signal.SIGKILL)
    os.kill(started["rebooted"].init, signal.SIGTERM)
    await eventually(lambda: not alive(started["rebooted"].monitor))
    made.driver = await made.new_driver()
    found = [await made.driver.adopt("default", name, plan.directory) for name, plan in plans.items()]
    assert isinstance(found[0], Running)
    assert (found[0].init, found[0].monitor) == (started["runs"].init, started["runs"].monitor)
    assert found[0].frozen
    assert found[1:] == ["reboot", "stop", None]
    assert made.ended == []
    await made.driver.unfreeze("default", "runs")
    assert (await made.run("runs", "true"))[0] == 0
    assert [path for path in groups(made) if "runs" not in path] == []


async def test_a_daemon_killed_during_a_start_finds_the_guest_all_the_same(made: Bench, busybox: Path) -> None:
    plan = made.plan("a", busybox)
    running = await made.driver.start(plan)
    await made.driver.close()
    # As it is between lxc-start's end and the record's update.
    made.driver = await made.new_driver()
    record = plan.directory / "runtime.json"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    record.write_text(f'{{"boot":"{boot}"}}')
    assert await made.driver.adopt("default", "a", plan.directory) == running


async def test_a_start_that_was_under_way_when_the_daemon_died_is_waited_for(made: Bench, busybox: Path) -> None:
    plan = made.plan("a", busybox)
    task = asyncio.ensure_future(made.driver.start(plan))
    await eventually(lambda: (plan.directory / "runtime.json").exists())
    later = await made.new_driver()
    found = await later.adopt("default", "a", plan.directory)
    running = await task
    assert isinstance(found, Running)
    assert found.init == running.init
    await later.close()


async def test_records_of_another_boot_mean_nothing(made: Bench, busybox: Path) -> None:
    plan = made.plan("a", busybox)
    (plan.directory / "runtime.json").write_text(
        '{"boot":"x","init":1,"init_started":1,"monitor":1,"monitor_started":1}'
    )
    assert await made.driver.adopt("default", "a", plan.directory) is None


async def test_the_monitors_crash_ends_the_guest(made: Bench, busybox: Path) -> None:
    running = await made.driver.start(made.plan("a", busybox))
    os.kill(running.monitor, signal.SIGKILL)
    assert await made.driver.wait("default", "a", 5)
    assert not alive(running.init)
    assert made.ended == [("default", "a", "stop")]
    assert groups(made) == []


@pytest.mark.slow
async def test_a_monitor_that_hangs_does_not_keep_the_guest(made: Bench, busybox: Path) -> None:
    running = await made.driver.start(made.plan("a", busybox))
    os.kill(running.monitor, signal.SIGSTOP)
    await made.driver.kill("default", "a")
    assert not alive(running.monitor)
    assert made.ended == [("default", "a", "stop")]
    assert groups(made) == []


async def test_a_cancelled_start_leaves_nothing(made: Bench, busybox: Path) -> None:
    task = asyncio.ensure_future(made.driver.start(made.plan("a", busybox)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made.driver.running("default", "a") is None
    assert groups(made) == []


async def test_a_frozen_guest_stands_still_and_can_be_killed(made: Bench, busybox: Path) -> None:
    await made.driver.start(made.plan("a", busybox))
    await made.run("a", "sh", "-c", "(while :; do echo >>/run/ticks; sleep 0.02; done) >/dev/null 2>&1 &")
    ticks = Path(f"/proc/{made.driver.running('default', 'a').init}/root/run/ticks")  # type: ignore[union-attr]
    await eventually(lambda: ticks.exists() and ticks.stat().st_size > 2)
    await made.driver.freeze("default", "a")
    size = ticks.stat().st_size
    await asyncio.sleep(0.2)
    assert ticks.stat().st_size == size
    await made.driver.unfreeze("default", "a")
    await eventually(lambda: ticks.stat().st_size > size)
    await made.driver.freeze("default", "a")
    with pytest.raises(Conflict, match="frozen"):
        await made.run("a", "true")
    await made.driver.kill("default", "a")
    assert made.ended == [("default", "a", "stop")]


async def test_limits_hold_from_the_start_and_change_while_it_runs(made: Bench, busybox: Path) -> None:
    limits = {"memory.max": str(64 << 20), "memory.swap.max": "0", "pids.max": "20", "cpu.max": "50000 100000"}
    await made.driver.start(made.plan("a", busybox, limits=limits))
    code, _ = await made.run("a", "sh", "-c", "head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null")
    assert code == 137
    code, said = await made.run("a", "sh", "-c", "for i in $(seq 40); do sleep 3 & done")
    assert code != 0
    assert "fork" in said
    await made.driver.set_limits("default", "a", {"memory.max": str(512 << 20), "pids.max": "max"})
    code, _ = await made.run("a", "sh", "-c", "head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null")
    assert code == 0
    usage = await asyncio.to_thread(made.driver.usage, "default", "a")
    assert usage.memory_peak > 64 << 20
    assert usage.cpu > 0
    assert usage.processes >= 1
    with pytest.raises(Invalid, match="pids"):
        await made.driver.set_limits("default", "a", {"pids.max": "many"})


async def test_a_limit_that_this_host_lacks_is_refused_before_anything_is_made(made: Bench, busybox: Path) -> None:
    with pytest.raises(Unsupported, match=r"nonsense\.max"):
        await made.driver.start(made.plan("a", busybox, limits={"nonsense.max": "1"}))
    assert groups(made) == []


async def test_twenty_guests_start_at_once_and_are_kept_apart(made: Bench, busybox: Path) -> None:
    names = [f"g{number}" for number in range(20)]
    await asyncio.gather(*(made.driver.start(made.plan(name, busybox)) for name in names))
    said = await asyncio.gather(*(made.run(name, "readlink", "/proc/self/ns/uts") for name in names))
    assert len({text for _, text in said}) == 20
    await asyncio.gather(*(made.driver.kill("default", name) for name in names))
    assert sorted(name for _, name, _ in made.ended) == sorted(names)
    assert groups(made) == []


async def test_same_names_in_two_daemons_do_not_meet(made: Bench, busybox: Path) -> None:
    async with bench() as other:
        # Two daemons in one network namespace would be the harder case for liblxc's abstract sockets.
        ours = await made.driver.start(made.plan("same", busybox))
        theirs = await other.driver.start(other.plan("same", busybox))
        assert ours.init != theirs.init
        await made.driver.kill("default", "same")
        assert other.driver.running("default", "same") == theirs
        assert (await other.run("same", "hostname"))[0] == 0


async def test_links_move_in_and_come_back(made: Bench, busybox: Path) -> None:
    subprocess.run(["ip", "link", "add", "vhost", "type", "veth", "peer", "name", "vguest"], check=True)
    link = Link("eth0", "vguest", "eth0", hwaddr="02:00:00:00:00:07", mtu=1400)
    running = await made.driver.start(made.plan("a", busybox, links=[link]))
    _, shown = await made.run("a", "ip", "link", "show", "eth0")
    assert "02:00:00:00:00:07" in shown
    assert "mtu 1400" in shown
    await made.driver.kill("default", "a")
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    assert "vguest" in links
    # After a crash of the monitor nobody moves it back: the kernel removes it with the namespace.
    running = await made.driver.start(made.plan("a", busybox, links=[link]))
    os.kill(running.monitor, signal.SIGKILL)
    assert await made.driver.wait("default", "a", 5)
    subprocess.run(["ip", "link", "del", "vhost"], check=False)


async def test_a_privileged_guest_has_the_devices_it_may_have_and_no_more(made: Bench) -> None:
    await made.driver.start(made.plan("a", new_root("busybox"), idmap=[], privileged=True))
    assert (await made.run("a", "sh", "-c", "head -c 1 /dev/urandom >/dev/null"))[0] == 0
    code, said = await made.run("a", "sh", "-c", "mknod /tmp/m c 1 1 && head -c 1 /tmp/m")
    assert code != 0
    assert "not permitted" in said
    bounding = next(
        line for line in (await made.run("a", "cat", "/proc/self/status"))[1].splitlines() if "CapBnd" in line
    )
    assert int(bounding.split()[1], 16) & (1 << 16) == 0, "CAP_SYS_MODULE"


async def test_what_is_asked_of_a_guest_that_does_not_run(made: Bench) -> None:
    with pytest.raises(NotFound):
        await made.driver.freeze("default", "nobody")
    with pytest.raises(NotFound):
        await made.run("nobody", "true")
    await made.driver.kill("default", "nobody")
    assert await made.driver.wait("default", "nobody", 1)


async def test_debian_runs_with_no_failed_unit(made: Bench, debian: Path) -> None:
    plan = made.plan("d", debian)
    plan.console = await made.consoles.open("default", "d", plan.directory, plan.idmap)
    began = time.monotonic()
    await made.driver.start(plan)
    state = ""
    while state not in ("running", "degraded"):
        assert time.monotonic() - began < 30
        state = (await made.run("d", "systemctl", "is-system-running", "--wait"))[1].strip()
    failed = (await made.run("d", "systemctl", "--failed", "--no-legend"))[1]
    assert (state, failed) == ("running", "")
    assert time.monotonic() - began < 10
    assert (await made.run("d", "systemd-run", "--wait", "true"))[0] == 0, "a new unit starts"
    assert (await made.run("d", "stat", "-fc", "%T", "/sys/fs/cgroup"))[1].strip() == "cgroup2fs"
    await made.run("d", "systemctl", "--no-block", "reboot")
    assert await made.driver.wait("default", "d", 20)
    await made.driver.start(plan)
    await eventually(
        lambda: b"login:" in (plan.directory / "console.log").read_bytes().rpartition(b"Rebooting.")[2], 20
    )
    await made.driver.shutdown("default", "d")
    assert await made.driver.wait("default", "d", 20)
    assert made.ended == [("default", "d", "reboot"), ("default", "d", "stop")]


async def test_a_command_gets_a_session_limits_and_nothing_of_the_host(made: Bench, busybox: Path) -> None:
    running = await made.driver.start(made.plan("a", busybox))
    _, out = await made.run("a", "sh", "-c", "ps -o pid,sid,comm; echo $$; ls /proc/self/fd; pwd; env", cwd="/tmp")
    lines = out.splitlines()
    sessions = {line.split()[2]: line.split()[1] for line in lines if len(line.split()) == 3}
    assert sessions["sh"] == lines[lines.index("0") - 1] != "0"
    assert [word for word in lines if word.isdecimal()][1:] == ["0", "1", "2", "3"], "3 is the folder that ls reads"
    assert "/tmp" in lines
    assert sorted(word for word in lines if word.partition("=")[0] in ENVIRONMENT) == sorted(
        f"{key}={value}" for key, value in ENVIRONMENT.items()
    )
    status = (await made.run("a", "cat", "/proc/self/status"))[1]
    init = await asyncio.to_thread(Path(f"/proc/{running.init}/status").read_text)
    for key in ("Seccomp", "NoNewPrivs", "CapBnd", "SigIgn", "SigBlk"):
        same = [next(line for line in text.splitlines() if line.startswith(f"{key}:")) for text in (status, init)]
        assert same[0] == same[1]
    assert (await made.run("a", "id", "-u", user=1000))[1].strip() == "1000"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["no-such-command"], 127),
        (["/etc/passwd"], 126),
        (["/nowhere/true"], 127),
    ],
)
async def test_exit_codes_come_through(made: Bench, busybox: Path, command: list[str], code: int) -> None:
    await made.driver.start(made.plan("a", busybox))
    assert (await made.run("a", *command))[0] == code


async def test_a_terminal_is_the_guests_own(made: Bench, busybox: Path) -> None:
    await made.driver.start(made.plan("a", busybox))
    script = "tty; stty size; trap 'stty size; exit 5' WINCH; echo ready >/dev/tty; while :; do sleep 0.05; done"
    errand = Errand(["sh", "-c", script], ENVIRONMENT, 0, 0, "/")
    session = await made.driver.execute("default", "a", errand, size=(100, 30))
    assert session.master is not None
    seen = await _until(session.master, b"ready")
    assert seen.startswith(b"/dev/pts/")
    assert b"30 100" in seen
    session.resize(90, 20)
    assert b"20 90" in await _until(session.master, b"20 90")
    assert await session.wait() == 5
    session.close()


async def _until(master: int, word: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(5):
        while word not in seen:
            try:
                seen += os.read(master, 4096)
            except BlockingIOError:
                await asyncio.sleep(0.01)
    return seen


async def test_a_signal_right_after_the_start_is_not_lost(made: Bench, busybox: Path) -> None:
    await made.driver.start(made.plan("a", busybox))
    with Path(os.devnull).open("r+") as nothing:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL) * 5:
            errand = Errand(["sleep", "30"], ENVIRONMENT, 0, 0, "/")
            session = await made.driver.execute("default", "a", errand, stdio=[nothing.fileno()] * 3)
            assert session.send(number, group=True)
            async with asyncio.timeout(5):
                assert await session.wait() == 128 + number
            assert not session.send(number)
            session.close()


async def test_many_commands_at_once(made: Bench, busybox: Path) -> None:
    await made.driver.start(made.plan("a", busybox))
    said = await asyncio.gather(*(made.run("a", "sh", "-c", f"sleep 0.2; echo {number}") for number in range(64)))
    assert [text.strip() for _, text in said] == [str(number) for number in range(64)]
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    await asyncio.gather(*(made.run("a", "true") for _ in range(20)))
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


async def test_commands_work_again_after_the_way_in_was_killed(made: Bench, busybox: Path) -> None:
    await made.driver.start(made.plan("a", busybox))
    assert (await made.run("a", "true"))[0] == 0
    assert made.driver._door._process is not None
    os.kill(made.driver._door._process.pid, signal.SIGKILL)
    await made.driver._door._process.wait()
    await asyncio.sleep(0.05)
    assert (await made.run("a", "true"))[0] == 0


async def test_a_guests_false_ptmx_is_refused_without_waiting(made: Bench) -> None:
    await made.driver.start(made.plan("a", new_root("busybox")))
    await made.run("a", "sh", "-c", "umount /dev/ptmx; rm -f /dev/ptmx; mkfifo /dev/ptmx")
    errand = Errand(["true"], ENVIRONMENT, 0, 0, "/")
    with pytest.raises(ToolFailed, match="ptmx"):
        async with asyncio.timeout(5):
            await made.driver.execute("default", "a", errand, size=(80, 24))


async def test_the_interpreter_is_out_of_a_privileged_guests_reach(made: Bench, busybox: Path) -> None:
    await made.driver.start(made.plan("a", busybox))
    await made.run("a", "true")
    assert made.driver._door._process is not None
    pid = made.driver._door._process.pid
    program = Path(f"/proc/{pid}/exe").readlink()
    mounts = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    options = [line.split()[5] for line in mounts if line.split()[4] == str(program)]
    assert options
    assert "ro" in options[-1].split(",")
