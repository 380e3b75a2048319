"""Stateful stop and start: a Debian guest's memory and processes outlive its being stopped, and nothing loses them."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.functional.streams import begun
from tests.hosts import ApiError, Host, wait_until

COUNT = "i=0; while :; do i=$((i+1)); echo $i > /run/count; sleep 0.05; done"
DROP_IN = "/etc/systemd/system/service.d/zzz-hutch-stateful.conf"


def _power(host: Host, name: str, action: str, *, stateful: bool = False) -> None:
    wanted = {"action": action, "stateful": stateful, "timeout": 30}
    host.call("PUT", f"/1.0/instances/{name}/state", wanted)


def _up(host: Host, name: str) -> None:
    done = ["systemctl", "is-system-running", "--wait"]
    wait_until(lambda: host.exec(name, *done, check=False).stdout == "running\n", 30, what="systemd is up")


def _set(host: Host, name: str, **config: str) -> None:
    host.call(
        "PATCH", f"/1.0/instances/{name}", {"config": {key.replace("_", "."): value for key, value in config.items()}}
    )


def _stateful(host: Host, name: str) -> bool:
    found: bool = host.get(f"/1.0/instances/{name}")["stateful"]
    return found


def _count(host: Host, name: str) -> int:
    return int(wait_until(lambda: host.exec(name, "cat", "/run/count").stdout.strip(), 5))


def _pids(host: Host, name: str) -> dict[str, str]:
    """The long-lived processes by what they are."""
    lines = host.exec(name, "ps", "--no-headers", "-axo", "pid,comm").stdout.splitlines()
    found = {name: pid for pid, name in (line.split() for line in lines)}
    return {key: pid for key, pid in found.items() if key.startswith(("systemd", "dbus", "agetty"))}


def _state(host: Host, name: str) -> Path:
    return host.directory / "instances/default" / name / "state"


@pytest.fixture(scope="module")
def guest(host: Host, debian: str) -> Iterator[str]:
    config = {"migration.stateful": "true", "limits.memory": "400MiB", "limits.processes": "300"}
    host.create("keeper", debian, config=config)
    _up(host, "keeper")
    host.address_of("keeper")
    yield "keeper"
    host.delete("keeper")


@pytest.fixture
def counting(host: Host, guest: str) -> str:
    """The guest, up, with its counter."""
    if host.get(f"/1.0/instances/{guest}")["status"] != "Running":
        host.power(guest, "start")
    _up(host, guest)
    if host.exec(guest, "systemctl", "is-active", "count", check=False).stdout != "active\n":
        host.exec(guest, "systemd-run", "--quiet", "--unit=count", "sh", "-c", COUNT)
    return guest


def test_everything_goes_on_where_it_was(host: Host, counting: str) -> None:
    before, address, links = (
        _pids(host, counting),
        host.address_of(counting),
        host.exec(counting, "cat", "/sys/class/net/eth0/address"),
    )
    count, boot = _count(host, counting), host.exec(counting, "cat", "/proc/sys/kernel/random/boot_id").stdout
    _power(host, counting, "stop", stateful=True)
    assert host.get(f"/1.0/instances/{counting}")["status"] == "Stopped"
    assert _stateful(host, counting)
    host.restart()
    _power(host, counting, "start", stateful=True)
    assert not _stateful(host, counting)
    assert not _state(host, counting).exists()
    after = _count(host, counting)
    assert count <= after < count + 400
    assert wait_until(lambda: _count(host, counting) > after, 5)
    assert _pids(host, counting) == before
    assert host.exec(counting, "cat", "/proc/sys/kernel/random/boot_id").stdout == boot
    assert host.address_of(counting) == address
    assert host.exec(counting, "cat", "/sys/class/net/eth0/address").stdout == links.stdout
    assert host.run("ping", "-c1", "-W5", address, check=False).returncode == 0


LISTEN = """\
use Socket;
socket(S, AF_UNIX, SOCK_STREAM, 0);
connect(S, sockaddr_un('/dev/lxd/sock')) or die;
syswrite S, "GET /1.0/events HTTP/1.1\\r\\nHost: guest\\r\\n\\r\\n";
sysread S, $_, 4096;
open F, '>/run/listening';
while (sysread S, $_, 4096) {}
sleep 600 while 1;
"""


def test_its_own_api_goes_with_it_though_it_listened(host: Host, counting: str) -> None:
    host.exec(counting, "sh", "-c", f"cat > /root/listen << 'END'\n{LISTEN}END")
    host.exec(counting, "systemd-run", "--quiet", "--unit=listen", "perl", "/root/listen")
    wait_until(lambda: host.exec(counting, "test", "-e", "/run/listening", check=False).returncode == 0, 5)
    _power(host, counting, "stop", stateful=True)
    _power(host, counting, "start", stateful=True)
    assert host.guest_api(counting, "/1.0")[0][0] == 200
    host.restart()
    assert host.guest_api(counting, "/1.0")[0][0] == 200
    assert host.exec(counting, "systemctl", "is-active", "listen").stdout == "active\n"
    host.exec(counting, "systemctl", "stop", "listen")


def test_new_units_start_limits_hold_and_the_daemon_finds_it_again(host: Host, guest: str) -> None:
    assert "new" in host.exec(guest, "systemd-run", "--quiet", "--wait", "--pipe", "echo", "new").stdout
    assert host.exec(guest, "systemctl", "is-system-running").stdout == "running\n"
    assert host.exec(guest, "grep", "MemTotal", "/proc/meminfo").stdout.split()[1] == str(400 * 1024)
    groups = Path(f"/proc/{host.state(guest)['pid']}/cgroup").read_text()
    own = next(line.split(":")[2] for line in groups.splitlines() if ":pids:" in line or line.startswith("0:"))
    files = [Path(f"/sys/fs/cgroup{mount}{own.removesuffix('/init.scope')}/pids.max") for mount in ("", "/pids")]
    assert [path.read_text() for path in files if path.exists()] == ["300\n"]
    host.kill9()
    host.start()
    assert host.state(guest)["status"] == "Running"
    assert "again" in host.exec(guest, "systemd-run", "--quiet", "--wait", "--pipe", "echo", "again").stdout


async def test_the_console_is_there(host: Host, guest: str) -> None:
    async with begun(
        host, f"/1.0/instances/{guest}/console", {"type": "console", "width": 80, "height": 25}
    ) as attached:
        await attached.send(b"\r")
        await attached.read_until("0", b"login: ")


def test_a_failed_dump_leaves_it_running_and_says_why(host: Host, counting: str) -> None:
    for unit, line, why in (
        ("vsock", "exec perl -e 'socket(S, 40, 1, 0) || die; sleep 600 while 1'", "goes on running: perl .*ocket"),
        ("nested", "exec unshare --pid --fork sleep 600", "sleep .* has a pid namespace of its own"),
    ):
        host.exec(counting, "systemd-run", "--quiet", f"--unit={unit}", "sh", "-c", line)
        wait_until(lambda: "sleep 600" in host.exec(counting, "ps", "-axo", "args").stdout, 5)
        with pytest.raises(ApiError, match=why):
            _power(host, counting, "stop", stateful=True)
        host.exec(counting, "systemctl", "kill", "--signal=KILL", unit)
        host.exec(counting, "systemctl", "reset-failed")
        now = _count(host, counting)
        assert wait_until(lambda now=now: _count(host, counting) > now, 5)  # type: ignore[misc]
        assert host.run("ping", "-c1", "-W5", host.address_of(counting), check=False).returncode == 0
        assert not _stateful(host, counting)
        assert not _state(host, counting).exists()


def test_a_failed_restore_loses_nothing(host: Host, counting: str) -> None:
    count = _count(host, counting)
    _power(host, counting, "stop", stateful=True)
    image = next(_state(host, counting).glob("core-1.img"))
    image.rename(image.with_suffix(".away"))
    with pytest.raises(ApiError, match="which is kept"):
        _power(host, counting, "start", stateful=True)
    assert host.get(f"/1.0/instances/{counting}")["status"] == "Stopped"
    assert _stateful(host, counting)
    image.with_suffix(".away").rename(image)
    _power(host, counting, "start", stateful=True)
    assert count <= _count(host, counting) < count + 400


def test_a_plain_stop_and_restart_work_after_it(host: Host, guest: str) -> None:
    boot = host.exec(guest, "cat", "/proc/sys/kernel/random/boot_id").stdout
    host.power(guest, "restart")
    _up(host, guest)
    assert host.exec(guest, "cat", "/proc/sys/kernel/random/boot_id").stdout != boot


def test_a_start_without_the_state_is_a_choice(host: Host, guest: str) -> None:
    boot = host.exec(guest, "cat", "/proc/sys/kernel/random/boot_id").stdout
    host.hutch("stop", guest, "--stateful")
    host.hutch("start", guest)
    assert host.exec(guest, "cat", "/proc/sys/kernel/random/boot_id").stdout == boot
    host.lxc("stop", guest, "--stateful")
    host.lxc("start", guest, "--stateless")
    _up(host, guest)
    assert host.exec(guest, "cat", "/proc/sys/kernel/random/boot_id").stdout != boot
    assert not _stateful(host, guest)
    host.power(guest, "stop")
    with pytest.raises(ApiError, match="no existing state"):
        _power(host, guest, "start", stateful=True)
    host.power(guest, "start")
    _up(host, guest)


@pytest.mark.parametrize("delay", [0.1, 0.25])
@pytest.mark.parametrize("action", ["stop", "start"])
def test_a_daemon_killed_meanwhile_loses_nothing(host: Host, counting: str, action: str, delay: float) -> None:
    """CRIU goes on alone: the next daemon finds the guest running, or stopped with its state."""
    count = _count(host, counting)
    if action == "start":
        _power(host, counting, "stop", stateful=True)
    host.api.begin("PUT", f"/1.0/instances/{counting}/state", {"action": action, "stateful": True})
    time.sleep(delay)
    host.kill9()
    host.start()

    def settled() -> bool:
        """Whether the guest runs and goes on running, or has its state."""
        if _stateful(host, counting):
            return True
        first = host.exec(counting, "cat", "/run/count", check=False).stdout
        return first != "" and wait_until(lambda: host.exec(counting, "cat", "/run/count").stdout != first, 5)

    def ask() -> bool:
        with suppress(ApiError, AssertionError):
            return settled()
        return False

    wait_until(ask, 15, every=0.3, what="the guest runs or has its state")
    if _stateful(host, counting):
        # A start that had been asked for may be repeated by the new daemon itself.
        with suppress(ApiError):
            _power(host, counting, "start", stateful=True)
    assert not _stateful(host, counting)
    assert count <= _count(host, counting) < count + 600
    assert "new" in host.exec(counting, "systemd-run", "--quiet", "--wait", "--pipe", "echo", "new").stdout


def test_going_back_to_a_snapshot_drops_the_state(host: Host, counting: str) -> None:
    host.call("POST", f"/1.0/instances/{counting}/snapshots", {"name": "one"})
    _power(host, counting, "stop", stateful=True)
    host.call("PUT", f"/1.0/instances/{counting}", {"restore": "one"})
    assert not _stateful(host, counting)
    assert not _state(host, counting).exists()


def test_without_the_key_it_is_refused_and_the_guest_is_as_it_was(host: Host, counting: str) -> None:
    assert "ProtectHostname=no" in host.exec(counting, "cat", DROP_IN).stdout
    _set(host, counting, migration_stateful="false")
    with pytest.raises(ApiError, match=r"requires migration.stateful to be set to true"):
        _power(host, counting, "stop", stateful=True)
    assert host.state(counting)["status"] == "Running"
    host.power(counting, "restart")
    assert host.exec(counting, "test", "-e", str(Path(DROP_IN).parent), check=False).returncode == 1
    _set(host, counting, migration_stateful="true")
    _up(host, counting)
    with pytest.raises(ApiError, match=r"of its own.*restart with migration.stateful"):
        _power(host, counting, "stop", stateful=True)
