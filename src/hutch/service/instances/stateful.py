"""An instance's memory and processes kept in files while it is stopped: DIR/instances/PROJECT/NAME/state."""

import asyncio
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from hutch.errors import Conflict, HutchError, Invalid, ToolFailed, Unsupported
from hutch.kernel import mount, safepath, tree
from hutch.kernel.credentials import as_root_of, root_of
from hutch.kernel.idmap import IdMap
from hutch.runtime.base import Running
from hutch.runtime.plan import LaunchPlan
from hutch.schema.base import Config
from hutch.schema.instance import InstanceRecord
from hutch.schema.keys import instance as keys
from hutch.service.instances import expand
from hutch.service.parts import Parts

Result = TypeVar("Result")
KEY = "migration.stateful"
_STOP = "Stateful stop"
_TRIES, _PAUSE = 4, 0.2
_PASSING = ("has data to read", "Can't dump that handle")
_SYSTEMD = "/etc/systemd/system"
_FOLDER, _FILE = f"{_SYSTEMD}/service.d", "zzz-hutch-stateful.conf"
_DROP_IN = """\
# Written by hutch while migration.stateful=true: what a guest may not have for its memory to be saved.
[Service]
LoadCredential=
LoadCredentialEncrypted=
SetCredential=
SetCredentialEncrypted=
PrivateIPC=no
PrivateUsers=no
ProtectHostname=no
"""
# Older releases warn of a word that they do not know, for each service.
_NEWER = {254: "ImportCredential=\nMemoryPressureWatch=off\n", 257: "DynamicUser=no\nPrivatePIDs=no\nPrivateTmp=no\n"}
_LONGEST = 1 << 16
_LIBRARY = re.compile(r"libsystemd-shared-(\d+)")


def images(parts: Parts, record: InstanceRecord) -> Path:
    return parts.instance_directory(record.project, record.name) / "state"


async def prepare(root: int, idmap: Sequence[IdMap], config: Config) -> None:
    """Before a boot, in the guest's root: with migration.stateful switch off what CRIU cannot save, without it undo that."""
    await as_root_of(idmap, _place if keys.flag(config, KEY) else _take_away, root)


def _place(root: int) -> None:
    try:
        os.close(safepath.resolve(root, _SYSTEMD, os.O_DIRECTORY))
    except OSError:
        return
    try:
        folder = safepath.resolve(root, _FOLDER, os.O_DIRECTORY)
    except FileNotFoundError:
        above, name = safepath.parent(root, _FOLDER)
        try:
            os.mkdir(name, 0o755, dir_fd=above)
        finally:
            os.close(above)
        folder = safepath.resolve(root, _FOLDER, os.O_DIRECTORY)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(_FILE, flags, 0o644, dir_fd=folder), "w") as file:
            file.write(drop_in(root))
    finally:
        os.close(folder)


def drop_in(root: int) -> str:
    """What is placed in the guest: lines for the services of its systemd, with what its release knows."""
    version = _systemd_version(root)
    return _DROP_IN + "".join(line for since, line in _NEWER.items() if version >= since)


def _systemd_version(root: int) -> int:
    """By the name of its library; 0 when there is none."""
    places = [
        "/usr/lib/systemd",
        *(f"/usr/lib/{name}/systemd" for name in _names(root, "/usr/lib") if "-linux-" in name),
    ]
    found = [int(match[1]) for place in places for name in _names(root, place) if (match := _LIBRARY.match(name))]
    return max(found, default=0)


def _names(root: int, path: str) -> list[str]:
    try:
        with (
            mount.closing(safepath.resolve(root, path, os.O_DIRECTORY)) as folder,
            mount.closing(safepath.reopen(folder, os.O_RDONLY)) as opened,
            os.scandir(opened) as entries,
        ):
            return [entry.name for entry in entries]
    except OSError:
        return []


def _take_away(root: int) -> None:
    try:
        folder = safepath.resolve(root, _FOLDER, os.O_DIRECTORY)
    except OSError:
        return
    try:
        os.unlink(_FILE, dir_fd=folder)
        above, name = safepath.parent(root, _FOLDER)
        try:
            os.rmdir(name, dir_fd=above)
        finally:
            os.close(above)
    except OSError:
        pass  # Never placed, or the guest has drop-ins of its own beside it.
    finally:
        os.close(folder)


async def placed(parts: Parts, record: InstanceRecord) -> list[str]:
    """What is switched off in the running guest's services, as lines of systemd's; none without migration.stateful."""
    running = parts.runtime.running(record.project, record.name)
    return await asyncio.to_thread(_placed, running.init) if running is not None else []


def _placed(init: int) -> list[str]:
    try:
        with (
            mount.closing(os.open(f"/proc/{init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root,
            mount.closing(safepath.resolve(root, f"{_FOLDER}/{_FILE}", os.O_NOFOLLOW)) as found,
        ):
            if not stat.S_ISREG(os.fstat(found).st_mode):
                return []
            with os.fdopen(safepath.reopen(found, os.O_RDONLY)) as file:
                lines = file.read(_LONGEST).splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [line for line in lines if "=" in line and not line.startswith("#")]


async def check(parts: Parts, record: InstanceRecord, running: Running | None, what: str = _STOP) -> None:
    """Refuse what cannot be saved, in words, before anything happens; `what` is what it is for."""
    for error in objections(parts, record, running, what):
        raise error
    found = await asyncio.to_thread(parts.runtime.obstacles, record.project, record.name)
    if found:
        hint = f" (a restart with {KEY}=true switches off what of the sandboxing of systemd's units CRIU cannot save)"
        reasons = "; ".join(map(str, found[:5])) + (hint if any(each.sandboxed for each in found) else "")
        raise Conflict(f"The state of the instance cannot be saved now: {reasons}")


def objections(parts: Parts, record: InstanceRecord, running: Running | None, what: str) -> Iterator[HutchError]:
    """What speaks against it in how the instance is set up."""
    config, _ = expand.of(parts.state, record)
    if running is None:
        yield Conflict("The instance is not running: only a running one has memory to save")
    if not keys.flag(config, KEY):
        yield Invalid(f"{what} requires {KEY} to be set to true, and the instance to be restarted after that")
    if record.ephemeral and what == _STOP:
        yield Invalid("An ephemeral instance is deleted when it stops: it cannot be stopped with its state")
    if keys.privileged(config):
        yield Unsupported("The state of a privileged instance cannot be saved")
    if running is not None and running.frozen:
        yield Conflict("The instance is frozen: resume it before its state is saved")


async def save(parts: Parts, record: InstanceRecord) -> None:
    """Write the running guest's state and end it; if that fails it goes on, and nothing is kept."""
    folder = images(parts, record)
    try:
        await _save(parts, record, folder)
    except ToolFailed as error:
        goes_on = parts.runtime.running(record.project, record.name) is not None
        if goes_on:
            await tree.remove(folder)
        after = "it goes on running" if goes_on else "it has ended"
        raise HutchError(f"The state of the instance cannot be saved, {after}: {error.stderr}") from error
    await asyncio.to_thread(tree.sync_all, folder)


async def _save(parts: Parts, record: InstanceRecord, folder: Path) -> None:
    async def attempt() -> None:
        await fresh(folder)
        await parts.runtime.save(record.project, record.name, folder)

    await patiently(attempt)


async def fresh(folder: Path) -> None:
    """Make the folder an empty one for images."""
    await tree.remove(folder)
    await asyncio.to_thread(folder.mkdir, mode=0o700)


async def patiently(attempt: Callable[[], Awaitable[Result]]) -> Result:
    """Try again after what passes: a message of the kernel under way to a netlink socket, a watch that is younger than the look
    for watches. CRIU gives up at both."""
    for _ in range(_TRIES - 1):
        try:
            return await attempt()
        except ToolFailed as error:
            if not any(words in error.stderr for words in _PASSING):
                raise
            await asyncio.sleep(_PAUSE)
    return await attempt()


def give(folder: Path, idmap: Sequence[IdMap]) -> None:
    """Let those read the files who do: CRIU's init, before it has its map the host's root without power, then the guest's."""
    group = root_of(idmap)[1]
    for path in (folder, *folder.iterdir()):
        os.chown(path, 0, group)
        path.chmod(0o750 if path.is_dir() or path.name == "hook" else 0o640)


async def restore(parts: Parts, plan: LaunchPlan) -> Running:
    """Start the guest from `plan.images`. Raises HutchError with what can be done when that fails."""
    assert plan.images is not None
    await asyncio.to_thread(give, plan.images, plan.idmap)
    try:
        return await parts.runtime.start(plan)
    except ToolFailed as error:
        raise HutchError(
            f"The instance cannot go on from its state, which is kept: {error.stderr} "
            "(started with --stateless it boots anew and the state is dropped)"
        ) from error


async def remember(parts: Parts, record: InstanceRecord, *, stateful: bool) -> InstanceRecord:
    """Set whether the instance has a state; the files go with it."""
    current = parts.state.instances.get(record.project, record.name)
    if current.stateful != stateful:
        current = replace(current, stateful=stateful)
        await parts.state.put(current)
    if not stateful:
        await tree.drop(images(parts, record))
    return current


async def reconcile(parts: Parts, record: InstanceRecord) -> None:
    """A stop or start was under way when the daemon died: a guest that runs has no state; one that is gone has, if complete."""
    running = parts.runtime.running(record.project, record.name) is not None
    complete = await asyncio.to_thread(parts.runtime.saved, images(parts, record))
    if running and record.stateful:
        # CRIU may still be reading the files.
        await asyncio.to_thread(parts.runtime.void, images(parts, record))
    if (running and record.stateful) or (complete and not running and not record.stateful):
        await parts.state.put(replace(record, stateful=not running))
