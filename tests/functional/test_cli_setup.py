"""`hutch admin`: from an empty daemon to one that can launch, and down again."""

import time
from collections.abc import Callable

import yaml

from tests.functional.terminal import Terminal
from tests.hosts import Host

MakeHost = Callable[..., Host]


def test_auto_makes_a_pool_a_network_and_the_default_profile_and_can_be_repeated(hosts: MakeHost) -> None:
    host = hosts()
    first = host.hutch("admin", "init", "--auto").stdout
    assert "Created storage pool default" in first
    assert "Created network hutchbr0" in first
    devices = host.get("/1.0/profiles/default")["devices"]
    assert devices["root"] == {"type": "disk", "path": "/", "pool": "default"}
    assert devices["eth0"] == {"type": "nic", "name": "eth0", "network": "hutchbr0"}
    before = host.hutch("admin", "init", "--dump").stdout
    assert host.hutch("admin", "init", "--auto").stdout == ""
    assert host.hutch("admin", "init", "--dump").stdout == before


def test_auto_keeps_what_a_person_has_set_up(hosts: MakeHost) -> None:
    host = hosts()
    host.hutch("storage", "create", "mine", "dir")
    host.hutch("profile", "device", "add", "default", "disk0", "disk", "path=/", "pool=mine")
    host.hutch("admin", "init", "--auto")
    assert sorted(host.get("/1.0/profiles/default")["devices"]) == ["disk0", "eth0"]


def test_a_dump_sets_another_host_up_alike(hosts: MakeHost) -> None:
    one, other = hosts(), hosts()
    one.hutch("admin", "init", "--auto")
    one.hutch("profile", "create", "web")
    one.hutch("profile", "set", "web", "limits.cpu=1", "user.note=hello")
    wanted = yaml.safe_load(one.hutch("admin", "init", "--dump").stdout)
    for pool in wanted["storage_pools"]:
        pool["config"].pop("source", None)
    other.hutch("admin", "init", "--preseed", input=yaml.safe_dump(wanted))
    found = yaml.safe_load(other.hutch("admin", "init", "--dump").stdout)
    assert found["networks"] == wanted["networks"]
    assert found["profiles"] == wanted["profiles"]
    other.hutch("admin", "init", "--preseed", input=yaml.safe_dump(wanted))


def test_a_preseed_of_lxd_with_numbers_and_booleans(hosts: MakeHost) -> None:
    host = hosts()
    text = """
config: {}
storage_pools: [{name: default, driver: dir}]
networks: [{name: lan0, type: bridge, config: {ipv4.address: 10.99.5.1/24, ipv4.nat: true, ipv6.address: none}}]
profiles:
- name: default
  config: {limits.cpu: 2}
  devices: {root: {path: /, pool: default, type: disk}}
"""
    host.hutch("admin", "init", "--preseed", input=text)
    assert host.get("/1.0/profiles/default")["config"] == {"limits.cpu": "2"}
    assert host.get("/1.0/networks/lan0")["config"]["ipv4.nat"] == "true"


def test_mistakes_in_a_preseed_are_named(hosts: MakeHost) -> None:
    host = hosts()
    for text, message in (
        ("cluster: {enabled: true}", "the preseed's 'cluster' is not supported"),
        ("profiles: [{description: x}]", "every entry of the preseed's profiles needs a name"),
        ("networks: [{name: a, colour: red}]", "unknown member 'colour'"),
        ("[1, 2]", "must be a map"),
        ("a: [", "is not YAML"),
    ):
        done = host.hutch("admin", "init", "--preseed", input=text, check=False)
        assert done.returncode == 1
        assert message in done.stderr


def test_the_questions_set_up_what_is_answered(hosts: MakeHost) -> None:
    host = hosts()
    with Terminal("admin", "init", env={"HUTCH_DIR": str(host.directory)}) as terminal:
        terminal.expect("Set up a storage pool? (yes/no) [yes]: ")
        terminal.keys("\n")
        terminal.expect("Its name [default]: ")
        terminal.keys("fast\n")
        terminal.expect("Its driver")
        terminal.keys("nonsense\n")
        terminal.expect("Please answer one of")
        terminal.keys("dir\n")
        terminal.expect("Set up a network bridge?")
        terminal.keys("no\n")
        terminal.expect("reachable over the network?")
        terminal.keys("\n")
        assert terminal.end() == 0
    assert host.get("/1.0/storage-pools/fast")["driver"] == "dir"
    assert host.get("/1.0/profiles/default")["devices"] == {"root": {"type": "disk", "path": "/", "pool": "fast"}}


def test_waitready_waits_no_longer_than_asked(hosts: MakeHost) -> None:
    host = hosts(start=False)
    started = time.monotonic()
    done = host.hutch("admin", "waitready", "--timeout", "0.5", check=False)
    assert done.returncode == 1
    assert "not ready after 0.5 s: no daemon answers" in done.stderr
    assert 0.5 <= time.monotonic() - started < 5
    host.start()
    host.hutch("admin", "waitready", "--timeout", "5")


def test_shutdown_stops_the_instances_and_the_daemon(hosts: MakeHost) -> None:
    from tests.hosts import images

    host = hosts()
    host.hutch("admin", "init", "--auto")
    host.import_image(images.built("busybox"), "busybox")
    host.hutch("launch", "busybox", "c1")
    host.hutch("admin", "shutdown", "--timeout", "40")
    assert host.daemon is not None
    assert host.daemon.wait(10) == 0
    host.daemon = None
    assert "no daemon answers" in host.hutch("list", check=False).stderr
