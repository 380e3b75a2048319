"""What keeps guests apart from the host and from each other: id maps, system calls, protection, raw settings."""

import ctypes
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.hosts import ApiError, Host

Guest = Callable[..., str]
ISOLATED = {"security.idmap.isolated": "true"}


def uid_map(host: Host, name: str) -> list[list[int]]:
    text = Path(f"/proc/{host.state(name)['pid']}/uid_map").read_text()
    return [list(map(int, line.split())) for line in text.splitlines()]


def test_isolated_guests_have_ids_of_their_own(host: Host, guest: Guest) -> None:
    one, two, shared = guest(config=ISOLATED), guest(config={**ISOLATED, "security.idmap.size": "70000"}), guest()
    maps = [uid_map(host, each)[0] for each in (one, two, shared)]
    assert [(first, count) for first, _, count in maps] == [(0, 65536), (0, 70000), (0, 1_000_000_000)]
    ranges = sorted((outside, count) for _, outside, count in maps)
    assert all(first + count <= second for (first, count), (second, _) in pairwise(ranges))

    config = host.get(f"/1.0/instances/{one}")["config"]
    assert config["volatile.idmap.base"] == str(maps[0][1])
    assert json.loads(config["volatile.idmap.current"])[0]["Hostid"] == maps[0][1]
    host.exec(one, "sh", "-c", "echo mine > /root/note; chown 1000:1000 /root/note")
    host.power(one, "restart", force=True)
    assert uid_map(host, one)[0] == maps[0]
    assert host.exec(one, "stat", "-c", "%u %g", "/root/note").stdout == "1000 1000\n"


def test_a_copy_of_an_isolated_guest_gets_other_ids(host: Host, guest: Guest) -> None:
    name = guest(config=ISOLATED)
    source = {"type": "copy", "source": name}
    host.call("POST", "/1.0/instances", {"name": "isolated-twin", "source": source})
    host.power("isolated-twin", "start")
    assert uid_map(host, name)[0][1] != uid_map(host, "isolated-twin")[0][1]
    host.delete("isolated-twin")


def test_chosen_ids_that_another_guest_has_are_refused(host: Host, guest: Guest) -> None:
    base = {**ISOLATED, "security.idmap.base": "3000000000"}
    name = guest(config=base)
    assert uid_map(host, name)[0] == [0, 3_000_000_000, 65536]
    with pytest.raises(ApiError, match=f"also the instance {name}'s"):
        guest(config={**base, "security.idmap.base": "3000000100"})


def test_an_id_of_the_host_can_be_given_to_a_guest(host: Host, guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(path.stat().st_mode | 0o011)
    disk = {"type": "disk", "source": str(tmp_path), "path": "/mnt"}
    name = guest(config={"raw.idmap": "both 1234 1000"}, devices={"shared": disk})
    host.run("chown", "1234:1234", str(tmp_path / "file"))
    assert host.exec(name, "stat", "-c", "%u %g", "/mnt/file").stdout == "1000 1000\n"
    with pytest.raises(ApiError, match="cannot be changed while the instance is running"):
        host.call("PATCH", f"/1.0/instances/{name}", {"config": {"raw.idmap": "both 1 1"}})


def test_a_denied_system_call_fails_also_for_commands(host: Host, guest: Guest) -> None:
    name = guest(config={"security.syscalls.deny": "mkdir errno 13\nmkdirat errno 13"})
    refused = host.exec(name, "mkdir", "/root/x", check=False)
    assert "Permission denied" in refused.stderr
    status = Path(f"/proc/{host.state(name)['pid']}/status").read_text()
    assert "Seccomp:\t2" in status


def test_without_the_usual_rules_there_is_no_filter(host: Host, guest: Guest) -> None:
    name = guest(config={"security.syscalls.deny_default": "false"})
    assert "Seccomp:\t0" in host.exec(name, "cat", "/proc/1/status").stdout
    assert "Seccomp:\t0" in host.exec(name, "cat", "/proc/self/status").stdout


def test_only_listed_system_calls_are_allowed(host: Host, guest: Guest) -> None:
    names = [call for call in _native_calls() if call not in ("mkdir", "mkdirat")]
    name = guest(config={"security.syscalls.allow": "\n".join(names)})
    host.exec(name, "true")
    assert host.exec(name, "mkdir", "/root/x", check=False).returncode == 128 + 31


def _native_calls() -> list[str]:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p
    found = (library.seccomp_syscall_resolve_num_arch(library.seccomp_arch_native(), number) for number in range(500))
    return [name.decode() for name in found if name]


def test_a_whole_profile_replaces_the_rules(host: Host, guest: Guest) -> None:
    raw = "2\ndenylist\n[all]\nchmod errno 1\nfchmodat errno 1\n"
    name = guest(config={"raw.seccomp": raw})
    assert host.exec(name, "chmod", "700", "/root", check=False).returncode != 0


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"raw.seccomp": "1\nallow"}, "a profile begins with the line 2"),
        ({"security.syscalls.deny": "mknod; reboot"}, "invalid rule"),
        ({"security.syscalls.allow": "read", "security.syscalls.deny": "write"}, "alongside"),
        ({"raw.lxc": "lxc.rootfs.path = /"}, "Setting lxc.rootfs.path is not allowed"),
        ({"raw.lxc": "lxc.net.0.type = none"}, "use a nic device"),
        ({"raw.lxc": "nonsense"}, "lxc.KEY = VALUE"),
        ({"security.idmap.size": "-1"}, "invalid number of ids"),
    ],
)
def test_settings_that_would_break_the_walls_are_refused(host: Host, config: dict[str, str], reason: str) -> None:
    document = {"name": "walls", "source": {"type": "image", "alias": "busybox"}, "config": config}
    with pytest.raises(ApiError, match=reason) as error:
        host.call("POST", "/1.0/instances", document)
    assert error.value.code == 400


def test_lines_of_raw_lxc_reach_liblxc(host: Host, guest: Guest) -> None:
    name = guest(config={"raw.lxc": "lxc.environment = FROM_RAW=yes"})
    assert "FROM_RAW=yes" in host.exec(name, "sh", "-c", "tr '\\0' '\\n' < /proc/1/environ").stdout


def test_a_protected_guest_is_not_started(host: Host, guest: Guest) -> None:
    name = guest(start=False, config={"security.protection.start": "true"})
    with pytest.raises(ApiError, match="protected from being started"):
        host.power(name, "start")
    host.call("PATCH", f"/1.0/instances/{name}", {"config": {"security.protection.start": ""}})
    host.power(name, "start")


def test_a_privileged_guest_is_held_by_its_device_group(host: Host, guest: Guest) -> None:
    name = guest(config={"security.privileged": "true"})
    assert uid_map(host, name) == [[0, 0, 4294967295]]
    host.exec(name, "sh", "-c", "mknod /root/null c 1 3 && echo x > /root/null")
    block = host.exec(name, "sh", "-c", "mknod /root/disk b 7 0 && cat /root/disk", check=False)
    assert "Operation not permitted" in block.stderr
