"""Debian's own `lxc`, the client of LXD 5.0.2: whatever it has a command for, done by it."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.functional.terminal import Terminal
from tests.hosts import Host, images, wait_until

pytestmark = pytest.mark.skipif(shutil.which("lxc") is None, reason="Debian's lxd-client is not installed")

Guest = Callable[..., str]
Free = Callable[[str], str]


def lxc(host: Host, *words: str, input: str | None = None, env: dict[str, str] | None = None) -> str:
    """What it printed on its standard output."""
    return host.lxc(*words, input=input, **({"env": env} if env else {})).stdout


def refused(host: Host, *words: str, input: str | None = None) -> str:
    """Its error, for a command that must fail."""
    done = host.lxc(*words, check=False, input=input)
    assert done.returncode != 0, f"lxc {' '.join(words)} succeeded"
    return done.stderr


def env(host: Host, **more: str) -> dict[str, str]:
    return {"LXD_DIR": str(host.directory), "LXD_CONF": str(host.folder / "lxc-client"), **more}


def edited(host: Host, script: str, *words: str) -> None:
    """Run a command that opens an editor, which is `sed -i` with this script."""
    editor = host.folder / "editor"
    editor.write_text(f'#!/bin/sh\nexec sed -i "{script}" "$1"\n')
    editor.chmod(0o755)
    with Terminal(*words, program="lxc", env=env(host, EDITOR=str(editor), VISUAL=str(editor))) as terminal:
        assert terminal.end() == 0, terminal.seen


def status(host: Host, name: str) -> str:
    return lxc(host, "list", f"^{name}$", "-c", "s", "-f", "csv").strip()


@pytest.fixture
def free(host: Host) -> Iterator[Free]:
    """Names for instances, deleted after the test."""
    used: list[str] = []

    def name(stem: str) -> str:
        used.append(f"lxc-{stem}")
        return used[-1]

    yield name
    for each in used:
        if host.api.exists(f"/1.0/instances/{each}"):
            host.delete(each)


@pytest.fixture(scope="module")
def shared(host: Host) -> Iterator[str]:
    """A running guest for tests that only look, or put things back."""
    host.create("lxc-shared", "busybox")
    yield "lxc-shared"
    host.delete("lxc-shared")


def test_version_and_info(host: Host) -> None:
    assert "Client version: 5.0.2" in lxc(host, "version")
    assert "Server version: " in lxc(host, "version")
    found = yaml.safe_load(lxc(host, "info"))
    assert found["api_version"] == "1.0"
    assert found["auth"] == "trusted"
    assert found["environment"]["driver"]


def test_launch_stop_start_delete(host: Host, free: Free) -> None:
    name = free("launch")
    assert f"Starting {name}" in lxc(host, "launch", "busybox", name, "-c", "user.colour=blue", "-d", "root,size=1GiB")
    assert status(host, name) == "RUNNING"
    assert lxc(host, "config", "get", name, "user.colour") == "blue\n"
    assert lxc(host, "config", "device", "get", name, "root", "size") == "1GiB\n"
    assert "currently running" in refused(host, "delete", name)
    lxc(host, "stop", name, "--timeout", "20")
    assert status(host, name) == "STOPPED"
    assert "already stopped" in refused(host, "stop", name)
    lxc(host, "start", name)
    assert "already running" in refused(host, "start", name)
    lxc(host, "delete", name, "--force")
    assert status(host, name) == ""


def test_launch_says_what_is_wrong(host: Host) -> None:
    before = host.get("/1.0/instances")
    assert "not found" in refused(host, "launch", "no-such-image", "lxc-x").lower()
    assert "no-such-pool" in refused(host, "launch", "busybox", "lxc-x", "-s", "no-such-pool")
    assert "no-such-network" in refused(host, "launch", "busybox", "lxc-x", "-n", "no-such-network")
    assert "no-such-profile" in refused(host, "launch", "busybox", "lxc-x", "-p", "no-such-profile")
    assert "limits.nonsense" in refused(host, "launch", "busybox", "lxc-x", "-c", "limits.nonsense=1")
    assert "1bad" in refused(host, "launch", "busybox", "1bad")
    assert host.get("/1.0/instances") == before


def test_init_from_yaml_empty_and_without_a_name(host: Host, free: Free) -> None:
    name, empty = free("yaml"), free("empty")
    lxc(host, "init", "busybox", name, "--ephemeral", input="config: {user.a: '1'}\n")
    found = host.get(f"/1.0/instances/{name}")
    assert found["config"]["user.a"] == "1"
    assert found["ephemeral"]
    lxc(host, "init", "--empty", empty)
    assert "volatile.base_image" not in host.get(f"/1.0/instances/{empty}")["config"]
    named = lxc(host, "init", "busybox").partition("Instance name is: ")[2].split()[0]
    lxc(host, "delete", named)


def test_a_taken_name_is_refused(host: Host, shared: str) -> None:
    assert "already exists" in refused(host, "init", "busybox", shared)


def test_list_columns_formats_and_filters(host: Host, shared: str) -> None:
    address = host.address_of(shared)
    assert lxc(host, "list", shared, "-c", "ns4tSPb", "-f", "csv").split(",") == [
        shared,
        "RUNNING",
        f"{address} (eth0)",
        "CONTAINER",
        "0",
        "default",
        "default\n",
    ]
    table = lxc(host, "list", shared)
    assert f"| {shared} | RUNNING | {address} (eth0) |" in table
    assert [entry["name"] for entry in json.loads(lxc(host, "list", shared, "-f", "json"))] == [shared]
    assert yaml.safe_load(lxc(host, "list", shared, "-f", "yaml"))[0]["state"]["pid"] > 1
    lxc(host, "config", "set", shared, "user.role", "db")
    assert lxc(host, "list", "user.role=db", "-c", "n", "-f", "csv") == f"{shared}\n"
    assert shared in lxc(host, "list", "status=running", "type=container", "-c", "n", "-f", "csv").split()
    assert lxc(host, "list", "user.role=web", "-c", "n", "-f", "csv") == ""
    assert shared in lxc(host, "list", "--fast")
    assert lxc(host, "list", shared, "-c", "user.role:MINE", "-f", "compact").split() == ["MINE", "db"]
    lxc(host, "config", "unset", shared, "user.role")


def test_info_of_an_instance(host: Host, shared: str) -> None:
    lxc(host, "snapshot", shared, "seen")
    shown = lxc(host, "info", shared)
    assert f"Name: {shared}" in shown
    assert "Status: RUNNING" in shown
    assert "Memory (current)" in shown
    assert f"inet:  {host.address_of(shared)}/24 (global)" in shown
    assert "| seen " in shown
    assert "Log:" in lxc(host, "info", shared, "--show-log")
    lxc(host, "delete", f"{shared}/seen")


def test_restart_pause_and_all(host: Host, free: Free) -> None:
    name = free("power")
    lxc(host, "launch", "busybox", name)
    pid = host.state(name)["pid"]
    lxc(host, "restart", name)
    assert host.state(name)["pid"] not in (0, pid)
    pid = host.state(name)["pid"]
    lxc(host, "restart", name, "--force")
    assert host.state(name)["pid"] not in (0, pid)
    lxc(host, "pause", name)
    assert status(host, name) == "FROZEN"
    assert "frozen" in refused(host, "exec", name, "--", "true").lower()
    lxc(host, "start", name)
    assert status(host, name) == "RUNNING"
    lxc(host, "stop", name, "--force")


def test_stop_and_start_all(hosts: Callable[..., Host]) -> None:
    host = hosts()
    host.prepare()
    host.import_image(images.built("busybox"), "busybox")
    lxc(host, "init", "busybox", "a")
    lxc(host, "init", "busybox", "b")
    lxc(host, "start", "a", "b")
    lxc(host, "stop", "--all", "--force")
    assert lxc(host, "list", "-c", "s", "-f", "csv").split() == ["STOPPED", "STOPPED"]
    lxc(host, "start", "--all")
    assert lxc(host, "list", "-c", "s", "-f", "csv").split() == ["RUNNING", "RUNNING"]
    lxc(host, "delete", "-f", "a", "b")


def test_exec_streams_status_user_and_environment(host: Host, shared: str) -> None:
    done = host.lxc("exec", shared, "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    words = ["--env", "A=b", "--cwd", "/tmp", "--user", "12", "--group", "34"]
    assert lxc(host, "exec", shared, *words, "--", "sh", "-c", "echo $A $PWD $(id -u) $(id -g)") == "b /tmp 12 34\n"
    assert lxc(host, "exec", shared, "--", "cat", input="through\n" * 20000) == "through\n" * 20000
    assert lxc(host, "exec", shared, "-n", "--", "wc", "-c", input="unread").strip() == "0"
    assert host.lxc("exec", shared, "--", "no-such-program", check=False).returncode == 127


def test_exec_at_a_terminal(host: Host, shared: str) -> None:
    words = ("exec", shared, "--", "sh")
    with Terminal(*words, program="lxc", env=env(host), columns=90, lines=33) as terminal:
        terminal.keys("tty; stty size\n")
        terminal.expect("/dev/pts/")
        terminal.expect("33 90")
        terminal.resize(70, 20)
        terminal.process.send_signal(signal.SIGWINCH)
        wait_until(lambda: _has_size(terminal, "20 70"), what="the guest's terminal has the new size")
        terminal.keys("exit 5\n")
        assert terminal.end() == 5


def _has_size(terminal: Terminal, size: str) -> bool:
    terminal.keys("stty size; echo do''ne\n")
    before = terminal.at
    terminal.expect("done")
    return size in terminal.seen[before : terminal.at]


def test_console(host: Host, shared: str) -> None:
    with Terminal("console", shared, program="lxc", env=env(host)) as terminal:
        terminal.expect("To detach from the console, press: <ctrl>+a q")
        terminal.keys("\r")
        terminal.expect("login:")
        # It looks at the first byte of what it reads: the two keys must not come together.
        terminal.keys("\x01")
        time.sleep(0.2)
        terminal.keys("q")
        assert terminal.end() == 0
    assert "login:" in lxc(host, "console", shared, "--show-log")


def test_files(host: Host, shared: str, tmp_path: Path) -> None:
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "below" / "file").write_text("deep")
    (tmp_path / "tree" / "link").symlink_to("below/file")
    lxc(host, "file", "push", "-r", str(tmp_path / "tree"), f"{shared}/root/")
    assert lxc(host, "exec", shared, "--", "readlink", "/root/tree/link") == "below/file\n"
    (tmp_path / "back").mkdir()
    lxc(host, "file", "pull", "-r", f"{shared}/root/tree", str(tmp_path / "back"))
    assert (tmp_path / "back/tree/below/file").read_text() == "deep"
    assert (tmp_path / "back/tree/link").is_symlink()
    target = f"{shared}/root/made/on/the/way"
    lxc(host, "file", "push", "-", target, "-p", "--mode", "0640", "--uid", "5", "--gid", "6", input="one\n")
    assert lxc(host, "exec", shared, "--", "stat", "-c", "%a %u %g", "/root/made/on/the/way") == "640 5 6\n"
    assert lxc(host, "file", "pull", target, "-") == "one\n"
    edited(host, "s/one/two/", "file", "edit", target)
    assert lxc(host, "file", "pull", target, "-") == "two\n"
    lxc(host, "file", "delete", target)
    assert "Not Found" in refused(host, "file", "pull", target, "-")


def test_files_of_a_stopped_instance(host: Host, free: Free) -> None:
    name = free("files")
    lxc(host, "init", "busybox", name)
    lxc(host, "file", "push", "-", f"{name}/etc/note", input="asleep")
    assert lxc(host, "file", "pull", f"{name}/etc/note", "-") == "asleep"


def test_config_of_an_instance(host: Host, free: Free) -> None:
    name = free("config")
    lxc(host, "init", "busybox", name)
    lxc(host, "config", "set", name, "user.a=1", "limits.memory=64MiB")
    assert lxc(host, "config", "get", name, "limits.memory") == "64MiB\n"
    lxc(host, "config", "unset", name, "user.a")
    assert lxc(host, "config", "get", name, "user.a") == "\n"
    assert "limits.memory" in refused(host, "config", "set", name, "limits.memory=plenty")
    edited(host, "s/^description:.*/description: by hand/", "config", "edit", name)
    shown = yaml.safe_load(lxc(host, "config", "show", name))
    assert shown["description"] == "by hand"
    assert "root" not in shown["devices"]
    assert yaml.safe_load(lxc(host, "config", "show", name, "--expanded"))["devices"]["root"]["path"] == "/"
    lxc(host, "config", "edit", name, input=yaml.safe_dump({**shown, "description": "by pipe"}))
    assert yaml.safe_load(lxc(host, "config", "show", name))["description"] == "by pipe"


def test_config_of_the_server(host: Host) -> None:
    lxc(host, "config", "set", "user.place=attic")
    assert lxc(host, "config", "get", "user.place") == "attic\n"
    assert yaml.safe_load(lxc(host, "config", "show"))["config"]["user.place"] == "attic"
    lxc(host, "config", "unset", "user.place")
    assert "no.such" in refused(host, "config", "set", "no.such=1")


def test_devices(host: Host, guest: Guest, tmp_path: Path) -> None:
    name = guest()
    tmp_path.chmod(0o755)
    (tmp_path / "here").touch()
    device = ("config", "device")
    lxc(host, *device, "add", name, "share", "disk", f"source={tmp_path}", "path=/srv/share")
    assert lxc(host, "exec", name, "--", "ls", "/srv/share") == "here\n"
    lxc(host, *device, "set", name, "share", "readonly=true")
    assert lxc(host, *device, "get", name, "share", "readonly") == "true\n"
    assert host.lxc("exec", name, "--", "touch", "/srv/share/new", check=False).returncode != 0
    assert lxc(host, *device, "list", name) == "share\n"
    assert yaml.safe_load(lxc(host, *device, "show", name))["share"]["type"] == "disk"
    lxc(host, *device, "unset", name, "share", "readonly")
    lxc(host, *device, "remove", name, "share")
    assert lxc(host, "exec", name, "--", "ls", "/srv/share") == ""
    lxc(host, *device, "override", name, "root", "size=2GiB")
    assert lxc(host, *device, "get", name, "root", "size") == "2GiB\n"
    lxc(host, *device, "add", name, "eth1", "nic", "network=hutchbr0", "name=eth1")
    assert "eth1" in lxc(host, "exec", name, "--", "ls", "/sys/class/net").split()
    assert "no-such" in refused(host, *device, "add", name, "bad", "disk", "source=/no-such", "path=/x")


def test_profiles(host: Host, free: Free) -> None:
    name = free("profiled")
    lxc(host, "init", "busybox", name)
    lxc(host, "profile", "create", "web")
    lxc(host, "profile", "set", "web", "limits.cpu=1", "user.p=q")
    assert lxc(host, "profile", "get", "web", "limits.cpu") == "1\n"
    lxc(host, "profile", "unset", "web", "user.p")
    lxc(host, "profile", "device", "add", "web", "eth1", "nic", "network=hutchbr0", "name=eth1")
    assert lxc(host, "profile", "device", "list", "web") == "eth1\n"
    lxc(host, "profile", "device", "set", "web", "eth1", "name=eth2")
    assert lxc(host, "profile", "device", "get", "web", "eth1", "name") == "eth2\n"
    edited(host, "s/^description:.*/description: of the web/", "profile", "edit", "web")
    assert "of the web" in lxc(host, "profile", "list")
    lxc(host, "profile", "add", name, "web")
    assert host.get(f"/1.0/instances/{name}")["expanded_config"]["limits.cpu"] == "1"
    assert f"/1.0/instances/{name}" in yaml.safe_load(lxc(host, "profile", "show", "web"))["used_by"]
    assert "in use" in refused(host, "profile", "delete", "web")
    lxc(host, "profile", "remove", name, "web")
    lxc(host, "profile", "assign", name, "default,web")
    lxc(host, "profile", "assign", name, "default")
    lxc(host, "profile", "copy", "web", "web2")
    lxc(host, "profile", "rename", "web2", "web3")
    lxc(host, "profile", "device", "remove", "web", "eth1")
    assert yaml.safe_load(lxc(host, "profile", "device", "show", "web3"))["eth1"]["name"] == "eth2"
    lxc(host, "profile", "delete", "web")
    lxc(host, "profile", "delete", "web3")
    assert "not found" in refused(host, "profile", "show", "web").lower()


def test_images(host: Host, tmp_path: Path, free: Free) -> None:
    fingerprint = host.get("/1.0/images/aliases/busybox")["target"]
    short = fingerprint[:12]
    assert short in lxc(host, "image", "list")
    assert lxc(host, "image", "list", "busybox", "-c", "f", "-f", "csv") == f"{short}\n"
    assert f"Fingerprint: {fingerprint}" in lxc(host, "image", "info", "busybox")
    lxc(host, "image", "alias", "create", "team/tiny", short)
    lxc(host, "image", "alias", "rename", "team/tiny", "team/small")
    assert "team/small" in lxc(host, "image", "alias", "list")
    assert lxc(host, "init", "team/small", free("alias"))
    lxc(host, "image", "alias", "delete", "team/small")
    lxc(host, "image", "set-property", "busybox", "mood", "calm")
    assert lxc(host, "image", "get-property", "busybox", "mood") == "calm\n"
    lxc(host, "image", "unset-property", "busybox", "mood")
    edited(host, "s/^public: false/public: true/", "image", "edit", "busybox")
    assert "public: true" in lxc(host, "image", "show", "busybox")
    edited(host, "s/^public: true/public: false/", "image", "edit", "busybox")
    lxc(host, "image", "export", "busybox", str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["out.tar.zst"]
    assert "exists" in refused(host, "image", "import", str(tmp_path / "out.tar.zst"))
    assert "source and target servers must be different" in refused(host, "image", "copy", "busybox", "local:")
    assert "not found" in refused(host, "image", "delete", "no-such-image").lower()


def test_import_of_a_split_image_and_delete(host: Host, tmp_path: Path, free: Free) -> None:
    unified = images.built("busybox")
    parts = tmp_path / "parts"
    parts.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", unified, "-C", parts], check=True)
    subprocess.run(["tar", "-C", parts, "-cJf", tmp_path / "meta.tar.xz", "metadata.yaml", "templates"], check=True)
    subprocess.run(["mksquashfs", parts / "rootfs", tmp_path / "root.squashfs", "-quiet", "-no-progress"], check=True)
    files = [str(tmp_path / "meta.tar.xz"), str(tmp_path / "root.squashfs")]
    assert "Image imported" in lxc(host, "image", "import", *files, "--alias", "split", "colour=red")
    try:
        assert "colour: red" in lxc(host, "image", "info", "split")
        name = free("split")
        lxc(host, "launch", "split", name)
        assert status(host, name) == "RUNNING"
        lxc(host, "image", "export", "split", str(tmp_path / "again"))
        assert (tmp_path / "again.root").read_bytes() == (tmp_path / "root.squashfs").read_bytes()
    finally:
        lxc(host, "image", "delete", "split")
    assert "split" not in lxc(host, "image", "alias", "list")


def test_publish(host: Host, free: Free) -> None:
    name, copied = free("publish"), free("published")
    lxc(host, "init", "busybox", name)
    lxc(host, "file", "push", "-", f"{name}/etc/mark", input="published")
    assert "Instance published" in lxc(host, "publish", name, "--alias", "mine", "os=mine", "--compression", "zstd")
    try:
        assert "os: mine" in lxc(host, "image", "info", "mine")
        lxc(host, "init", "mine", copied)
        assert lxc(host, "file", "pull", f"{copied}/etc/mark", "-") == "published"
        lxc(host, "snapshot", name, "s1")
        lxc(host, "publish", f"{name}/s1", "--alias", "from-snapshot", "--compression", "none")
        lxc(host, "image", "delete", "from-snapshot")
    finally:
        lxc(host, "image", "delete", "mine")


def test_publish_of_a_running_instance_wants_force(host: Host, guest: Guest) -> None:
    name = guest()
    assert "--force" in refused(host, "publish", name)
    lxc(host, "publish", name, "--force", "--alias", "was-running")
    assert status(host, name) == "RUNNING"
    lxc(host, "image", "delete", "was-running")


def test_networks(host: Host, free: Free) -> None:
    lxc(host, "network", "create", "lxcbr7", "ipv4.address=10.77.0.1/24", "ipv6.address=none", "ipv4.nat=false")
    try:
        assert lxc(host, "network", "get", "lxcbr7", "ipv4.address") == "10.77.0.1/24\n"
        assert "10.77.0.1/24" in lxc(host, "network", "list")
        assert "inet\t10.77.0.1/24 (global)" in lxc(host, "network", "info", "lxcbr7")
        lxc(host, "network", "set", "lxcbr7", "user.a=1")
        lxc(host, "network", "unset", "lxcbr7", "user.a")
        edited(host, "s/^description:.*/description: edited/", "network", "edit", "lxcbr7")
        assert yaml.safe_load(lxc(host, "network", "show", "lxcbr7"))["description"] == "edited"
        name = free("net")
        lxc(host, "init", "busybox", name, "-n", "lxcbr7")
        assert "in use" in refused(host, "network", "delete", "lxcbr7")
        lxc(host, "start", name)
        address = host.address_of(name)
        assert address.startswith("10.77.0.")
        assert address in lxc(host, "network", "list-leases", "lxcbr7")
        lxc(host, "delete", "--force", name)
        lxc(host, "network", "attach-profile", "lxcbr7", "default", "extra0", "eth8")
        lxc(host, "network", "detach-profile", "lxcbr7", "default", "extra0")
        lxc(host, "network", "rename", "lxcbr7", "lxcbr8")
        lxc(host, "network", "rename", "lxcbr8", "lxcbr7")
        assert "ipv4.address" in refused(host, "network", "set", "lxcbr7", "ipv4.address=nonsense")
    finally:
        lxc(host, "network", "delete", "lxcbr7")
    assert "not found" in refused(host, "network", "show", "lxcbr7").lower()


def test_network_attached_to_an_instance(host: Host, guest: Guest) -> None:
    name = guest()
    lxc(host, "network", "attach", "hutchbr0", name, "second", "eth5")
    assert "eth5" in lxc(host, "exec", name, "--", "ls", "/sys/class/net").split()
    lxc(host, "network", "detach", "hutchbr0", name, "second")
    assert "eth5" not in lxc(host, "exec", name, "--", "ls", "/sys/class/net").split()


@pytest.mark.parametrize(("driver", "settings"), [("dir", []), ("btrfs", ["size=512MiB"]), ("overlay", [])])
def test_storage(host: Host, free: Free, driver: str, settings: list[str]) -> None:
    pool, name = f"lxc-{driver}", free(driver)
    lxc(host, "storage", "create", pool, driver, *settings)
    try:
        assert pool in lxc(host, "storage", "list")
        lxc(host, "storage", "set", pool, "user.a=1")
        assert lxc(host, "storage", "get", pool, "user.a") == "1\n"
        lxc(host, "storage", "unset", pool, "user.a")
        edited(host, "s/^description:.*/description: edited/", "storage", "edit", pool)
        assert yaml.safe_load(lxc(host, "storage", "show", pool))["description"] == "edited"
        lxc(host, "launch", "busybox", name, "-s", pool)
        assert "total space" in lxc(host, "storage", "info", pool)
        assert f"| container | {name} " in lxc(host, "storage", "volume", "list", pool)
        assert yaml.safe_load(lxc(host, "storage", "volume", "show", pool, f"container/{name}"))["name"] == name
        assert "in use" in refused(host, "storage", "delete", pool)
        lxc(host, "snapshot", name, "s1")
        lxc(host, "exec", name, "--", "touch", "/root/later")
        lxc(host, "restore", name, "s1")
        assert lxc(host, "exec", name, "--", "ls", "/root") == ""
        lxc(host, "delete", "--force", name)
    finally:
        lxc(host, "storage", "delete", pool)


def test_the_size_of_a_root_disk_holds_and_grows_while_it_runs(host: Host, free: Free) -> None:
    name, fill = free("sized"), "dd if=/dev/zero of=/root/big bs=1M count=40 2>&1"
    lxc(host, "storage", "create", "lxc-sized", "btrfs", "size=512MiB")
    try:
        lxc(host, "launch", "busybox", name, "-s", "lxc-sized", "-d", "root,size=20MiB")
        assert "quota exceeded" in host.lxc("exec", name, "--", "sh", "-c", fill, check=False).stdout
        lxc(host, "config", "device", "set", name, "root", "size=80MiB")
        lxc(host, "exec", name, "--", "sh", "-c", fill)
        lxc(host, "delete", "--force", name)
    finally:
        lxc(host, "storage", "delete", "lxc-sized")


def test_storage_says_what_is_wrong(host: Host) -> None:
    assert "no-such-driver" in refused(host, "storage", "create", "bad", "no-such-driver")
    assert "size" in refused(host, "storage", "create", "bad", "btrfs", "size=tiny")
    assert "not found" in refused(host, "storage", "show", "bad").lower()


def test_snapshots(host: Host, free: Free) -> None:
    name, copied = free("snapshots"), free("from-snapshot")
    lxc(host, "launch", "busybox", name)
    lxc(host, "exec", name, "--", "sh", "-c", "echo before > /root/note")
    lxc(host, "snapshot", name, "s1")
    lxc(host, "exec", name, "--", "sh", "-c", "echo after > /root/note")
    lxc(host, "snapshot", name)
    assert "already exists" in refused(host, "snapshot", name, "s1")
    lxc(host, "snapshot", name, "s1", "--reuse")
    lxc(host, "restore", name, "snap0")
    assert status(host, name) == "RUNNING"
    assert lxc(host, "exec", name, "--", "cat", "/root/note") == "after\n"
    lxc(host, "rename", f"{name}/snap0", f"{name}/golden")
    assert yaml.safe_load(lxc(host, "config", "show", f"{name}/golden"))["architecture"] == "x86_64"
    edited(host, "s/^expires_at:.*/expires_at: 2099-01-02T03:04:05Z/", "config", "edit", f"{name}/golden")
    assert "2099/01/02" in lxc(host, "info", name)
    lxc(host, "copy", f"{name}/golden", copied)
    assert lxc(host, "file", "pull", f"{copied}/root/note", "-") == "after\n"
    # One each: this client stops after the first snapshot that it is given.
    lxc(host, "delete", f"{name}/golden")
    lxc(host, "delete", f"{name}/s1")
    assert host.get(f"/1.0/instances/{name}/snapshots") == []


def test_stateful_snapshots_and_stops(host: Host, free: Free) -> None:
    name = free("stateful")
    lxc(host, "launch", "busybox", name, "-c", "migration.stateful=true")
    lxc(host, "exec", name, "--", "sh", "-c", "echo before > /run/word")
    lxc(host, "snapshot", name, "s1", "--stateful")
    assert "| YES " in next(line for line in lxc(host, "info", name).splitlines() if line.startswith("| s1 "))
    lxc(host, "exec", name, "--", "sh", "-c", "echo after > /run/word")
    lxc(host, "restore", name, "s1", "--stateful")
    assert lxc(host, "exec", name, "--", "cat", "/run/word") == "before\n"
    lxc(host, "stop", name, "--stateful")
    assert status(host, name) == "STOPPED"
    lxc(host, "start", name)
    assert lxc(host, "exec", name, "--", "cat", "/run/word") == "before\n"
    lxc(host, "snapshot", name, "s2")
    assert "snapshot is stateless" in refused(host, "restore", name, "s2", "--stateful")


def test_copy_move_and_rename(host: Host, free: Free) -> None:
    name, copied, moved, last = free("origin"), free("copied"), free("moved"), free("last")
    lxc(host, "init", "busybox", name, "-c", "user.a=1")
    lxc(host, "snapshot", name, "s1")
    lxc(host, "copy", name, copied, "-c", "user.b=2")
    found = host.get(f"/1.0/instances/{copied}")
    assert (found["config"]["user.a"], found["config"]["user.b"]) == ("1", "2")
    assert len(host.get(f"/1.0/instances/{copied}/snapshots")) == 1
    lxc(host, "move", copied, moved)
    lxc(host, "rename", moved, last)
    assert lxc(host, "list", "lxc-(copied|moved|last)$", "-c", "n", "-f", "csv") == f"{last}\n"
    lxc(host, "delete", last)
    lxc(host, "copy", name, copied, "--instance-only")
    assert host.get(f"/1.0/instances/{copied}/snapshots") == []
    lxc(host, "start", name)
    assert "running" in refused(host, "move", name, last)


def test_operations(host: Host, shared: str) -> None:
    sleeper = subprocess.Popen(
        ["lxc", "exec", shared, "--", "sleep", "60"],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **env(host)},
        stdin=subprocess.DEVNULL,
    )
    try:
        listed = lambda: [  # noqa: E731
            row for row in json.loads(lxc(host, "operation", "list", "-f", "json")) if row["status"] == "Running"
        ]
        operation = wait_until(listed, what="the exec is listed")[0]
        assert operation["description"] == "Executing command"
        assert yaml.safe_load(lxc(host, "operation", "show", operation["id"]))["class"] == "websocket"
    finally:
        sleeper.kill()
        sleeper.wait()
    assert "not found" in refused(host, "operation", "show", "no-such-operation").lower()


def test_monitor(host: Host, free: Free) -> None:
    name = free("monitored")
    with Terminal("monitor", "--type=lifecycle", program="lxc", env=env(host)) as terminal:
        wait_until(lambda: _heard(host, terminal), what="monitor is listening")
        lxc(host, "init", "busybox", name)
        terminal.expect("action: instance-created")
        terminal.expect(f"source: /1.0/instances/{name}")
        lxc(host, "delete", name)
        terminal.expect("action: instance-deleted")


def _heard(host: Host, terminal: Terminal) -> bool:
    lxc(host, "query", "-X", "PATCH", "-d", '{"config": {"user.knock": "1"}}', "/1.0")
    try:
        terminal.expect("config-updated", 0.5)
    except AssertionError:
        return False
    return True


def test_query(host: Host, shared: str) -> None:
    assert json.loads(lxc(host, "query", "/1.0"))["api_version"] == "1.0"
    lxc(host, "query", "-X", "POST", "-d", '{"name": "queried"}', "/1.0/profiles")
    lxc(host, "query", "-X", "DELETE", "/1.0/profiles/queried")
    wanted = '{"action": "restart", "force": true, "timeout": 5}'
    done = json.loads(lxc(host, "query", "-X", "PUT", "--wait", "-d", wanted, f"/1.0/instances/{shared}/state"))
    assert done["status"] == "Success"
    assert json.loads(lxc(host, "query", "--raw", "/1.0"))["type"] == "sync"
    assert "not found" in refused(host, "query", "/1.0/no-such")


def test_project_and_remotes(host: Host) -> None:
    assert "default (current)" in lxc(host, "project", "list")
    assert yaml.safe_load(lxc(host, "project", "show", "default"))["config"]["features.images"] == "true"
    assert "local (current)" in lxc(host, "remote", "list")


def test_a_debian_system(host: Host, free: Free, debian: str) -> None:
    name = free("debian")
    lxc(host, "launch", debian, name)
    booted = ["sh", "-c", "systemctl is-system-running --wait || true"]
    wait_until(
        lambda: lxc(host, "exec", name, "--", *booted).strip() == "running", 60, every=0.2, what="systemd is running"
    )
    assert lxc(host, "exec", name, "--", "systemctl", "--failed", "--no-legend", "--plain") == ""
    lxc(host, "stop", name, "--timeout", "30")
    assert status(host, name) == "STOPPED"
