"""One dnsmasq a bridge: DHCP, router advertisements and DNS. It outlives the daemon and is found again by its pid file."""

import asyncio
import contextlib
import logging
import os
import pwd
import signal
import time
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from pathlib import Path

from hutch.errors import HutchError
from hutch.kernel import ip, namespaces, pidfd
from hutch.kernel.run import run
from hutch.schema.base import Config
from hutch.schema.keys.base import as_bool
from hutch.schema.keys.network import ranges4, ranges6
from hutch.work.tasks import Tasks

log = logging.getLogger(__name__)

_RESOLV = Path("/etc/resolv.conf")
_LOG_KEPT = 1 << 20
_STEADY = 30.0
_SLOWEST = 60.0


class Dnsmasq:
    """The process whose files are in `path`: started, replaced, watched and started again when it dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arguments: list[str] = []
        self._watch: pidfd.Watch | None = None
        self._tasks = Tasks()
        self._began = 0.0
        self._pause = 0.0

    @property
    def hosts(self) -> Path:
        return self.path / "dnsmasq.hosts"

    @property
    def leases(self) -> Path:
        return self.path / "dnsmasq.leases"

    @property
    def raw(self) -> Path:
        return self.path / "dnsmasq.raw"

    @property
    def pid(self) -> int | None:
        return self._watch.pid if self._watch is not None else None

    async def ensure(self, arguments: list[str], raw: str, *, fresh: bool = False) -> None:
        """Have it run with these arguments and this configuration file.

        One that does so already goes on undisturbed, unless it is to be `fresh` because its bridge is another one.
        """
        self._arguments = [*arguments, *await asyncio.to_thread(self._files)]
        found = await asyncio.to_thread(self._prepare, raw.strip() + "\n")
        if found is not None and not fresh:
            self._observe(found)
            return
        await self._end()
        await self._start()

    async def stop(self) -> None:
        """End it; reservations and leases stay on disk."""
        await self.detach()
        await self._end()
        await asyncio.to_thread(self._pid_file.unlink, missing_ok=True)

    async def detach(self) -> None:
        """Watch it no more; it goes on by itself."""
        await self._tasks.close()
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    async def reload(self) -> None:
        """Have it read the hosts folder again."""
        await asyncio.to_thread(self._signal, signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> int | None:
        found = self._find()
        if found is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found, number)
        return found

    def _prepare(self, raw: str) -> int | None:
        """Write the configuration file; the pid of a process that runs with just that and our arguments."""
        self.hosts.mkdir(parents=True, exist_ok=True)
        same = self.raw.is_file() and self.raw.read_text() == raw
        self.raw.write_text(raw)
        found = self._find()
        current = found is not None and same and _cmdline(found) == self._arguments and _shares_network(found)
        return found if current else None

    def _files(self) -> list[str]:
        return [
            f"--conf-file={self.raw}",
            f"--pid-file={self._pid_file}",
            f"--log-facility={self.path / 'dnsmasq.log'}",
            f"--dhcp-leasefile={self.leases}",
            f"--dhcp-hostsfile={self.hosts}",
            f"--user={_account(self.path)}",
        ]

    @property
    def _pid_file(self) -> Path:
        return self.path / "dnsmasq.pid"

    def _find(self) -> int | None:
        """The pid of the process; its arguments, which name our pid file, tell it from one that took over the number."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text())
            return pid if f"--pid-file={self._pid_file}" in _cmdline(pid) else None
        return None

    async def _start(self) -> None:
        await asyncio.to_thread(self._trim_log)
        # It puts itself into the background once it listens: an error before that is the status of this call.
        words, descriptors = namespaces.among_host_mounts(self._arguments)
        await run(words, pass_fds=descriptors)
        self._began = time.monotonic()
        found = await asyncio.to_thread(self._find)
        if found is None:
            self._ended()
        else:
            self._observe(found)

    def _trim_log(self) -> None:
        path = self.path / "dnsmasq.log"
        if path.is_file() and path.stat().st_size > _LOG_KEPT:
            path.unlink()

    def _observe(self, pid: int) -> None:
        if self._watch is not None:
            if self._watch.pid == pid:
                return
            self._watch.close()
        self._watch = pidfd.Watch(pid, self._ended)

    def _ended(self) -> None:
        self._watch = None
        self._tasks.spawn(self._again(), f"restart of dnsmasq in {self.path}")

    async def _again(self) -> None:
        """Start it again, at once after a long run, later and later when it keeps dying."""
        steady = time.monotonic() - self._began > _STEADY
        self._pause = 0.0 if steady else min(_SLOWEST, self._pause * 2 or 0.1)
        log.warning("dnsmasq in %s ended: it is started again in %.1f s", self.path, self._pause)
        while True:
            await asyncio.sleep(self._pause)
            try:
                return await self._start()
            except HutchError as error:
                self._pause = min(_SLOWEST, self._pause * 2 or 0.1)
                log.error("dnsmasq in %s does not start: %s; next try in %.1f s", self.path, error, self._pause)

    async def _end(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        found = await asyncio.to_thread(self._signal, signal.SIGTERM)
        if found is None:
            return
        try:
            async with asyncio.timeout(5):
                await pidfd.wait(found)
        except TimeoutError:
            await asyncio.to_thread(self._signal, signal.SIGKILL)
            await pidfd.wait(found)


def _cmdline(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    return []


def _shares_network(pid: int) -> bool:
    """Whether the process is in our network namespace."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/ns/net").stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
    return False


def _account(path: Path) -> str:
    """Who it runs as: Debian's user for it where the folder can be reached by it, root in a private place."""
    if any(not parent.stat().st_mode & 0o001 for parent in (path, *path.parents)):
        return "root"
    for name in ("dnsmasq", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return "root"


async def upstream() -> list[str]:
    """The arguments that say whom to ask for names that are not ours.

    On the host itself the host's resolvers, which dnsmasq follows when they change. In a network namespace of its own the
    host's loopback resolver is out of reach, and without a way out there is nobody to ask.
    """
    if await asyncio.to_thread(_shares_network, 1):
        return []
    servers = await asyncio.to_thread(nameservers, _RESOLV) if await ip.has_default_route() else []
    return ["--no-resolv", *(f"--server={server}" for server in servers)]


def nameservers(path: Path) -> list[str]:
    """The resolvers that a resolv.conf names, without those on a loopback address."""
    found = []
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) < 2 or words[0] != "nameserver":
                continue
            with contextlib.suppress(ValueError):
                if not ip_address(words[1].partition("%")[0]).is_loopback:
                    found.append(words[1])
    return found


def arguments(interface: str, config: Config, ipv4: IPv4Interface | None, ipv6: IPv6Interface | None) -> list[str]:
    """The command line for a bridge with these settings, apart from its files and upstream servers."""
    domain = config.get("dns.domain") or "lxd"
    words = ["dnsmasq", "--strict-order", "--bind-interfaces", "--except-interface=lo", f"--interface={interface}"]
    # Without --no-ping an address is offered only after a wait of up to three seconds.
    words += ["--no-ping", "--no-negcache", "--quiet-dhcp", "--quiet-dhcp6", "--quiet-ra"]
    words += [f"--domain={domain}", f"--server=/{domain}/", f"--interface-name=_gateway.{domain},{interface}"]
    if config.get("dns.mode") == "none":
        words.append("--dhcp-ignore-names")
    if ipv4 is not None:
        words += [f"--listen-address={ipv4.ip}", *_dhcp4(config, ipv4)]
    if ipv6 is not None:
        words += [f"--listen-address={ipv6.ip}", "--enable-ra", *_dhcp6(interface, config, ipv6)]
    return words


def _dhcp4(config: Config, gateway: IPv4Interface) -> list[str]:
    if not as_bool(config.get("ipv4.dhcp"), True):
        return []
    words = ["--dhcp-no-override", "--dhcp-authoritative", "--dhcp-rapid-commit"]
    if router := config.get("ipv4.dhcp.gateway"):
        words.append(f"--dhcp-option-force=3,{router}")
    if config.get("bridge.mtu", "1500") != "1500":
        words.append(f"--dhcp-option-force=26,{config['bridge.mtu']}")
    if search := config.get("dns.search"):
        words.append(f"--dhcp-option-force=119,{search.replace(' ', '')}")
    network, expiry = gateway.network, config.get("ipv4.dhcp.expiry") or "1h"
    ranges = config.get("ipv4.dhcp.ranges") or f"{network[1]}-{network[-2]}"
    return words + [f"--dhcp-range={first},{last},{expiry}" for first, last in ranges4(ranges)]


def _dhcp6(interface: str, config: Config, gateway: IPv6Interface) -> list[str]:
    if not as_bool(config.get("ipv6.dhcp"), True):
        return [f"--dhcp-range=::,constructor:{interface},ra-only"]
    if not as_bool(config.get("ipv6.dhcp.stateful")):
        names = "" if config.get("dns.mode") == "none" else ",ra-names"
        return [f"--dhcp-range=::,constructor:{interface},ra-stateless{names}"]
    network, expiry = gateway.network, config.get("ipv6.dhcp.expiry") or "1h"
    ranges = config.get("ipv6.dhcp.ranges") or f"{network[2]}-{network[-1]}"
    return [f"--dhcp-range={first},{last},{network.prefixlen},{expiry}" for first, last in ranges6(ranges)]
