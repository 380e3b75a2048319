"""`hutch image`, `network`, `storage`, `project`, `operation`, `monitor`, `query` and what the shell completes."""

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.functional.terminal import HUTCH
from tests.hosts import Host, images

Guest = Callable[..., str]


def test_import_and_export_give_the_same_bytes(host: Host, tmp_path: Path) -> None:
    own = _other_image(tmp_path)
    fingerprint = hashlib.sha256(own.read_bytes()).hexdigest()
    out = host.hutch("image", "import", str(own), "--alias", "cli-own", "--public", "note=mine").stdout
    assert out == f"Image imported with fingerprint: {fingerprint}\n"
    try:
        host.hutch("image", "export", "cli-own", str(tmp_path / "back.tar"))
        assert (tmp_path / "back.tar").read_bytes() == own.read_bytes()
        listed = host.hutch("image", "list", "cli-own", "-c", "lFp", "-f", "csv").stdout
        assert listed == f"cli-own,{fingerprint},yes\n"
        assert host.hutch("image", "list", "note=mine", "-c", "l", "-f", "csv").stdout == "cli-own\n"
        again = host.hutch("image", "import", str(own), check=False)
        assert again.returncode == 1
    finally:
        host.hutch("image", "delete", "cli-own")
    assert host.hutch("image", "list", fingerprint[:12], "-f", "csv").stdout == ""


def test_a_split_image_goes_in_and_comes_out_as_two_files(host: Host, tmp_path: Path) -> None:
    metadata, rootfs = _split_image(tmp_path)
    fingerprint = hashlib.sha256(metadata.read_bytes() + rootfs.read_bytes()).hexdigest()
    out = host.hutch("image", "import", str(metadata), str(rootfs), "--alias", "cli-split").stdout
    assert out == f"Image imported with fingerprint: {fingerprint}\n"
    try:
        folder = tmp_path / "back"
        folder.mkdir()
        host.hutch("image", "export", "cli-split", str(folder))
        back = sorted(folder.iterdir(), key=lambda path: not path.name.startswith("meta"))
        assert [path.read_bytes() for path in back] == [metadata.read_bytes(), rootfs.read_bytes()]
        host.hutch("image", "export", "cli-split", str(tmp_path / "named"))
        assert (tmp_path / "named.root").read_bytes() == rootfs.read_bytes()
    finally:
        host.hutch("image", "delete", "cli-split")


def _other_image(folder: Path) -> Path:
    """A small image unlike any other."""
    (folder / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1700000000\nproperties: {os: test, release: one}\n"
    )
    (folder / "rootfs/etc").mkdir(parents=True)
    (folder / "rootfs/etc/hostname").write_text("x\n")
    path = folder / "own.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder / "metadata.yaml", "metadata.yaml")
        tar.add(folder / "rootfs", "rootfs")
    return path


def _split_image(folder: Path) -> tuple[Path, Path]:
    _other_image(folder)
    metadata, rootfs = folder / "meta.tar", folder / "root.squashfs"
    with tarfile.open(metadata, "w") as tar:
        tar.add(folder / "metadata.yaml", "metadata.yaml")
    subprocess.run(["mksquashfs", folder / "rootfs", rootfs, "-quiet", "-no-progress"], check=True, capture_output=True)
    return metadata, rootfs


def test_aliases_and_properties(host: Host) -> None:
    host.hutch("image", "alias", "create", "cli/other", "busybox", "--description", "again")
    host.hutch("image", "alias", "rename", "cli/other", "cli/new")
    assert "| cli/new " in host.hutch("image", "alias", "list").stdout
    host.hutch("image", "set-property", "cli/new", "note", "some text")
    assert host.hutch("image", "get-property", "busybox", "note").stdout == "some text\n"
    assert "note: some text" in host.hutch("image", "info", "busybox").stdout
    host.hutch("image", "unset-property", "busybox", "note")
    document = yaml.safe_load(host.hutch("image", "show", "busybox").stdout)
    document["properties"]["by"] = "edit"
    host.hutch("image", "edit", "busybox", input=yaml.safe_dump(document))
    assert host.hutch("image", "get-property", "busybox", "by").stdout == "edit\n"
    host.hutch("image", "unset-property", "busybox", "by")
    host.hutch("image", "alias", "delete", "cli/new")
    taken = host.hutch("image", "alias", "create", "busybox", "busybox", check=False)
    assert taken.returncode == 1


def test_build_takes_what_was_built_and_names_it(hosts: Callable[..., Host]) -> None:
    host = hosts()
    images.built("busybox")
    for _ in range(2):
        out = host.hutch("image", "build", "busybox", timeout=120).stdout
        assert "Image busybox has fingerprint: " in out
    assert len(host.get("/1.0/images")) == 1
    path = host.hutch("image", "build", "busybox", "--no-import").stdout.splitlines()[-1]
    assert Path(path) == images.built("busybox")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["image", "info", "no-such-image"], "no image has the alias 'no-such-image'"),
        (["image", "delete", "abcdef012345"], "abcdef012345"),
        (["image", "import", "/no/such/file"], "no such image file: /no/such/file"),
        (["image", "import", "/etc/hostname"], ""),
        (["image", "build", "no/such"], "no recipe 'no/such'"),
        (["image", "list", "-c", "x"], "unknown column 'x'"),
        (["network", "show", "no-such-net"], "no-such-net"),
        (["network", "create", "bad name"], ""),
        (["network", "create", "cli9", "ipv4.address=nonsense"], "nonsense"),
        (["network", "set", "hutchbr0", "no.such=1"], "no.such"),
        (["network", "delete", "hutchbr0"], ""),
        (["network", "detach", "hutchbr0", "no-such-instance"], "no-such-instance"),
        (["storage", "show", "no-such-pool"], "no-such-pool"),
        (["storage", "create", "p9", "no-such-driver"], "no-such-driver"),
        (["storage", "create", "p9", "btrfs", "size=tiny"], "tiny"),
        (["storage", "delete", "default"], ""),
        (["operation", "show", "11111111-2222-3333-4444-555555555555"], ""),
        (["query", "1.0"], "must begin with /"),
        (["query", "/1.0/nonsense"], "not found"),
    ],
)
def test_mistakes_are_one_line(host: Host, words: list[str], part: str) -> None:
    done = host.hutch(*words, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert part in done.stderr


def test_networks(host: Host, guest: Guest) -> None:
    host.hutch("network", "create", "cli0", "ipv4.address=10.77.3.1/24", "ipv6.address=none", "--description", "x")
    try:
        assert host.hutch("network", "get", "cli0", "ipv4.address").stdout == "10.77.3.1/24\n"
        host.hutch("network", "set", "cli0", "ipv4.dhcp.ranges=10.77.3.50-10.77.3.60")
        name = guest(start=False)
        host.hutch("network", "attach", "cli0", name, "eth1")
        device = host.get(f"/1.0/instances/{name}")["devices"]["eth1"]
        assert device == {"type": "nic", "name": "eth1", "network": "cli0"}
        host.hutch("start", name)
        assert host.address_of(name, nic="eth1").startswith("10.77.3.")
        assert f"| {name} " in host.hutch("network", "list-leases", "cli0").stdout
        assert "10.77.3.1/24" in host.hutch("network", "info", "cli0").stdout
        host.hutch("stop", "--force", name)
        host.hutch("network", "detach", "cli0", name)
        assert "eth1" not in host.get(f"/1.0/instances/{name}")["devices"]
        host.hutch("network", "unset", "cli0", "ipv4.dhcp.ranges")
        host.hutch("network", "edit", "cli0", input="config: {ipv4.address: 10.77.4.1/24, ipv6.address: none}\n")
        host.hutch("network", "rename", "cli0", "cli1")
        assert yaml.safe_load(host.hutch("network", "show", "cli1").stdout)["config"]["ipv4.address"] == "10.77.4.1/24"
    finally:
        for each in ("cli0", "cli1"):
            host.hutch("network", "delete", each, check=False)
    assert "| hutchbr0 | bridge " in host.hutch("network", "list").stdout


def test_storage(host: Host, guest: Guest) -> None:
    host.hutch("storage", "create", "cli-dir", "dir", "user.a=1", "--description", "a folder")
    try:
        host.hutch("storage", "set", "cli-dir", "user.b=2")
        host.hutch("storage", "unset", "cli-dir", "user.a")
        assert host.hutch("storage", "get", "cli-dir", "user.b").stdout == "2\n"
        assert "| cli-dir | dir " in host.hutch("storage", "list").stdout
        assert "total space: " in host.hutch("storage", "info", "cli-dir").stdout
        host.hutch("init", "busybox", "in-dir-cli", "-s", "cli-dir")
        assert "in-dir-cli" in host.hutch("storage", "volume", "list", "cli-dir").stdout
        assert "Usage: " in host.hutch("storage", "volume", "info", "cli-dir", "container/in-dir-cli").stdout
        refused = host.hutch("storage", "delete", "cli-dir", check=False)
        assert refused.returncode == 1
    finally:
        host.hutch("delete", "in-dir-cli", check=False)
        host.hutch("storage", "delete", "cli-dir")


def test_projects_and_version(host: Host) -> None:
    assert "| default (current) |" in host.hutch("project", "list").stdout
    assert yaml.safe_load(host.hutch("project", "show", "default").stdout)["name"] == "default"
    assert "Server version: 0." in host.hutch("version").stdout


def test_operations_are_listed_and_shown(host: Host, guest: Guest) -> None:
    guest(start=False)
    rows = host.hutch("operation", "list", "-f", "csv").stdout.splitlines()
    row = next(row for row in rows if "Creating instance" in row)
    shown = yaml.safe_load(host.hutch("operation", "show", row.split(",")[0]).stdout)
    assert shown["description"] == "Creating instance"


def test_query(host: Host, guest: Guest) -> None:
    name = guest(start=False)
    assert f"/1.0/instances/{name}" in json.loads(host.hutch("query", "/1.0/instances").stdout)
    words = ["-X", "PUT", "-d", '{"action": "start"}', "--wait", f"/1.0/instances/{name}/state"]
    assert json.loads(host.hutch("query", *words).stdout)["status_code"] == 200
    assert json.loads(host.hutch("query", "--raw", "/1.0/instances").stdout)["type"] == "sync"
    assert "not JSON" in host.hutch("query", "-d", "{", "/1.0/instances", check=False).stderr
    assert json.loads(host.hutch("query", "/1.0/openapi.json").stdout)["openapi"].startswith("3.1")
    assert "lxd_uptime_seconds" in host.hutch("query", "/1.0/metrics").stdout
    assert "Instance not found" in host.hutch("query", "/1.0/instances/nobody", check=False).stderr


@pytest.mark.parametrize("form", ["pretty", "json", "yaml"])
def test_monitor_tells_what_happens(host: Host, guest: Guest, form: str) -> None:
    words = [HUTCH, "monitor", "--type", "lifecycle", "--format", form]
    env = {**os.environ, "HUTCH_DIR": str(host.directory), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=env, text=True) as process:
        assert process.stdout is not None
        for _ in range(50):
            name = guest(start=False)
            if _readable(process.stdout.fileno(), 0.3):
                break
        line = ""
        while name not in line:
            line = process.stdout.readline()
            assert line
        process.terminate()
    assert "instance-created" in line or form == "yaml"


def _readable(descriptor: int, seconds: float) -> bool:
    import select

    return bool(select.select([descriptor], [], [], seconds)[0])


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("instance", "guest"),
        ("image", "busybox"),
        ("profile", "default"),
        ("network", "hutchbr0"),
        ("pool", "default"),
        ("key", "limits.memory"),
        ("network-key", "ipv4.nat"),
        ("instance-or-key", "core.https_address"),
    ],
)
def test_names_for_the_shell(host: Host, guest: Guest, kind: str, part: str) -> None:
    guest(start=False)
    assert part in host.hutch("__complete", kind).stdout
