"""What stands before CRIU at a stateful stop and start: `front` is the `criu` that liblxc finds, `hook` CRIU's action script.

liblxc writes arguments that CRIU cannot take in a user namespace, or that name what this guest does not have; the front
rewrites them and becomes CRIU: without a fork between, for the restored init is to be the child of liblxc's monitor.
What it must know is in the JSON file that HUTCH_CRIU names. Standard library only.
"""

import json
import os
import sys
from typing import Any

# The settings of version 2's controllers, in an order in which they can be written.
SETTINGS = (
    *("cpu.idle", "cpu.weight", "cpu.max", "cpu.max.burst", "cpu.uclamp.min", "cpu.uclamp.max"),
    *("cpuset.cpus", "cpuset.mems", "cpuset.cpus.partition", "io.weight", "io.max", "io.latency", "pids.max"),
    *("memory.min", "memory.low", "memory.high", "memory.max", "memory.swap.high", "memory.swap.max"),
    *("memory.zswap.max", "memory.oom.group", "cgroup.max.depth", "cgroup.max.descendants"),
)
PRESSURE = (".pressure", "/proc/pressure/memory", "/proc/pressure/cpu", "/proc/pressure/io")
PIDFD_GETFD = 438


def front(plan: dict[str, Any], arguments: list[str]) -> None:
    criu = plan["criu"]
    if arguments[:1] == ["restore"]:
        with open(plan["monitor_pid"], "w") as file:  # noqa: PTH123
            file.write(f"{os.getppid()}\n")
        make_groups(plan["group"], plan["groups"])
        arguments = rewritten(arguments, plan)
        if plan["console"]:
            terminal = os.open(plan["console"], os.O_RDWR | os.O_NOCTTY)
            os.set_inheritable(terminal, True)
            arguments += ["--inherit-fd", f"fd[{terminal}]:{plan['terminal']}"]
    os.execv(criu, [criu, *arguments])


def rewritten(arguments: list[str], plan: dict[str, Any]) -> list[str]:
    """A prepared device for each nic, and the control group that there is for those of the controllers."""
    words, left = [], iter(arguments)
    for word in left:
        if word.startswith("--manage-cgroups"):
            words.append("--manage-cgroups=soft")
        elif word == "--cgroup-root":
            next(left)
        elif word == "--external" and (value := next(left)).startswith("veth["):
            words += ["--external", netdev(value[5:].partition("]")[0], plan)]
        elif word == "--external":
            words += ["--external", value]
        elif word == "--veth-pair":
            words += ["--external", netdev(next(left).partition("=")[0], plan)]
        elif word == "-vvvvvv":
            words.append("-v2")
        else:
            words.append(word)
    return [*words, "--cgroup-root", f"/{plan['group_name']}", "--network-lock", "nftables", *plan["more"]]


def netdev(name: str, plan: dict[str, Any]) -> str:
    return f"netdev[{name}]:{plan['links'][name]}"


def hook(plan: dict[str, Any], action: str) -> None:
    if action == "post-dump":
        save_groups(plan["group"], plan["groups"])
    elif action == "post-restore":
        set_groups(plan["group"], plan["groups"])
        for path, value in plan["settings"]:
            with open(path, "w") as file:  # noqa: PTH123
                file.write(value)
        if plan["pressure"]:
            watch_pressure(plan["group"])


def watch_pressure(top: str) -> None:
    """Ask again for the events of memory pressure that programs wait for: the kernel shows nobody what they had asked for.

    Without that every wait would end at once, for ever (systemd from version 254 on).
    """
    for folder, _, _ in os.walk(top):
        for pid in read(f"{folder}/cgroup.procs").split():
            for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
                try:
                    if os.readlink(f"/proc/{pid}/fd/{fd}").endswith(PRESSURE):  # noqa: PTH115
                        ask_for_pressure(int(pid), int(fd))
                except OSError:
                    continue


def ask_for_pressure(pid: int, fd: int) -> None:
    import base64
    import ctypes

    with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
        words = dict(word.split(b"=", 1) for word in file.read().split(b"\0") if b"=" in word)
    what = base64.b64decode(words.get(b"MEMORY_PRESSURE_WRITE", b"")) or b"some 200000 2000000\0"
    process = os.pidfd_open(pid)
    try:
        copy = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, fd, 0)
        if copy >= 0:
            try:
                os.write(copy, what)
            finally:
                os.close(copy)
    finally:
        os.close(process)


def save_groups(top: str, target: str) -> None:
    """The guest's folders below `top`: modes, owners, settings. Written last, and whole: the sign that the images are complete."""
    found = []
    for folder, names, files in os.walk(top):
        if folder == top and ".lxc" in names:
            names.remove(".lxc")
        found.append(
            {
                "name": os.path.relpath(folder, top),
                "facts": facts(folder),
                "files": {name: facts(f"{folder}/{name}") for name in files},
                "controllers": read(f"{folder}/cgroup.subtree_control"),
                # Those of the guest itself are its config's, which may change until it starts again.
                "settings": {} if folder == top else settings(folder, files),
            }
        )
    with open(f"{target}.new", "w") as file:  # noqa: PTH123
        json.dump(found, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{target}.new", target)  # noqa: PTH104


def settings(folder: str, files: list[str]) -> dict[str, str]:
    huge = [name for name in files if name.startswith("hugetlb.") and name.endswith(".max")]
    return {name: read(f"{folder}/{name}") for name in [*SETTINGS, *huge] if name in files}


def read(path: str) -> str:
    with open(path) as file:  # noqa: PTH123
        return file.read().strip()


def facts(path: str) -> tuple[int, int, int]:
    found = os.stat(path)  # noqa: PTH116
    return found.st_mode & 0o7777, found.st_uid, found.st_gid


def make_groups(top: str, source: str) -> None:
    """CRIU makes only those that hold processes, and systemd watches the others too."""
    for folder, group in saved_groups(top, source):
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        own(folder, group)


def set_groups(top: str, source: str) -> None:
    """Hand down the controllers and write their settings, once CRIU has put every process where it belongs.

    Before, it moves each through the guest's own group, which may not hold one while it hands controllers down.
    """
    for folder, group in saved_groups(top, source):
        own(folder, group)
        for name, value in group["settings"].items():
            for line in value.splitlines():
                write(f"{folder}/{name}", line)
        for controller in group["controllers"].split():
            write(f"{folder}/cgroup.subtree_control", f"+{controller}")


def saved_groups(top: str, source: str) -> list[tuple[str, dict[str, Any]]]:
    """What save_groups has written, each with its folder, the upper ones first."""
    with open(source) as file:  # noqa: PTH123
        groups = sorted(json.load(file), key=lambda group: group["name"])
    return [(os.path.normpath(f"{top}/{group['name']}"), group) for group in groups]


def own(folder: str, group: dict[str, Any]) -> None:
    put(folder, *group["facts"])
    for name, owner in group["files"].items():
        put(f"{folder}/{name}", *owner)


def put(path: str, mode: int, uid: int, gid: int) -> None:
    """Owner and mode, where this host's kernel has the file."""
    try:
        os.chown(path, uid, gid)
        os.chmod(path, mode)  # noqa: PTH101
    except FileNotFoundError:
        pass


def write(path: str, value: str) -> None:
    """A setting that this host does not have, or that is what it would be anyway, is none to fail for."""
    try:
        with open(path, "w") as file:  # noqa: PTH123
            file.write(value)
    except OSError:
        pass


def main() -> None:
    with open(os.environ["HUTCH_CRIU"]) as file:  # noqa: PTH123
        plan = json.load(file)
    if sys.argv[1] == "hook":
        hook(plan, os.environ["CRTOOLS_SCRIPT_ACTION"])
    else:
        front(plan, sys.argv[2:])


if __name__ == "__main__":
    main()
