"""`hutch image build`, with real packages from this machine's mirror.

The client runs in the machine's own network, as a person's would; the daemon in its host's.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import Host, wait_until
from tests.hosts.host import BIN

Build = Callable[..., subprocess.CompletedProcess[str]]

DEVICES = {"fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"}
RECIPE = """\
suite: bookworm
name: probe
description: a probe
packages: [busybox-static, python3-minimal]
files:
  /etc/motd: Welcome.
  /usr/local/bin/hello: {content: "#!/bin/sh\\necho hello\\n", mode: "4755"}
commands:
  - cat /proc/self/uid_map > /root/ids
  - ls /sys /proc/1/root/sys /proc/1/root/home /proc/1/root/root /proc/1/root/run > /root/seen
  - ls /proc/1/root/dev | tr '\\n' ' ' > /root/devices
  - if cat /proc/1/root/etc/shadow; then exit 1; fi
  - if mknod /root/disk b 254 0; then exit 1; fi
  - ip -o link | wc -l > /root/links
  - busybox hostname changed
"""


@pytest.fixture
def build(host: Host, tmp_path: Path) -> Iterator[Build]:
    """Runs `hutch image build`; the images it makes are deleted afterwards."""
    before = {image["fingerprint"] for image in host.get("/1.0/images?recursion=1")}

    def run(*argv: str, cache: Path = tmp_path / "cache") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "hutch", "image", "build", *argv, "--cache", str(cache)],
            env={**os.environ, "HUTCH_DIR": str(host.directory)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=350,
            check=False,
        )

    yield run
    for image in host.get("/1.0/images?recursion=1"):
        if image["fingerprint"] not in before:
            host.call("DELETE", f"/1.0/images/{image['fingerprint']}")


def test_busybox_is_built_imported_and_kept(
    host: Host, build: Build, guest: Callable[..., str], tmp_path: Path
) -> None:
    first = build("busybox", "--alias", "fresh-busybox")

    assert first.returncode == 0, first.stderr
    assert "Downloading the package busybox-static" in first.stdout + first.stderr
    file = tmp_path / "cache" / "busybox.tar.zst"
    assert file.stat().st_size < 2_000_000
    name = guest("fresh-busybox")
    assert host.exec(name, "hostname").stdout == f"{name}\n"
    assert host.exec(name, "cat", "/etc/hostname").stdout == f"{name}\n"
    assert host.address_of(name)
    assert host.address_of(name, "inet6")

    again = build("busybox", "--alias", "fresh-busybox")

    assert again.returncode == 0, again.stderr
    assert f"Using {file}" in again.stdout + again.stderr
    assert "Downloading" not in again.stdout + again.stderr


def test_a_split_squashfs_can_be_imported(host: Host, build: Build, guest: Callable[..., str]) -> None:
    done = build("busybox", "--alias", "split-busybox", "--split", "--compression", "squashfs")

    assert done.returncode == 0, done.stderr
    assert host.exec(guest("split-busybox"), "cat", "/proc/1/comm").stdout == "init\n"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_recipe_is_built_isolated_and_boots(
    host: Host, build: Build, guest: Callable[..., str], tmp_path: Path
) -> None:
    recipe = tmp_path / "probe.yaml"
    recipe.write_text(RECIPE)
    hostname = os.uname().nodename

    done = build(str(recipe))

    assert done.returncode == 0, done.stderr
    assert os.uname().nodename == hostname
    name = guest("probe")
    wait_until(lambda: "running" in host.exec(name, "systemctl", "is-system-running", check=False).stdout, 30)
    text = {file: host.exec(name, "cat", f"/root/{file}").stdout for file in ("ids", "seen", "devices", "links")}
    inside, outside, count = map(int, text["ids"].split())
    assert (inside, count) == (0, 65536)
    assert outside > 1_001_000_000  # no user's and no guest's
    assert [line for line in text["seen"].splitlines() if line and not line.endswith(":")] == []
    assert set(text["devices"].split()) <= DEVICES
    assert text["links"].strip() == "1"
    assert host.exec(name, "hello").stdout == "hello\n"
    assert host.exec(name, "stat", "-c", "%a %u", "/usr/local/bin/hello").stdout == "4755 0\n"
    assert len(host.exec(name, "cat", "/etc/machine-id").stdout.strip()) == 32
    assert host.exec(name, "systemctl", "--failed", "--no-legend").stdout == ""
    uris = host.exec(name, "apt-get", "update", "--print-uris").stdout
    assert all(f"/dists/{suite}/InRelease'" in uris for suite in ("bookworm", "bookworm-updates", "bookworm-security"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_broken_off_leaves_nothing(build: Build, tmp_path: Path, number: signal.Signals) -> None:
    recipe, cache = tmp_path / "short.yaml", tmp_path / "cache"
    recipe.write_text("suite: bookworm\n")
    words = [BIN / "hutch", "image", "build", recipe, "--cache", cache, "--no-import"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as building:
        assert building.stdout is not None
        assert any(line.startswith("Installing") for line in building.stdout)
        wait_until(lambda: running_in(cache), 30, what="programs work in the cache")
        building.send_signal(number)
        assert building.wait(30) != 0

    wait_until(lambda: not running_in(cache), 10, what="the programs have ended")
    if number is signal.SIGKILL:
        build("busybox", "--no-import")
    assert list(cache.glob("build-*")) == []


def running_in(folder: Path) -> list[str]:
    """The command lines that name the folder."""
    found = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in found if f"{folder}/build-" in line]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("suite: bookworm\npackages: [no-such-package-here]\n", "Unable to locate package no-such-package-here"),
        ("suite: bookworm\nmirror: file:///nonexistent/debian\n", "cannot read the package lists of debian bookworm"),
        ("suite: bookworm\npackages: nginx\n", "the recipe's packages must be a list of texts"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(build: Build, tmp_path: Path, recipe: str, message: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(recipe)

    done = build(str(file))

    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "cache").glob("build-*")) == []


def test_an_unknown_recipe_is_named_with_the_known_ones(build: Build) -> None:
    done = build("plan9")

    assert done.returncode == 1
    assert "no recipe 'plan9'; built in are debian/12, debian/13, busybox" in done.stderr
