"""Guests into files and back, by CRIU: dumped by it directly, restored by `lxc-checkpoint`, so that liblxc adopts them.

CRIU runs in a mount namespace of its own that the host's mounts come into and none leaves. What was learnt of it is in
docs/decisions/014-stateful-stop.md.
"""

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hutch.helper
from hutch.errors import HutchError, ToolFailed, Unsupported
from hutch.kernel import run
from hutch.kernel.cgroup import Group
from hutch.runtime.lxc import mounts, obstacles, routes, terminals, watches
from hutch.runtime.lxc.config import CONFIG, MONITOR_PID, bound
from hutch.runtime.plan import LaunchPlan

BUNDLE = Path("/usr/local/lib/hutch/criu/bin/criu")
GROUPS, TERMINAL, LOG = "groups.json", "terminal", "criu.log"
DEADLINE = 120.0

_FRONT = Path(hutch.helper.__file__).parent / "criu_front.py"
_BOTH = (
    *("-v2", "--tcp-established", "--file-locks", "--link-remap", "--ext-mount-map", "auto"),
    *("--enable-external-sharing", "--enable-external-masters", "--manage-cgroups=soft", "--network-lock", "nftables"),
)
_ERROR = re.compile(r"^(?:\([\d.]+\)\s+)?(?:\s*\d+: )?Error \([^)]*\): (.*)$", re.MULTILINE)
_CULPRIT = re.compile(r"\(pid: (\d+)\) failed with")
_FOLLOWS = re.compile(
    r"RLIMIT_NOFILE|tables(?:-legacy)?-(?:save|restore)|FAILED|failed\.$|exited, status|Can't wait|\bnotify"
)


def program() -> str:
    """The CRIU to use: the one that set-up put beside the distribution's libraries, else the distribution's."""
    found = str(BUNDLE) if BUNDLE.exists() else shutil.which("criu", path=run.ENVIRONMENT["PATH"])
    if not found:
        raise Unsupported("CRIU is not installed on this host: a guest's memory cannot be saved")
    return found


async def version() -> str:
    """CRIU's own number for itself."""
    words = (await run.run([program(), "--version"])).split()
    return words[1] if len(words) > 1 else ""


async def dump(init: int, group: Group, images: Path) -> None:
    """Write the processes of the pid namespace of `init` to the folder `images` and end them; if that fails they go on.

    Raises ToolFailed with CRIU's reason.
    """
    plan = {"group": str(unified(group)), "groups": str(images / GROUPS)}
    about = _write(images / "dump.json", plan)
    argv = await asyncio.to_thread(dumping, init, group, images, _hook(images, "post-dump"))
    open_terminals = await asyncio.to_thread(terminals.of, group.processes())
    try:
        await run.run(argv, deadline=DEADLINE, env=about)
    except ToolFailed as error:
        await asyncio.to_thread(terminals.block_again, open_terminals)
        raise await dump_failed(init, images, error) from error


def dumping(init: int, group: Group, images: Path, hook: Sequence[str]) -> list[str]:
    """The command that dumps the guest, and the console's word among its images. Blocks."""
    terminal = _terminal(init)
    (images / TERMINAL).write_text(terminal)
    watches.note(init, group.processes(), images)
    argv = [program(), "dump", "--tree", str(init), "--images-dir", str(images), "--work-dir", str(images), *_BOTH]
    argv += ["--log-file", str(images.parent / LOG), "--ghost-limit", "64M", "--timeout", "50", *hook]
    if terminal:
        argv += ["--external", terminal]
    # What liblxc bound from elsewhere is named by its place in the guest: the restore, here or on another host, knows its own.
    for source, target in bound((images.parent / CONFIG).read_text()):
        if source != f"/{target}":
            argv += ["--ext-mount-map", f"/{target}:{target}"]
    return ["unshare", "--mount", "--propagation", "slave", *argv]


async def dump_failed(init: int, images: Path, error: ToolFailed) -> ToolFailed:
    """The failure with CRIU's reason, when the guest has its network again."""
    with contextlib.suppress(HutchError):
        await unlock(init)
    why = await asyncio.to_thread(_dump_reason, images.parent / LOG)
    return ToolFailed(["criu dump"], error.code, why or error.stderr)


async def unlock(init: int) -> None:
    """A CRIU that was killed leaves the guest's network locked."""
    enter = ["nsenter", f"--net=/proc/{init}/ns/net", "nft"]
    for line in (await run.run([*enter, "list", "tables"])).splitlines():
        words = line.split()
        if words[2:] and words[2].startswith("CRIU-"):
            await run.run([*enter, "delete", *words[:3]])


def restoring(plan: LaunchPlan, images: Path, group: Group, hook: Sequence[str] = ()) -> dict[str, str]:
    """Write the front that lxc-checkpoint is to find; the environment in which it finds it. Blocks.

    Limits are set by an action script of its own, unless CRIU is given another `hook`.
    """
    watches.use_paths(images)
    routes.use_gateways(images)
    mounts.part_unrelated(images)
    folder = images / "front"
    folder.mkdir(mode=0o700, exist_ok=True)
    _script(folder / "criu", f'exec {_python("front")} "$@"')
    terminal = (images / TERMINAL).read_text()
    about = {
        "criu": program(),
        "monitor_pid": str(plan.directory / MONITOR_PID),
        "group": str(unified(group)),
        "group_name": group.path,
        "groups": str(images / GROUPS),
        "console": str(plan.console) if plan.console and terminal else "",
        "terminal": terminal,
        "links": {link.name: link.host_name for link in plan.links},
        "settings": [(str(group.layout.root(file) / group.path / file), value) for file, value in _limits(plan, group)],
        "pressure": b".pressure" in (images / watches.FILES).read_bytes(),
        "more": [*hook] or _hook(images, "post-restore"),
    }
    environment = _write(images / "restore.json", about)
    return {**environment, "PATH": f"{folder}:{run.ENVIRONMENT['PATH']}"}


async def run_detached(argv: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run lxc-checkpoint, whose monitor would hold on to a pipe of ours for the guest's life. Raises ToolFailed."""
    nothing = asyncio.subprocess.DEVNULL
    process = await run.start(argv, stdout=nothing, stderr=nothing, env=environment)
    try:
        async with asyncio.timeout(DEADLINE):
            code = await process.wait()
    except TimeoutError:
        run.kill(process)
        raise ToolFailed(argv, await process.wait(), f"no end after {DEADLINE:.0f} seconds") from None
    if code:
        raise ToolFailed(argv, code, "")


def _limits(plan: LaunchPlan, group: Group) -> Sequence[tuple[str, str]]:
    return group.settings(plan.limits)


def unified(group: Group) -> Path:
    if group.layout.unified is None:
        raise Unsupported("this host has no control groups of version 2, which a guest's state needs")
    return group.layout.unified / group.path


def _terminal(init: int) -> str:
    """CRIU's word for the console's pty, which is the host's; empty when the guest has no such console."""
    try:
        found = Path(f"/proc/{init}/root/dev/console").stat()
    except OSError:
        return ""
    return f"tty[{found.st_rdev:x}:{found.st_dev:x}]" if os.major(found.st_rdev) == 136 else ""


def _write(path: Path, plan: Mapping[str, Any]) -> dict[str, str]:
    path.write_text(json.dumps(plan))
    return {"HUTCH_CRIU": str(path)}


def _hook(images: Path, action: str) -> list[str]:
    """CRIU's option for a script that wakes ours for one action: ten starts of Python would be felt."""
    line = f'[ "$CRTOOLS_SCRIPT_ACTION" != {action} ] || exec {_python("hook")}'
    return ["--action-script", str(_script(images / "hook", line))]


def _script(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o700)
    return path


def _python(role: str) -> str:
    return shlex.join([sys.executable, "-I", "-S", str(_FRONT), role])


def _dump_reason(log: Path) -> str:
    """CRIU's first error, and the process at which it gave up."""
    first = reason(log)
    with contextlib.suppress(OSError):
        if found := _CULPRIT.search(log.read_text(errors="replace")):
            return f"{obstacles.who(int(found[1]))[0]} (process {found[1]} of the host): {first}"
    return first


def reason(log: Path) -> str:
    """The first error that CRIU wrote, which caused the others; empty when it wrote none."""
    try:
        errors = _ERROR.findall(log.read_text(errors="replace"))
    except OSError:
        return ""
    causes = [line for line in errors if not _FOLLOWS.search(line)]
    return str((causes or errors or [""])[0])
