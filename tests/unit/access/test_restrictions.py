"""Each restriction of a project against what it forbids and what it lets through."""

import pytest

from hutch.access import restrictions
from hutch.errors import Forbidden
from hutch.schema.base import Config
from hutch.schema.project import ProjectRecord

IDMAP = "security.idmap.isolated"
LOW = "containers.lowlevel"
INTERCEPT = "security.syscalls.intercept"


def tried(rules: Config, config: Config | None = None, device: Config | None = None) -> None:
    restricted = {"restricted": "true"} | {f"restricted.{key}": value for key, value in rules.items()}
    record = ProjectRecord(name="p", config=restricted)
    restrictions.check(record, "instance 'c1'", config or {}, {"it": device} if device else {})


CONFIGS = [
    ({}, "security.nesting", "true", "nesting is forbidden"),
    ({"containers.nesting": "block"}, "security.nesting", "yes", "nesting is forbidden"),
    ({"containers.nesting": "allow"}, "security.nesting", "true", ""),
    ({}, "security.nesting", "false", ""),
    ({}, "security.privileged", "true", "Privileged containers are forbidden"),
    ({"containers.privilege": "unprivileged"}, "security.privileged", "1", "Privileged containers are forbidden"),
    ({"containers.privilege": "isolated"}, "security.privileged", "true", "Privileged containers are forbidden"),
    ({"containers.privilege": "isolated"}, "user.any", "x", "Non-isolated containers are forbidden"),
    ({"containers.privilege": "isolated"}, IDMAP, "true", ""),
    ({"containers.privilege": "allow"}, "security.privileged", "true", ""),
    ({}, "raw.lxc", "lxc.hook.start-host=/bin/sh", "low-level"),
    ({}, "raw.apparmor", "mount,", "low-level"),
    ({}, "raw.seccomp", "2", "low-level"),
    ({}, "linux.kernel_modules", "evil", "low-level"),
    ({}, "limits.kernel.nofile", "100000000", "low-level"),
    ({}, "linux.sysctl.net.core.somaxconn", "1", "low-level"),
    ({}, "boot.host_shutdown_timeout", "100000", "low-level"),
    ({}, "security.devlxd.images", "true", "low-level"),
    ({}, "security.idmap.base", "0", "low-level"),
    ({}, "security.syscalls.deny_default", "false", "low-level"),
    ({}, "limits.memory", "1GiB", ""),
    ({LOW: "allow"}, "raw.lxc", "x", ""),
    ({LOW: "allow"}, "raw.idmap", "both 0 0", ""),
    ({}, "raw.idmap", "uid 1000 1000", "element 0"),
    ({"idmap.uid": "1000"}, "raw.idmap", "uid 1000 1000", ""),
    ({"idmap.uid": "1000"}, "raw.idmap", "uid 1001 1000", "element 0"),
    ({"idmap.uid": "1000"}, "raw.idmap", "gid 1000 1000", "element 0"),
    ({"idmap.uid": "1000"}, "raw.idmap", "both 1000 1000", "element 0"),
    ({"idmap.uid": "1000", "idmap.gid": "1000"}, "raw.idmap", "both 1000 1000", ""),
    ({"idmap.uid": "1000-1999,3000"}, "raw.idmap", "uid 1000-1999 0-999\nuid 3000 5", ""),
    ({"idmap.uid": "1000-1999"}, "raw.idmap", "uid 1500-1600 0\nuid 1999-2000 7", "element 1"),
    ({"idmap.uid": "1000"}, "raw.idmap", "uid", "element 0"),
    ({"idmap.uid": "1000"}, "raw.idmap", "uid  0 0", "element 0"),
    ({"idmap.uid": "1000"}, "raw.idmap", "both 0 0", "element 0"),
    ({}, f"{INTERCEPT}.mknod", "true", "interception is forbidden"),
    ({}, f"{INTERCEPT}.mknod", "false", ""),
    ({"containers.interception": "allow"}, f"{INTERCEPT}.mknod", "true", ""),
    ({"containers.interception": "allow"}, f"{INTERCEPT}.mount", "true", "interception is forbidden"),
    ({"containers.interception": "allow"}, f"{INTERCEPT}.mount.allowed", "ext4", "interception is forbidden"),
    ({"containers.interception": "full"}, f"{INTERCEPT}.mount", "true", ""),
]


@pytest.mark.parametrize(("rules", "key", "value", "refusal"), CONFIGS)
def test_config_keys(rules: Config, key: str, value: str, refusal: str) -> None:
    if not refusal:
        tried(rules, {key: value})
        return
    with pytest.raises(Forbidden, match=refusal):
        tried(rules, {key: value})


HOST = {"type": "disk", "source": "/srv/p/x", "path": "/x"}
DEVICES = [
    ({}, HOST, "not backed by a pool"),
    ({"devices.disk": "managed"}, HOST, "not backed by a pool"),
    ({"devices.disk": "managed"}, {"type": "disk", "pool": "p", "source": "volume", "path": "/x"}, ""),
    ({"devices.disk": "block"}, {"type": "disk", "pool": "p", "source": "volume", "path": "/x"}, "Disk devices are"),
    ({"devices.disk": "block"}, {"type": "disk", "pool": "p", "path": "/"}, ""),
    ({"devices.disk": "block"}, {"type": "disk", "source": "/etc", "path": "/"}, "Disk devices are"),
    ({"devices.disk": "allow"}, HOST, ""),
    ({"devices.disk": "allow", "devices.disk.paths": "/srv/p"}, HOST, ""),
    ({"devices.disk": "allow", "devices.disk.paths": "/srv/q, /srv/p/x"}, HOST, ""),
    ({"devices.disk": "allow", "devices.disk.paths": "/srv/q"}, HOST, "not allowed by"),
    ({"devices.disk": "allow", "devices.disk.paths": "/srv/p"}, HOST | {"source": "/srv/pq"}, "not allowed by"),
    ({"devices.disk": "allow", "devices.disk.paths": "/srv/p"}, HOST | {"source": "/srv/p/../q"}, "not allowed by"),
    ({"devices.disk": "allow"}, HOST | {"shift": "true"}, "Shifting the owners"),
    ({"devices.disk": "allow"}, HOST | {"shift": "false"}, ""),
    ({"devices.disk": "allow", "containers.privilege": "allow"}, HOST | {"shift": "true"}, ""),
    ({}, {"type": "nic", "network": "br0"}, ""),
    ({}, {"type": "nic", "nictype": "bridged", "parent": "br0"}, "Only managed"),
    ({}, {"type": "nic", "nictype": "p2p"}, "Only managed"),
    ({}, {"type": "nic", "nictype": "physical", "parent": "eth0"}, "Only managed"),
    ({"devices.nic": "block"}, {"type": "nic", "network": "br0"}, "Network devices are forbidden"),
    ({"devices.nic": "allow"}, {"type": "nic", "nictype": "bridged", "parent": "br0"}, ""),
    ({"networks.access": "br0, br1"}, {"type": "nic", "network": "br1"}, ""),
    ({"networks.access": "br0"}, {"type": "nic", "network": "br1"}, "'br1' not allowed"),
    (
        {"networks.access": "br0", "devices.nic": "allow"},
        {"type": "nic", "nictype": "bridged", "parent": "br1"},
        "'br1' not allowed",
    ),
    ({}, {"type": "none"}, ""),
    ({}, {"type": "tpm", "path": "/dev/tpm0"}, ""),
]
GATED = ("gpu", "infiniband", "pci", "proxy", "unix-block", "unix-char", "unix-hotplug", "usb")
for _kind in GATED:
    DEVICES += [
        ({}, {"type": _kind}, "devices are forbidden"),
        ({f"devices.{_kind}": "block"}, {"type": _kind}, "devices are forbidden"),
        ({f"devices.{_kind}": "allow"}, {"type": _kind}, ""),
    ]


@pytest.mark.parametrize(("rules", "device", "refusal"), DEVICES)
def test_devices(rules: Config, device: Config, refusal: str) -> None:
    if not refusal:
        tried(rules, device=device)
        return
    with pytest.raises(Forbidden, match=refusal):
        tried(rules, device=device)


def test_an_unrestricted_project_forbids_nothing() -> None:
    record = ProjectRecord(name="p", config={"restricted": "false", "restricted.containers.nesting": "block"})
    config = {key: value for _, key, value, _ in CONFIGS}

    restrictions.check(record, "instance 'c1'", config, {str(i): each[1] for i, each in enumerate(DEVICES)})


@pytest.mark.parametrize(
    ("key", "is_the_users"),
    [
        ("volatile.eth0.host_name", False),
        ("volatile.eth0.hwaddr", True),
        ("volatile.idmap.next", False),
        ("volatile.base_image", True),
        ("user.volatile.x", True),
    ],
)
def test_volatile_keys_that_name_things_of_the_host_are_not_for_users(key: str, is_the_users: bool) -> None:
    record = ProjectRecord(name="p", config={"restricted": "true"})

    assert restrictions.own_config(record, {key: "x"}) == ({key: "x"} if is_the_users else {})
    restrictions.check_volatile(record, "c1", {key: "x"}, {key: "x"})
    if not is_the_users:
        with pytest.raises(Forbidden, match="low-level"):
            restrictions.check_volatile(record, "c1", {key: "x"}, {key: "vethdeadbeef"})


@pytest.mark.parametrize(
    ("zone", "allowed"), [("a.test", True), ("x.a.test", True), ("ba.test", False), ("test", False)]
)
def test_zones_are_allowed_with_the_domains_below_them(zone: str, allowed: bool) -> None:
    assert restrictions.zone_allowed({"restricted": "true", "restricted.networks.zones": "a.test"}, zone) is allowed
    assert restrictions.zone_allowed({}, zone)
