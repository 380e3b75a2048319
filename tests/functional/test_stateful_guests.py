"""What survives a stateful stop and start in guests of every kind: pools, layers, systemd's releases, watches, unlinked files."""

from collections.abc import Callable, Iterator

import pytest

from tests.hosts import ApiError, Host, wait_until

# Watches two folders by inotify and one by fanotify, holds a file that has no name any more, and tells what it sees.
PROGRAM = r"""
use POSIX;
mkdir $_ for ("/srv/odd one", "/srv/odd one/deep", "/srv/new");
open(GONE, "+>", "/srv/gone"); print GONE "still here\n"; GONE->flush(); unlink "/srv/gone";
($watch = syscall(294, 0)) >= 0 or die;
for $folder ("/srv/odd one/deep", "/srv/new") { my $path = $folder; syscall(254, $watch, $path, 0x100) > 0 or die }
($more = syscall(300, 0x200, 0)) >= 0 or die;
syscall(301, $more, 1, 0x08000100, -100, $path = "/usr/local/share") == 0 or die;
open(WATCH, "<&=", $watch); open(MORE, "<&=", $more);
open(SEEN, ">>", "/run/seen"); SEEN->autoflush(1); print SEEN "watching\n";
while (1) {
    $ready = ""; vec($ready, fileno(WATCH), 1) = 1; vec($ready, fileno(MORE), 1) = 1;
    next if select($ready, undef, undef, undef) < 1;
    if (vec($ready, fileno(MORE), 1)) { sysread(MORE, $event, 4096); print SEEN "fanotify\n"; next }
    sysread(WATCH, $event, 4096);
    while (length $event) { print SEEN unpack("Z*", substr($event, 16)), "\n"; substr($event, 0, 16 + unpack("x12I", $event)) = "" }
    seek(GONE, 0, 0); print SEEN <GONE>;
}
"""
POOLS = {"btrfs": {"size": "1GiB"}, "dir": {}}


@pytest.fixture(params=["overlay", "btrfs", "dir"])
def pool(request: pytest.FixtureRequest, host: Host) -> Iterator[str]:
    """A pool of each driver, by name."""
    if request.param == "overlay":
        yield "default"
        return
    host.call(
        "POST",
        "/1.0/storage-pools",
        {"name": request.param, "driver": request.param, "config": POOLS[request.param]},
    )
    yield request.param
    host.call("DELETE", f"/1.0/storage-pools/{request.param}")


def power(host: Host, name: str, action: str) -> None:
    host.call("PUT", f"/1.0/instances/{name}/state", {"action": action, "stateful": True, "timeout": 30})


def up(host: Host, name: str) -> None:
    done = ["systemctl", "is-system-running", "--wait"]
    wait_until(lambda: host.exec(name, *done, check=False).stdout == "running\n", 30, what="systemd is up")


def seen(host: Host, name: str) -> list[str]:
    return host.exec(name, "cat", "/run/seen", check=False).stdout.splitlines()


def test_watches_and_unlinked_files_survive_on_every_pool(
    host: Host, debian: str, pool: str, guest: Callable[..., str]
) -> None:
    devices = {"root": {"type": "disk", "path": "/", "pool": pool}}
    name = guest(debian, devices=devices, config={"migration.stateful": "true"}, start=False)
    # several layers below what the guest writes
    host.call("POST", f"/1.0/instances/{name}/snapshots", {"name": "one"})
    host.power(name, "start")
    up(host, name)
    host.call("POST", f"/1.0/instances/{name}/files?path=/root/watcher", PROGRAM.encode())
    host.exec(name, "systemd-run", "--quiet", "--unit=watcher", "perl", "/root/watcher")
    wait_until(lambda: seen(host, name) == ["watching"], what="the program watches")

    for number in ("1", "2"):
        power(host, name, "stop")
        power(host, name, "start")
        host.exec(name, "touch", f"/srv/odd one/deep/a{number}", f"/srv/new/b{number}")
        wait_until(lambda n=number: f"b{n}" in seen(host, name))  # type: ignore[misc]
        host.exec(name, "touch", f"/usr/local/share/c{number}")
        wait_until(lambda n=number: seen(host, name).count("fanotify") == int(n))  # type: ignore[misc]

    told = seen(host, name)
    assert [line for line in told if len(line) == 2] == ["a1", "b1", "a2", "b2"]
    assert told.count("still here") >= 2
    assert "new" in host.exec(name, "systemd-run", "--quiet", "--wait", "--pipe", "echo", "new").stdout


RING = r"""
my $parameters = "\0" x 120;
syscall(425, 8, $parameters) >= 0 or die;
open(READY, ">", "/run/ring"); sleep 600 while 1;
"""
SANDBOX = "PrivateDevices=yes\nProtectSystem=strict\nProtectHome=yes\nProtectControlGroups=yes\nProtectProc=invisible\n"


@pytest.mark.parametrize("release", ["debian", "debian13"])
def test_services_keep_their_sandboxes(
    host: Host, release: str, request: pytest.FixtureRequest, guest: Callable[..., str]
) -> None:
    name = guest(request.getfixturevalue(release), config={"migration.stateful": "true"})
    up(host, name)
    for unit in ("one", "two"):
        text = f"[Service]\nExecStart=sleep infinity\n{SANDBOX}"
        host.call("POST", f"/1.0/instances/{name}/files?path=/run/systemd/system/{unit}.service", text.encode())
    host.exec(name, "systemctl", "start", "one", "two")
    before = mount_namespaces(host, name)

    power(host, name, "stop")
    power(host, name, "start")

    assert mount_namespaces(host, name) == before >= 5
    for unit in ("one", "two"):
        pid = host.exec(name, "systemctl", "show", "-P", "MainPID", unit).stdout.strip()
        refused = host.exec(name, "nsenter", "-t", pid, "-m", "touch", "/usr/x", check=False)
        assert "Read-only file system" in refused.stderr
    host.exec(name, "systemctl", "restart", "one", "systemd-logind")


def mount_namespaces(host: Host, name: str) -> int:
    found = host.exec(name, "sh", "-c", "readlink /proc/[0-9]*/ns/mnt || :")
    return len(set(found.stdout.split()))


def test_what_stands_in_the_way_is_said_by_process(host: Host, debian: str, guest: Callable[..., str]) -> None:
    name = guest(debian, config={"migration.stateful": "true"})
    up(host, name)
    host.call("POST", f"/1.0/instances/{name}/files?path=/root/ring", RING.encode())
    host.exec(name, "systemd-run", "--quiet", "perl", "/root/ring")
    wait_until(lambda: host.exec(name, "test", "-e", "/run/ring", check=False).returncode == 0, what="it has its ring")

    with pytest.raises(ApiError, match=r"perl \(process \d+ of the host\) uses io_uring"):
        power(host, name, "stop")


def test_debian_13_goes_on_and_its_systemd_rests(host: Host, debian13: str, guest: Callable[..., str]) -> None:
    name = guest(debian13, config={"migration.stateful": "true"})
    up(host, name)
    address = host.address_of(name), host.address_of(name, "inet6")

    for _ in range(2):
        power(host, name, "stop")
        power(host, name, "start")
        assert "new" in host.exec(name, "systemd-run", "--quiet", "--wait", "--pipe", "echo", "new").stdout

    assert (host.address_of(name), host.address_of(name, "inet6")) == address
    assert host.exec(name, "systemctl", "is-system-running").stdout == "running\n"
    # memory.pressure is written anew: otherwise each program that watches it would run in circles
    assert _cpu_while_idle(host, name) < 0.5


def _cpu_while_idle(host: Host, name: str) -> float:
    """The share of the next second that the guest's systemd spends on the CPU."""
    command = "cut -d' ' -f14,15 /proc/1/stat; sleep 1; cut -d' ' -f14,15 /proc/1/stat"
    numbers = [int(word) for word in host.exec(name, "sh", "-c", command).stdout.split()]
    return (sum(numbers[2:]) - sum(numbers[:2])) / 100


def test_what_the_guest_set_in_its_own_control_groups_stays(host: Host, debian: str, guest: Callable[..., str]) -> None:
    name = guest(debian, config={"migration.stateful": "true"})
    up(host, name)
    host.exec(name, "sh", "-c", "mkdir -p /sys/fs/cgroup/mine/below && echo 7 > /sys/fs/cgroup/mine/cgroup.max.depth")
    host.exec(name, "chown", "-R", "daemon", "/sys/fs/cgroup/mine/below")

    power(host, name, "stop")
    power(host, name, "start")

    assert host.exec(name, "cat", "/sys/fs/cgroup/mine/cgroup.max.depth").stdout == "7\n"
    assert host.exec(name, "stat", "-c", "%U", "/sys/fs/cgroup/mine/below/cgroup.procs").stdout == "daemon\n"
    host.exec(name, "sh", "-c", "echo 8 > /sys/fs/cgroup/mine/cgroup.max.depth")
