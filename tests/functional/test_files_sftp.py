"""SFTP into instances, as `lxc file mount` opens it, with OpenSSH's client at the other end."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import Host, wait_until


class Mount:
    """`lxc file mount --listen`: an SSH server of the client, whose SFTP goes to the daemon."""

    def __init__(self, host: Host, name: str, port: int) -> None:
        self.host, self.port = host, port
        env = {**os.environ, "LXD_DIR": str(host.directory), "LXD_CONF": str(host.folder / "lxc-client")}
        words = ["lxc", "file", "mount", name, "--no-auth", f"--listen=127.0.0.1:{port}"]
        self.process = subprocess.Popen(
            host.namespace.command(*words), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "listening" in line:
                return
        raise AssertionError(f"lxc file mount ended with {self.process.wait()}")

    def sftp(self, *commands: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = ["sftp", "-q", "-b", "-", "-P", str(self.port)]
        options = ["StrictHostKeyChecking=no", f"UserKnownHostsFile={self.host.folder}/known_hosts", "LogLevel=ERROR"]
        words += [word for option in options for word in ("-o", option)]
        return self.host.run(*words, "127.0.0.1", input="\n".join(commands) + "\n", check=check)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def box(host: Host) -> Iterator[str]:
    host.create("sftpbox", "busybox")
    host.exec("sftpbox", "mkdir", "-p", "/srv")
    yield "sftpbox"
    host.delete("sftpbox")


@pytest.fixture
def mounted(host: Host) -> Iterator[Callable[[str, int], Mount]]:
    made: list[Mount] = []

    def mount(name: str, port: int) -> Mount:
        made.append(Mount(host, name, port))
        return made[-1]

    yield mount
    for each in made:
        each.close()


def test_files_folders_and_links(host: Host, box: str, mounted: Callable[[str, int], Mount], tmp_path: Path) -> None:
    mount = mounted(box, 2201)
    source = tmp_path / "data"
    source.write_bytes(os.urandom(20 << 20))
    source.chmod(0o640)
    mount.sftp(
        f"put -p {source} /srv/data", "mkdir /srv/dir", "symlink /srv/data /srv/link", f"get /srv/data {tmp_path}/back"
    )
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    listing = host.exec(box, "stat", "-c", "%u %g %a %n", "/srv/data", "/srv/dir").stdout
    assert listing == "0 0 640 /srv/data\n0 0 755 /srv/dir\n"
    assert host.exec(box, "readlink", "/srv/link").stdout == "/srv/data\n"
    mount.sftp("chown 1000 /srv/data", "chmod 600 /srv/data", "rename /srv/data /srv/dir/moved", "rm /srv/link")
    assert host.exec(box, "stat", "-c", "%u %a", "/srv/dir/moved").stdout == "1000 600\n"
    assert "moved" in mount.sftp("ls -l /srv/dir").stdout
    assert mount.sftp("rm /srv/nothing", check=False).returncode != 0


def test_there_is_no_way_out(host: Host, box: str, mounted: Callable[[str, int], Mount], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("the host's")
    outside.chmod(0o666)
    mount = mounted(box, 2202)
    climb = "../" * 30
    host.exec(box, "sh", "-c", f"ln -sf {outside} /srv/abs; ln -sf {climb[:-1]}{outside} /srv/up")
    for path in ("/srv/abs", "/srv/up", f"/{climb}{str(outside)[1:]}", f"/proc/1/root{outside}"):
        assert mount.sftp(f"get {path} {tmp_path}/stolen", check=False).returncode != 0
        mount.sftp(f"put /etc/hostname {path}", check=False)
    assert outside.read_text() == "the host's"
    core = Path("/proc/sys/kernel/core_pattern").read_text()
    assert mount.sftp("put /etc/hostname /proc/sys/kernel/core_pattern", check=False).returncode != 0
    assert Path("/proc/sys/kernel/core_pattern").read_text() == core


def test_a_stopped_instance_is_served_until_it_is_started(
    host: Host, guest: Callable[..., str], mounted: Callable[[str, int], Mount]
) -> None:
    name = guest(start=False)
    mount = mounted(name, 2203)
    mount.sftp("put /etc/hostname /etc/pushed", "chown 5 /etc/pushed")
    with subprocess.Popen(
        host.namespace.command(
            *("sftp", "-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-P", "2203"),
            "127.0.0.1",
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as open_session:
        assert open_session.stdin is not None
        assert open_session.stdout is not None
        open_session.stdin.write("pwd\n")
        open_session.stdin.flush()
        wait_until(lambda: "working directory" in open_session.stdout.readline(), 10, what="sftp answers")  # type: ignore[union-attr]
        began = time.monotonic()
        host.power(name, "start")
        assert time.monotonic() - began < 5
        open_session.kill()
    assert host.exec(name, "stat", "-c", "%u", "/etc/pushed").stdout == "5\n"


def test_a_session_ends_with_its_guest(
    host: Host, guest: Callable[..., str], mounted: Callable[[str, int], Mount]
) -> None:
    name = guest()
    mounted(name, 2204).sftp("ls /")
    host.power(name, "stop", force=True)
    host.call("DELETE", f"/1.0/instances/{name}")
    assert (
        "helper/sftp.py" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    )


def test_it_is_no_page(host: Host, box: str) -> None:
    assert host.api.raw("GET", f"/1.0/instances/{box}/sftp")[0] == 400
