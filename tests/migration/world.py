"""Two whole hosts and a bystander on one wire, and a guest that moves between the hosts while the bystander talks to it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.hosts import ApiError, Host, Segment, images, wait_until
from tests.hosts.namespace import Namespace, pids

PORT, ECHO = 8443, 7000
_CHATTER = Path(__file__).parent / "chatter.py"
_SERVER = (
    "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 7000, Listen => 9, ReuseAddr => 1) or die; "
    "while ($c = $s->accept) { next if fork; $c->autoflush(1); while (sysread($c, $b, 4096)) { syswrite($c, $b) } exit }"
)


class World:
    """`a` and `b` have bridges br0 on the wire, trust each other, and know the image `debian` (B only if `image`)."""

    def __init__(self) -> None:
        self.segment = Segment()
        self.outside = Namespace()
        self.hosts: list[Host] = []
        self._dhcp: subprocess.Popen[bytes] | None = None
        try:
            self.a, self.b = self._host(image=True), self._host(image=False)
            address = self.segment.join(self.outside)
            self._serve(address)
        except BaseException:
            self.close()
            raise

    def _host(self, *, image: bool) -> Host:
        host = Host(segment=self.segment)
        self.hosts.append(host)
        for words in (
            "ip link add br0 type bridge",
            "ip address flush dev eth0",
            "ip link set eth0 master br0",
            f"ip address add {host.address}/24 dev br0",
            "ip link set br0 up",
        ):
            host.run(*words.split())
        host.call("POST", "/1.0/storage-pools", {"name": "default", "driver": "overlay"})
        devices = {
            "root": {"type": "disk", "path": "/", "pool": "default"},
            "eth0": {"type": "nic", "nictype": "bridged", "parent": "br0", "name": "eth0"},
        }
        host.call("PUT", "/1.0/profiles/default", {"config": {}, "devices": devices})
        if image:
            host.import_image(images.built("debian/12"), "debian")
        host.call("PATCH", "/1.0", {"config": {"core.https_address": f"{host.address}:{PORT}"}})
        return host

    def _serve(self, address: str) -> None:
        words = ["--conf-file=/dev/null", "--port=0", "--no-daemon", "--dhcp-authoritative", "--bind-interfaces"]
        words += ["--interface=eth0", "--dhcp-range=10.123.0.100,10.123.0.200,1h", "--no-ping"]
        words += [f"--dhcp-leasefile={self.a.folder}/outside.leases", f"--pid-file={self.a.folder}/outside.pid"]
        nothing = subprocess.DEVNULL
        self._dhcp = subprocess.Popen(
            self.outside.command("dnsmasq", *words),
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            start_new_session=True,
        )

    def close(self) -> None:
        for host in reversed(self.hosts):
            host.close()
        self.outside.close()
        if self._dhcp is not None:
            self._dhcp.wait()
        self.segment.close()

    def guest(self, name: str, **config: str) -> str:
        """A Debian guest on A that is up and answers on ECHO; its address."""
        self.a.create(name, "debian", config={"migration.stateful": "true", **config})
        wait_until(lambda: self.up(self.a, name), 60, what=f"{name} is up")
        self.a.exec(name, "systemd-run", "--quiet", "--unit=echo", "perl", "-e", _SERVER)
        address = self.a.address_of(name, timeout=60)
        wait_until(lambda: ":7000" in self.a.exec(name, "ss", "-ltn").stdout, 30, what="the echo is served")
        return address

    def up(self, host: Host, name: str) -> bool:
        return host.exec(name, "systemctl", "is-system-running", "--wait", check=False).stdout == "running\n"

    @contextmanager
    def talk(self, address: str) -> Iterator[dict[str, Any]]:
        """Somebody outside talks to the guest meanwhile; afterwards what they saw is in the dictionary."""
        going = Path(self.a.folder, f"talking-{address}")
        going.touch()
        seen: dict[str, Any] = {}
        words = self.outside.command(sys.executable, "-I", "-S", _CHATTER, address, str(ECHO), going)
        with subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as talking:
            try:
                yield seen
            except BaseException:
                talking.kill()
                raise
            finally:
                going.unlink()
            out, _ = talking.communicate(timeout=90)
        if not out.startswith(b"{"):
            raise AssertionError(f"the one who talks gave up: {out.decode()}")
        seen |= json.loads(out)

    def hutch(self, host: Host, *words: str) -> str:
        """What the command line of a user on the host says, who knows the other host as `other:`."""
        env = {"HUTCH_CONF": str(host.folder / "conf")}
        if not (host.folder / "conf").exists():
            token = self.other(host).hutch("config", "trust", "add", "--name", host.folder.name).stdout.split()[-1]
            host.hutch("remote", "add", "other", token, env=env)
        return host.hutch(*words, env=env).stdout

    def lxc(self, host: Host, *words: str) -> None:
        """The same with LXD's."""
        other = self.other(host)
        other.call("PATCH", "/1.0", {"config": {"core.trust_password": "secret"}})
        address = f"https://{other.address}:{PORT}"
        host.lxc("remote", "add", "other", address, "--accept-certificate", "--password", "secret", check=False)
        host.lxc(*words)

    def other(self, host: Host) -> Host:
        return self.b if host is self.a else self.a

    def begin(self, name: str, source: Host) -> tuple[str, str]:
        """Let the target pull the running guest; both operations."""
        target = self.other(source)
        path = f"/1.0/instances/{name}"
        found = source.get(path)
        offered = source.api.begin("POST", path, {"name": name, "migration": True, "live": True})
        where = {
            "type": "migration",
            "mode": "pull",
            "live": True,
            "operation": f"https://{source.address}:{PORT}{offered['operation']}",
            "certificate": source.get("/1.0")["environment"]["certificate"],
            "secrets": offered["metadata"]["metadata"],
        }
        kept = {
            key: found[key] for key in ("config", "architecture", "devices", "profiles", "ephemeral", "description")
        }
        pulling = target.api.begin("POST", "/1.0/instances", kept | {"name": name, "source": where})
        return offered["operation"], pulling["operation"]

    def move(self, name: str, source: Host) -> dict[str, Any]:
        """Move it and delete what stays behind, as a client does; the source's operation at its end."""
        left, came = self.begin(name, source)
        done = source.api.wait(left)
        self.other(source).api.wait(came)
        source.call("DELETE", f"/1.0/instances/{name}")
        return done

    def alive(self, name: str) -> list[Host]:
        """Where there are processes of the guest, by what the kernel says."""
        groups = " ".join(_cgroups_of(pid) for pid in pids())
        return [host for host in self.hosts if f"/{host.cgroup}/default_{name}/" in groups]

    def describe(self, name: str) -> str:
        """Every process of the guest on either host."""
        found = []
        for pid in pids():
            groups = _cgroups_of(pid)
            if any(f"/{host.cgroup}/" in groups and name in groups for host in self.hosts):
                with suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append(f"{pid} {words[:80]} {groups.splitlines()[-1]}")
        return "\n".join(found)

    def running(self, name: str) -> list[Host]:
        """Where the guest runs, by what its host says."""
        found = []
        for host in self.hosts:
            with suppress(ApiError, OSError):
                if host.get(f"/1.0/instances/{name}/state")["status"] == "Running":
                    found.append(host)
        return found


def _cgroups_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cgroup").read_text()
    return ""
