"""Builds the daemon from its parts, in order, and takes it down again: the list of what hutch consists of."""

import asyncio
import hashlib
import logging
import os
import shutil
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from aiohttp import web
from msgspec.structs import replace

from hutch import __version__, registry
from hutch.access.projects import Kind
from hutch.api import routes, wire
from hutch.api.routes import metrics
from hutch.daemon import dns, listen
from hutch.daemon.config import Options
from hutch.daemon.doors import Doors
from hutch.daemon.notify import notify
from hutch.errors import HutchError
from hutch.kernel.inotify import PathWatch
from hutch.kernel.run import run
from hutch.runtime import drivers as runtimes
from hutch.runtime.console import Consoles
from hutch.runtime.proxies import Proxies
from hutch.schema.profile import ProfileRecord
from hutch.schema.project import ProjectRecord
from hutch.service import (
    certificates,
    firewall,
    hotplug,
    images,
    loki,
    networks,
    notes,
    pools,
    scheduler,
    server,
    warnings,
)
from hutch.service.backups import keep
from hutch.service.instances import boot, power
from hutch.service.migration import live_moves, stage
from hutch.service.parts import Parts
from hutch.store.records import State
from hutch.store.sqlite import SqliteStore
from hutch.work.events import Events, LogHandler
from hutch.work.lifetime import Lifetime
from hutch.work.locks import Locks
from hutch.work.operations import Operations
from hutch.work.stalls import Selector
from hutch.work.tasks import Tasks

log = logging.getLogger(__name__)


async def serve(options: Options, stalls: Selector) -> None:
    """Run the daemon until SIGTERM, SIGINT or a request to shut down; `stalls` is the selector of the event loop."""
    lifetime = Lifetime()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lifetime.ending.set)
    async with AsyncExitStack() as stack:
        https = Late()
        parts = await _build(options, lifetime, stalls, https, stack)
        await _bring_up(parts)
        await _serve(options, parts, https, stack)
        host_booted = await _booted(parts)
        lifetime.ready.set()
        notify("READY=1")
        log.info("hutchd %s is ready in %s", __version__, options.directory)
        parts.tasks.spawn(firewall.watch(parts), "watch of the firewall")
        parts.tasks.spawn(boot.autostart(parts, host_booted=host_booted), "autostart")
        parts.tasks.spawn(scheduler.run(parts), "scheduler")
        parts.tasks.spawn(loki.run(parts), "events to Loki")
        parts.tasks.spawn(notes.run(parts), "notes for recovery")
        await lifetime.ending.wait()
        notify("STOPPING=1")
        for network in parts.networks.values():
            await network.detach()
        log.info("hutchd stops; instances go on (longest round of the event loop: %.1f ms)", stalls.longest * 1000)


async def _build(options: Options, lifetime: Lifetime, stalls: Selector, https: "Late", stack: AsyncExitStack) -> Parts:
    directory = options.directory
    for name in ("images", "instances", "networks", "storage-pools", "database"):
        (directory / name).mkdir(exist_ok=True, mode=0o711)
    (directory / "images").chmod(0o700)
    (directory / "database").chmod(0o700)
    store = await SqliteStore.open(directory / "database" / "hutch.db")
    stack.push_async_callback(store.close)
    state = State(store)
    await state.load()
    events, tasks = Events(), Tasks()
    operations = Operations(events, tasks)
    handler = LogHandler(events, asyncio.get_running_loop())
    logging.getLogger().addHandler(handler)
    stack.callback(logging.getLogger().removeHandler, handler)
    stack.push_async_callback(tasks.close)
    stack.push_async_callback(operations.close)
    consoles = Consoles(directory)
    await consoles.connect()
    stack.callback(consoles.stop)
    proxies = Proxies(directory)
    stack.callback(proxies.stop)

    def moved(key: str) -> None:
        parts.tasks.spawn(hotplug.follow(parts, key), f"hot plug of {key}")

    paths = PathWatch(moved)
    stack.callback(paths.close)

    def ended(project: str, name: str, target: str) -> None:
        parts.tasks.spawn(power.ended(parts, project, name, target), f"end of instance {name}")

    runtime = registry.load(runtimes, "lxc")(options.identity, ended, lxcfs(options))
    stack.push_async_callback(runtime.close)
    certificate = await _certificate(directory)
    doors = Doors(lambda: parts)
    stack.push_async_callback(doors.stop)
    parts = Parts(
        directory=directory,
        state=state,
        operations=operations,
        events=events,
        locks=Locks(),
        tasks=tasks,
        runtime=runtime,
        consoles=consoles,
        proxies=proxies,
        paths=paths,
        lifetime=lifetime,
        stalls=stalls,
        boot=options.boot,
        certificate=certificate,
        fingerprint=hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest(),
        listen=https,
        doors=doors,
    )
    return parts


async def _certificate(directory: Path) -> str:
    """The server's certificate, PEM; made at the first start by a program, which spares the daemon the library's weight."""
    path = directory / "server.crt"
    if not path.exists() or not (directory / "server.key").exists():
        await run([sys.executable, "-m", "hutch.access.x509", directory])
    return await asyncio.to_thread(path.read_text)


def lxcfs(options: Options) -> Path | None:
    """The mount point of lxcfs, when there is one that answers."""
    for path in [options.lxcfs] if options.lxcfs else [options.directory / "lxcfs", Path("/var/lib/lxcfs")]:
        if os.access(path / "proc" / "meminfo", os.R_OK):
            return path
    log.warning("lxcfs is not mounted: guests will see the host's memory, CPUs and uptime in /proc")
    return None


async def _bring_up(parts: Parts) -> None:
    """Networks and pools first, then what a crash left, then the guests that run already."""
    await _first_records(parts)
    await warnings.tidy(parts)
    missing = (
        "" if parts.runtime.offers_lxcfs else "lxcfs is not mounted: guests see the host's memory, CPUs and uptime"
    )
    await warnings.told(parts, warnings.Kind.LXCFS, "", "", missing)
    if shutil.which("lxc-start") is None:
        raise HutchError("lxc-start is not installed: install the package lxc (`make setup` does)")
    for record in parts.state.pools.all():
        pool = pools.driver_class(record.driver)(
            record.name, parts.directory / "storage-pools" / record.name, record.config
        )
        if record.pending:
            take_back = partial(pools.take_back, parts, record, pool)
            await _tried(f"the unfinished storage pool {record.name}", take_back)
            continue
        told = partial(warnings.told, parts, warnings.Kind.POOL, pools.url(record.name), "")
        if await _tried(f"storage pool {record.name}", pool.activate, told):
            parts.pools[record.name] = pool
    for network_record in parts.state.networks.all():
        network = networks.driver_of(parts, network_record)
        where = networks.url(network_record.project, network_record.name)
        told = partial(warnings.told, parts, warnings.Kind.NETWORK, where, network_record.project)
        if await _tried(f"network {network_record.name}", network.start, told):
            parts.networks[network_record.name] = network
    await images.reconcile(parts)
    await live_moves.clear_unborn(parts)
    await keep.reconcile(parts)
    await boot.reconcile(parts)
    await stage.tidy(parts)
    await boot.adopt(parts)
    await live_moves.settle(parts)


async def _tried(
    what: str, step: Callable[[], Awaitable[None]], told: Callable[[str], Awaitable[None]] | None = None
) -> bool:
    """One thing that cannot be brought up does not keep the others down. `told` learns why, or nothing where all is well."""
    try:
        await step()
    except (HutchError, OSError) as error:
        log.error("%s is not available: %s", what, error)
        if told is not None:
            await told(str(error))
        return False
    if told is not None:
        await told("")
    return True


async def _first_records(parts: Parts) -> None:
    state = parts.state
    if state.projects.find("default") is None:
        config = {f"features.{kind}": "true" for kind in Kind}
        await state.put(ProjectRecord(name="default", description="Default project", config=config))
    if state.profiles.find("default", "default") is None:
        await state.put(ProfileRecord(name="default", description="Default profile"))


async def _booted(parts: Parts) -> bool:
    """Whether the host has booted since a daemon last started here."""
    record = server.settings(parts)
    if record.boot == parts.boot:
        return False
    await parts.state.put(replace(record, boot=parts.boot))
    return True


class Late:
    """The HTTPS listeners by their settings, which the verbs are given before the applications that they serve are built."""

    def __init__(self) -> None:
        self.listeners: dict[str, listen.Https | dns.Dns] = {}

    async def __call__(self, key: str, address: str) -> None:
        await self.listeners[key].listen(address)


async def _serve(options: Options, parts: Parts, https: Late, stack: AsyncExitStack) -> None:
    """Requests are let in: by the Unix socket, and by HTTPS where the settings say so."""
    stack.callback(parts.events.close)
    families = [module.routes for module in registry.modules(routes)]
    callers = listen.Callers(parts.state, await _authority(options.directory))
    runner = await _application(parts, callers, families, stack)
    alone = await _application(parts, callers, [metrics.routes], stack)
    for token in parts.state.tokens.all():
        await certificates.announce(parts, token)
    for key, served in zip(server.HTTPS, (runner, alone), strict=True):
        assert served.server is not None
        listener = https.listeners[key] = listen.Https(served.server, options.directory, options.tls)
        stack.push_async_callback(listener.close)
        if address := server.settings(parts).config.get(key, ""):
            await _tried(f"HTTPS on {address}", partial(listener.listen, address))
    if await asyncio.to_thread(listen.has_group, options.users):
        theirs = await _application(parts, listen.Users(parts.state, None), families, stack)
        place = listen.unix_socket(options.directory / "unix.socket.user", options.users)
        await web.SockSite(theirs, place).start()
    names = https.listeners["core.dns_address"] = dns.Dns(parts)
    stack.push_async_callback(names.close)
    if address := server.settings(parts).config.get("core.dns_address", ""):
        await _tried(f"DNS on {address}", partial(names.listen, address))
    own = listen.unix_socket(options.directory / "unix.socket", options.group)
    await web.SockSite(runner, own).start()


async def _authority(directory: Path) -> listen.Authority | None:
    """Who signs clients' certificates, in PKI mode."""
    if not await asyncio.to_thread((directory / "server.ca").exists):
        return None
    from hutch.access.pki import Authority

    log.info("PKI mode: only clients with a certificate that server.ca signed are let in by HTTPS")
    return await asyncio.to_thread(Authority, directory)


async def _application(
    parts: Parts, callers: listen.Callers, families: Iterable[wire.Routes], stack: AsyncExitStack
) -> web.AppRunner:
    runner = web.AppRunner(wire.application(parts, callers, families), access_log=None, shutdown_timeout=3)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner
